"""A table of flights under writers, workers that keep its view and are killed, and what both tables say."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import boto3
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from streamkit.clock import SystemChance
from tests.e2e.process import Process
from tests.e2e.waiting import eventually
from tests.nursery import Nursery

ROOT = Path(__file__).resolve().parent.parent.parent
PATH = "consumers.routes:routes"
FLIGHTS = 30
WRITERS = 4
WRITES = 80
"""Of each writer, at least."""
PAUSE_SECONDS = 0.05
LONG_AGO = 1_356_998_400
UPDATE = "SET arr_delay = :delay, origin = :origin, dest = if_not_exists(dest, :dest), #day = :day"
SETTINGS = {"STREAMKIT_CHECKPOINT_LEASE": "3s", "STREAMKIT_CHECKPOINT_INTERVAL": "200ms", "STREAMKIT_GRACE": "1s"}

Item = dict[str, Any]
Statistics = dict[str, dict[str, int]]


class Scene:
    """Two tables of names of their own, and the workers between them; all of it ends with the context."""

    def __init__(self, variables: Mapping[str, str], *, folder: Path, nursery: Nursery) -> None:
        token = SystemChance().token()[:12]
        self.table, self._view, self._queue, self._rows = (
            f"{name}-{token}" for name in ("flights", "view", "dlq", "rows")
        )
        self.workers: list[Process] = []
        """Those that run."""
        self.ended: list[Process] = []
        """Those that were killed or stopped."""
        self._variables = variables
        self._folder = folder
        self._nursery = nursery
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        stream = {"StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}}
        for table, key, more in ((self.table, "id", stream), (self._view, "pk", {})):
            self._make(table, key, more)
        mortal = {"Enabled": True, "AttributeName": "expires"}
        self._dynamodb.update_time_to_live(TableName=self.table, TimeToLiveSpecification=mortal)
        self.run("init", PATH, "--queue").end()
        self._stack.callback(self._forget)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _make(self, table: str, key: str, more: Mapping[str, Any]) -> None:
        self._dynamodb.create_table(
            TableName=table,
            KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            **more,
        )
        self._stack.callback(self._dynamodb.delete_table, TableName=table)
        self._dynamodb.get_waiter("table_exists").wait(TableName=table, WaiterConfig={"Delay": 1})

    def _forget(self) -> None:
        """Delete what `streamkit init` made."""
        self._dynamodb.update_table(TableName=self._rows, DeletionProtectionEnabled=False)
        self._dynamodb.delete_table(TableName=self._rows)
        sqs = self._client("sqs")
        sqs.delete_queue(QueueUrl=sqs.get_queue_url(QueueName=self._queue)["QueueUrl"])

    # What happens

    def run(self, *arguments: str) -> Process:
        """Start `streamkit ARGUMENTS`."""
        log = self._folder / f"{time.monotonic_ns()}.log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("STREAMKIT_")}
        names = {"FLIGHTS_TABLE": self.table, "FLIGHTS_VIEW": self._view, "FLIGHTS_DEAD_LETTERS": self._queue}
        names["STREAMKIT_CHECKPOINT_TABLE"] = self._rows
        environment = {**inherited, **self._variables, **SETTINGS, **names}
        child = self._nursery.start(*arguments, folder=ROOT, environment=environment, log=log)
        self._stack.enter_context(child)
        self._stack.callback(child.kill)
        return Process(child, log)

    def start(self) -> None:
        """Start a worker."""
        self.workers.append(self.run("run", PATH, "--log-format", "json"))

    def kill(self) -> None:
        """Kill a worker that has shards, as soon as there is one, and start another."""
        eventually(lambda: any(worker.shards() for worker in self.workers), "somebody has shards")
        victim = next(worker for worker in self.workers if worker.shards())
        victim.kill()
        self.workers.remove(victim)
        self.ended.append(victim)
        self.start()

    def stop(self) -> None:
        """Let every worker end in good order."""
        while self.workers:
            self.ended.append(self.workers.pop())
            self.ended[-1].stop()

    @contextmanager
    def writers(self) -> Generator[Writers]:
        """Write until the context is left, each writer `WRITES` times at least."""
        with ThreadPoolExecutor(WRITERS) as pool:
            writers = Writers(self._dynamodb, self.table, pool)
            try:
                yield writers
            finally:
                writers.over.set()
        writers.end()

    # What is to be seen

    def events(self, *names: str) -> int:
        """Count what the workers reported under these names."""
        return sum(len(worker.events(*names)) for worker in (*self.workers, *self.ended))

    def left_to_expire(self) -> int:
        """Count the flights that have expired and are there still."""
        return sum("expires" in item for item in self._scan(self.table))

    def wanted(self) -> Statistics:
        """Return the statistics of what is in the table: computed here, from nothing but the items."""
        found: dict[str, Counter[str]] = defaultdict(Counter)
        for item in self._scan(self.table):
            delay = int(item.get("arr_delay") or 0)
            for row in (f"route {item['origin']}-{item['dest']}", f"day {item['day']}"):
                found[row]["flights"] += 1
                found[row]["late"] += delay >= 15
                found[row]["cancelled"] += item.get("dep_time") is None
                found[row]["delay_minutes"] += delay
        return _counting(found)

    def view(self) -> Statistics:
        """Return the statistics of the view, the parts of a day summed up."""
        found: dict[str, Counter[str]] = defaultdict(Counter)
        for item in self._scan(self._view):
            row = item.pop("pk").partition("#")[0]
            if not row.startswith("flight "):
                found[row].update({name: int(number) for name, number in item.items()})
        return _counting(found)

    def _scan(self, table: str) -> list[Item]:
        deserialize = TypeDeserializer().deserialize
        pages = self._dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
        return [{name: deserialize(value) for name, value in item.items()} for page in pages for item in page["Items"]]

    @cached_property
    def _dynamodb(self) -> Any:
        return self._client("dynamodb")

    def _client(self, service: str) -> Any:
        url = self._variables.get(f"AWS_ENDPOINT_URL_{service.upper()}") or self._variables["AWS_ENDPOINT_URL"]
        return self._stack.enter_context(closing(boto3.client(service, endpoint_url=url, region_name="us-east-1")))


class Writers:
    """Threads that insert, update, delete and let expire: all at the same flights."""

    def __init__(self, dynamodb: Any, table: str, pool: ThreadPoolExecutor) -> None:
        self.over = threading.Event()
        self.written = Counter[str]()
        self._dynamodb = dynamodb
        self._table = table
        self._lock = threading.Lock()
        self._running: list[Future[None]] = [pool.submit(self._write, writer) for writer in range(WRITERS)]

    def go_on(self, writes: int) -> None:
        """Wait until so many more writes have been made."""
        wanted = self.written.total() + writes
        eventually(lambda: self.written.total() >= wanted or not self._writing, f"{wanted} writes are made")

    def end(self) -> None:
        """Raise what any of them failed of."""
        for each in self._running:
            each.result()

    @property
    def _writing(self) -> bool:
        return not any(each.done() for each in self._running)

    def _write(self, writer: int) -> None:
        chance, done = random.Random(writer), 0
        while not self.over.wait(PAUSE_SECONDS) or done < WRITES:
            what = chance.choices(("deleted", "updated", "put", "left to expire"), (20, 20, 55, 5))[0]
            self._make(what, f"UA{chance.randrange(FLIGHTS)}", chance)
            done += 1
            with self._lock:
                self.written[what] += 1

    def _make(self, what: str, key: str, chance: random.Random) -> None:
        item = {
            "id": key,
            "origin": chance.choice(["EWR", "JFK", "LGA"]),
            "dest": chance.choice(["IAH", "ORD", "SFO"]),
            "day": f"2013-01-0{chance.randrange(1, 5)}",
            "dep_time": chance.choice([517, None]),
            "arr_delay": chance.randrange(-10, 60),
        }
        match what:
            case "deleted":
                self._dynamodb.delete_item(TableName=self._table, Key={"id": {"S": key}})
            case "updated":
                self._update(_typed(item))
            case "left to expire":
                self._dynamodb.put_item(TableName=self._table, Item=_typed({**item, "expires": LONG_AGO}))
            case _:
                self._dynamodb.put_item(TableName=self._table, Item=_typed(item))

    def _update(self, item: Mapping[str, Any]) -> None:
        self._dynamodb.update_item(
            TableName=self._table,
            Key={"id": item["id"]},
            UpdateExpression=UPDATE,
            ExpressionAttributeNames={"#day": "day"},
            ExpressionAttributeValues={
                ":delay": item["arr_delay"],
                ":origin": item["origin"],
                ":dest": {"S": "IAH"},
                ":day": item["day"],
            },
        )


def _typed(item: Item) -> dict[str, Any]:
    """Return an item as DynamoDB writes it."""
    return {name: TypeSerializer().serialize(value) for name, value in item.items()}


def _counting(found: Mapping[str, Counter[str]]) -> Statistics:
    """Return what counts anything."""
    counted = {row: {name: number for name, number in sums.items() if number} for row, sums in found.items()}
    return {row: numbers for row, numbers in counted.items() if numbers}
