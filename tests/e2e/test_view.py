"""A table, its writers, workers that are killed on the way, and the view that equals the table at the end."""

from __future__ import annotations

import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from tests.e2e.process import Process
from tests.e2e.waiting import eventually
from tests.nursery import Nursery

ROOT = Path(__file__).resolve().parent.parent.parent
PATH = "consumers.routes:routes"
TABLE, VIEW = "flights", "flight-view"
FLIGHTS = 30
WRITES = 80
"""Of each writer: inserts, updates and deletes of the same flights as the others'."""
WRITERS = 4
ROLL_SECONDS = 4.0
UPDATE = "SET arr_delay = :delay, origin = :origin, dest = if_not_exists(dest, :dest), #day = :day"
SETTINGS = {"STREAMKIT_CHECKPOINT_LEASE": "3s", "STREAMKIT_CHECKPOINT_INTERVAL": "200ms", "STREAMKIT_GRACE": "1s"}

Item = dict[str, Any]


@pytest.fixture(scope="module")
def variables(nursery: Nursery) -> Iterator[Mapping[str, str]]:
    """Lead to an endpoint whose shards roll every four seconds."""
    with nursery.endpoint("--roll-seconds", str(ROLL_SECONDS)) as variables:
        yield variables


@pytest.fixture
def dynamodb(variables: Mapping[str, str]) -> Any:
    """The way to DynamoDB, with the two tables."""
    client = boto3.client("dynamodb", endpoint_url=variables["AWS_ENDPOINT_URL"], region_name="us-east-1")
    for table, key, more in (
        (TABLE, "id", {"StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}}),
        (VIEW, "pk", {}),
    ):
        client.create_table(
            TableName=table,
            KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            **more,
        )
    client.update_time_to_live(TableName=TABLE, TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires"})
    return client


class Workers:
    """Processes of the consumer, which end with the context."""

    def __init__(self, nursery: Nursery, folder: Path, variables: Mapping[str, str], stack: ExitStack) -> None:
        self._nursery = nursery
        self._folder = folder
        self._variables = variables
        self._stack = stack

    def start(self, *arguments: str) -> Process:
        """Start `streamkit ARGUMENTS`."""
        log = self._folder / f"{time.monotonic_ns()}.log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("STREAMKIT_")}
        environment = {**inherited, **self._variables, **SETTINGS}
        child = self._nursery.start(*arguments, folder=ROOT, environment=environment, log=log)
        self._stack.enter_context(child)
        self._stack.callback(child.kill)
        return Process(child, log)

    def worker(self) -> Process:
        """Start a worker."""
        return self.start("run", PATH, "--log-format", "json")


def write(dynamodb: Any, writer: int) -> None:
    """Insert, update, delete and let expire, at the flights that the other writers write too."""
    chance = random.Random(writer)
    for _ in range(WRITES):
        key = f"UA{chance.randrange(FLIGHTS)}"
        turn = chance.random()
        if turn < 0.2:
            dynamodb.delete_item(TableName=TABLE, Key={"id": {"S": key}})
        elif turn < 0.4:
            dynamodb.update_item(
                TableName=TABLE,
                Key={"id": {"S": key}},
                UpdateExpression=UPDATE,
                ExpressionAttributeNames={"#day": "day"},
                ExpressionAttributeValues={
                    ":delay": {"N": str(chance.randrange(-10, 60))},
                    ":origin": {"S": chance.choice(["EWR", "JFK", "LGA"])},
                    ":dest": {"S": "IAH"},
                    ":day": {"S": f"2013-01-0{chance.randrange(1, 5)}"},
                },
            )
        else:
            item = {
                "id": key,
                "origin": chance.choice(["EWR", "JFK", "LGA"]),
                "dest": chance.choice(["IAH", "ORD", "SFO"]),
                "day": f"2013-01-0{chance.randrange(1, 5)}",
                "dep_time": chance.choice([517, None]),
                "arr_delay": chance.randrange(-10, 60),
            }
            if turn > 0.95:
                item["expires"] = 1_356_998_400
            serialize = TypeSerializer().serialize
            dynamodb.put_item(TableName=TABLE, Item={name: serialize(value) for name, value in item.items()})


def scan(dynamodb: Any, table: str) -> list[Item]:
    """Return what is in a table, as plain values."""
    deserialize = TypeDeserializer().deserialize
    pages = dynamodb.get_paginator("scan").paginate(TableName=table)
    return [{name: deserialize(value) for name, value in item.items()} for page in pages for item in page["Items"]]


def has_shards(worker: Process) -> bool:
    """Whether it has taken any."""
    return bool(worker.events("shard.taken"))


def wanted(dynamodb: Any) -> dict[str, dict[str, int]]:
    """Return the statistics of what is in the table: computed here, from nothing but the items."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for item in scan(dynamodb, TABLE):
        delay = int(item.get("arr_delay") or 0)
        for row in (f"route {item['origin']}-{item['dest']}", f"day {item['day']}"):
            found[row]["flights"] += 1
            found[row]["late"] += delay >= 15
            found[row]["cancelled"] += item.get("dep_time") is None
            found[row]["delay_minutes"] += delay
    return {row: {name: number for name, number in numbers.items() if number} for row, numbers in found.items()}


def view(dynamodb: Any) -> dict[str, dict[str, int]]:
    """Return the statistics of the view, the parts of a day summed up, without what counts nothing."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for item in scan(dynamodb, VIEW):
        row = item.pop("pk").partition("#")[0]
        if not row.startswith("flight "):
            found[row].update({name: int(number) for name, number in item.items()})
    counted = {row: {name: number for name, number in sums.items() if number} for row, sums in found.items()}
    return {row: numbers for row, numbers in counted.items() if numbers}


@pytest.mark.e2e
def test_the_view_equals_the_table_whatever_happened_on_the_way(
    dynamodb: Any, variables: Mapping[str, str], tmp_path: Path, nursery: Nursery
) -> None:
    """Four writers at the same flights, shards that roll every four seconds, three kills: exact to the last minute."""
    with ExitStack() as stack:
        workers = Workers(nursery, tmp_path, variables, stack)
        workers.start("init", PATH, "--queue").end()
        survivor = workers.worker()
        with ThreadPoolExecutor(WRITERS) as writers:
            written = [writers.submit(write, dynamodb, writer) for writer in range(WRITERS)]
            killed: list[Process] = []
            for _ in range(3):
                victim = workers.worker()
                eventually(partial(has_shards, victim), "it works")
                victim.kill()
                killed.append(victim)
            for each in written:
                each.result()
        eventually(lambda: bool(wanted(dynamodb)) and view(dynamodb) == wanted(dynamodb), "the view equals the table")
        survivor.stop()
        workers.start("run", PATH, "--until-idle", "0.5").end()
        assert view(dynamodb) == wanted(dynamodb), "a successor found something left to do"
        [stopped] = survivor.events("worker.stopped")
        assert stopped.about["dead"] == 0
        assert survivor.events("shard.ended")
        assert survivor.events("shard.failed", "records.trimmed") == []
