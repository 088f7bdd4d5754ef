"""Counters in a table of the consumer's own, kept by real workers that are killed again and again, in each mode."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, Self

import boto3

from streamkit.consumer import Mode
from tests.e2e.process import Start, Started, anew

KEYS = 20
WORKERS = 2
LIMIT_SECONDS = 60.0
"""Without any progress."""
_HEAD = """
from contextlib import asynccontextmanager
from streamkit import Kinesis, Record, Sqs, Transaction, consumer

ONE = {":one": 1}
"""
TRANSACTIONAL = """
@consumer("counting", source=Kinesis("counting"), dead_letters=Sqs("counting-dlq"), mode="transactional")
async def counting(record: Record, *, tx: Transaction) -> None:
    tx.update("counters", {"id": f"record {record.text()}"}, "ADD times :one", values=ONE)
    tx.update("counters", {"id": record.key}, "ADD times :one", values=ONE)
"""
PLAIN = """
@asynccontextmanager
async def table():
    import aioboto3
    async with aioboto3.Session().client("dynamodb") as client:
        yield client

@consumer("counting", source=Kinesis("counting"), dead_letters=Sqs("counting-dlq"), mode="MODE", lifespan=table)
async def counting(record: Record, *, state) -> None:
    for id in f"record {record.text()}", record.key:
        await state.update_item(
            TableName="counters",
            Key={"id": {"S": id}},
            UpdateExpression="ADD times :one",
            ExpressionAttributeValues={":one": {"N": "1"}},
        )
"""


class Counted(NamedTuple):
    """What the table says at the end, beside what was put."""

    mode: Mode
    records: int
    kills: int
    seconds: float
    missing: int
    """Records that never took effect."""
    repeated: int
    """Effects too many."""
    astray: int
    """Difference between the counters of the keys and the number of records."""
    letters: int


class Counting:
    """A stream of numbers, a table of counters, and workers; all of it ends with the context."""

    def __init__(
        self, mode: Mode, *, folder: Path, variables: Mapping[str, str], shards: int = 2, start: Start = anew
    ) -> None:
        self._mode: Mode = mode
        self._folder = folder
        self._variables = variables
        self._shards = shards
        self._program = start
        self._client = cache(self._connected)
        self._stack = ExitStack()
        self._workers: list[Started] = []

    def __enter__(self) -> Self:
        text = TRANSACTIONAL if self._mode == "transactional" else PLAIN.replace("MODE", self._mode)
        (self._folder / "counting.py").write_text(_HEAD + text, encoding="utf-8")
        self._client("kinesis").create_stream(StreamName="counting", ShardCount=self._shards)
        self._client("dynamodb").create_table(
            TableName="counters",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        assert self._start("init", "counting:counting", "--queue").wait(60) == 0
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def play(self, records: int, *, kill_seconds: float, most_kills: int = 1000, seed: int = 0) -> Counted:
        """Put the records, kill a worker after each so many seconds of work, and count when all is done."""
        rng, began, kills = Random(seed), time.monotonic(), 0
        self._put(records)
        self._workers = [self._run() for _ in range(WORKERS)]
        due: float | None = None
        killed_at, before, since = 0, -1, began
        while (done := self._done()) < records:
            now = time.monotonic()
            if due is None and done > killed_at:  # while nobody has begun anew there is nobody to kill
                due = now + (kill_seconds if kills else 0.0)
            if due is not None and now >= due and kills < most_kills:
                self._replace(rng.randrange(WORKERS))
                kills, killed_at, due = kills + 1, done, None
            if done != before:
                before, since = done, now
            assert now - since < LIMIT_SECONDS, self._told()
            self._revive()
            time.sleep(0.2)
        self._drain()
        return self._counted(records, kills, time.monotonic() - began)

    def _put(self, records: int) -> None:
        kinesis = self._client("kinesis")
        for first in range(0, records, 500):
            some = [
                {"PartitionKey": f"key-{n % KEYS}", "Data": str(n).encode()}
                for n in range(first, min(first + 500, records))
            ]
            assert kinesis.put_records(StreamName="counting", Records=some)["FailedRecordCount"] == 0

    def _replace(self, index: int) -> None:
        self._workers[index].kill()
        self._workers[index].wait(LIMIT_SECONDS)
        self._workers[index] = self._run()

    def _revive(self) -> None:
        """Start workers anew that ended by themselves, as any supervisor does: at its start one asks only once."""
        for index, worker in enumerate(self._workers):
            if worker.poll() is not None:
                self._workers[index] = self._run()

    def _drain(self) -> None:
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            assert worker.wait(LIMIT_SECONDS) in {0, -signal.SIGTERM}, self._told()  # the latter: it had not begun

    # What is there to be seen

    def _done(self) -> int:
        """Return how many records took effect; where nothing is handled twice, letters count too.

        Items are counted, not read: while a scan of ten thousand lasts, the endpoint does nothing else, leases expire,
        and what is measured is the measuring.
        """
        items = self._client("dynamodb").describe_table(TableName="counters")["Table"]["ItemCount"]
        effects = max(0, int(items) - KEYS)
        return effects + (self._letters() if self._mode == "at_most_once" else 0)

    def _counted(self, records: int, kills: int, seconds: float) -> Counted:
        counters = self._counters()
        effects = {name: times for name, times in counters.items() if name.startswith("record ")}
        by_key = sum(times for name, times in counters.items() if name not in effects)
        return Counted(
            mode=self._mode,
            records=records,
            kills=kills,
            seconds=seconds,
            missing=records - len(effects),
            repeated=sum(effects.values()) - len(effects),
            astray=by_key - records,
            letters=self._letters(),
        )

    def _counters(self) -> dict[str, int]:
        pages = self._client("dynamodb").get_paginator("scan").paginate(TableName="counters", ConsistentRead=True)
        return {item["id"]["S"]: int(item["times"]["N"]) for page in pages for item in page["Items"]}

    def _letters(self) -> int:
        sqs = self._client("sqs")
        url = sqs.get_queue_url(QueueName="counting-dlq")["QueueUrl"]
        told = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
        return int(told["Attributes"]["ApproximateNumberOfMessages"])

    def _told(self) -> str:
        return "\n".join(
            log.read_text(encoding="utf-8")[-2000:] for log in sorted(self._folder.glob("*.log"))[-WORKERS:]
        )

    # Processes

    def _run(self) -> Started:
        return self._start("run", "counting:counting")

    def _start(self, *arguments: str) -> Started:
        log = self._folder / f"{time.monotonic_ns()}.log"
        settings = {"STREAMKIT_CHECKPOINT_LEASE": "2s", "STREAMKIT_CHECKPOINT_INTERVAL": "1s"}
        environment = {**os.environ, **self._variables, **settings}
        child = self._program(*arguments, folder=self._folder, environment=environment, log=log)
        self._stack.callback(child.wait)
        self._stack.callback(child.kill)
        return child

    def _connected(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self._variables["AWS_ENDPOINT_URL"],
            region_name=self._variables["AWS_REGION"],
            aws_access_key_id=self._variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self._variables["AWS_SECRET_ACCESS_KEY"],
        )
