"""What each mode costs in DynamoDB, beside Powertools' idempotency: requests and write units, counted on their way.

    python -m benchmarks.mode_cost [--records 1000] [--only at_least_once]

Real workers on the embedded endpoint, one shard, handlers that return at once; transactional ones put an item each.
Heartbeats and looks at rows come by time and are left out. Units follow AWS's rules: a write is one for each started
KB, twice that in a transaction. https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html
Powertools is fetched from PyPI into .cache/ for the comparison, and left out where it cannot be had.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from benchmarks.cold_start import PEERS, has_powertools
from benchmarks.counting import Counts, counting
from streamkit import Checkpoint, Consumer, Kinesis, Record, Transaction, consumer
from streamkit.aws.call import Call
from streamkit.aws.clients import Aws
from streamkit.aws.desk import PATIENT
from streamkit.aws.schema import create
from streamkit.aws.world import AwsWorld
from streamkit.clock import SystemChance, SystemClock
from streamkit.runtimes.worker import Options, Worker
from streamkit.testing.endpoint import endpoint_process

PACES = {"all at hand": 0, "100 a second": 100}
"""Records a second, as they are put; 0 is all before the worker starts."""
KEYS = 200
PEER = "Powertools' `idempotent_function`"
POWERTOOLS = """
import json, sys
from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent_function

layer, config = DynamoDBPersistenceLayer(table_name="powertools"), IdempotencyConfig(event_key_jmespath="id")

@idempotent_function(data_keyword_argument="event", persistence_store=layer, config=config)
def handler(event):
    return None

for number in range(int(sys.argv[1])):
    handler(event={"id": f"event-{number}"})
"""


@dataclass(frozen=True, slots=True)
class Case:
    """A mode, at a pace."""

    label: str
    mode: str
    keyed: bool = False

    def consumer(self, stream: str) -> Consumer:
        """Make its consumer. A lease that outlasts a busy machine: a worker that is fenced would repeat some."""
        source, checkpoint = Kinesis(stream), Checkpoint(lease=timedelta(minutes=1))
        if self.mode == "transactional":

            @consumer(stream, source=source, checkpoint=checkpoint, mode="transactional")
            async def writing(record: Record, *, tx: Transaction) -> None:
                tx.put("sink", {"id": record.id})

            return writing

        @consumer(stream, source=source, checkpoint=checkpoint)
        async def handling(record: Record) -> None:
            """Handle at once."""

        return handling.using(mode=self.mode, dedupe_key=Record.text if self.keyed else None)


CASES = [
    Case("`at_least_once`", "at_least_once"),
    Case("`at_least_once`, `dedupe_key`", "at_least_once", keyed=True),
    Case("`at_most_once`", "at_most_once"),
    Case("`transactional`, one item a record", "transactional"),
]


def purpose(write: Mapping[str, Any]) -> str:
    """Say what a write is for, by its table and key."""
    if not write["TableName"].startswith("streamkit-"):
        return "item"
    kind = (write.get("Key") or write.get("Item") or {})["pk"]["S"].partition("#")[0]
    return {"shard": "shard", "key": "claim"}.get(kind, "by time")


async def measured(case: Case, pace: int, records: int, endpoint: str) -> Counts:
    """Consume so many records on one shard, put at this pace, and count."""
    stream, counts, clock = f"cost-{SystemChance().token()[:12]}", Counts(), SystemClock()
    subject = case.consumer(stream)
    async with (
        Aws(settings=PATIENT, report=lambda _: None) as aws,
        putting(stream, records, pace, await aws.call("kinesis"), await aws.call("dynamodb")) as putter,
    ):
        await create(await aws.call("dynamodb"), subject.table, clock=clock, protected=False)
        async with counting(endpoint, counts, purpose) as url:
            os.environ["AWS_ENDPOINT_URL"] = url
            worker = Worker(
                [subject],
                AwsWorld(clock=clock, chance=SystemChance()),
                clock=clock,
                chance=SystemChance(),
                report=lambda _: None,
                options=Options(until_idle=timedelta(seconds=3)),
            )
            tally = await worker.run()
            os.environ["AWS_ENDPOINT_URL"] = endpoint
        await putter
    assert tally.handled == records, tally  # noqa: S101 - else no figure
    return counts


@asynccontextmanager
async def putting(
    stream: str, records: int, pace: int, kinesis: Call, dynamodb: Call
) -> AsyncGenerator[asyncio.Task[None], None]:
    """Make stream and sink, and put the records: before it yields, or beside."""
    await kinesis("CreateStream", StreamName=stream, ShardCount=1)
    await table(dynamodb, "sink")

    async def put() -> None:
        for first in range(0, records, 20):
            some = [{"PartitionKey": f"key-{n % KEYS}", "Data": str(n).encode()} for n in range(first, first + 20)]
            await kinesis("PutRecords", StreamName=stream, Records=some)
            await asyncio.sleep(20 / pace if pace else 0)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(put())
        if not pace:
            await task
        yield task


async def table(dynamodb: Call, name: str) -> None:
    """Make a table keyed by `id`, unless it is there."""
    if name in (await dynamodb("ListTables"))["TableNames"]:
        return
    await dynamodb(
        "CreateTable",
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )


async def powertools(records: int, endpoint: str) -> Counts:
    """Call an idempotent function for so many events."""
    counts = Counts()
    async with Aws(settings=PATIENT, report=lambda _: None) as aws:
        await table(await aws.call("dynamodb"), "powertools")
    async with counting(endpoint, counts, lambda _: "claim") as url:
        variables = {**os.environ, "AWS_ENDPOINT_URL": url, "PYTHONPATH": str(PEERS)}
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-W", "ignore", "-c", POWERTOOLS, str(records), env=variables
        )
        assert await child.wait() == 0  # noqa: S101 - else no figure
    return counts


def row(label: str, pace: str, counts: Counts, records: int) -> str:
    """Return a row of the table, for 1,000 records."""
    thousands = records / 1000
    kinds = [kind for kind in ("shard", "claim", "item") if counts.units[kind]]
    requests, units = (sum(found[kind] for kind in kinds) / thousands for found in (counts.requests, counts.units))
    parts = ", ".join(f"{counts.units[kind] / thousands:,.0f} {WORDS[kind]}" for kind in kinds)
    return f"| {label} | {pace} | {requests:,.0f} | {units:,.0f} | {parts} |"


WORDS = {"shard": "for the shard's row", "claim": "for claims", "item": "for the handler's items"}


async def main(records: int, only: str, endpoint: str) -> None:
    """Measure those with this in their label, and print a table."""
    print("| mode | records come | requests | write units | of them |\n|---|---|--:|--:|---|")
    for case in [case for case in CASES if only in case.label]:
        for pace, per_second in PACES.items():
            print(row(case.label, pace, await measured(case, per_second, records, endpoint), records), flush=True)
    if only in PEER and has_powertools():
        print(row(PEER, "one by one", await powertools(records, endpoint), records))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mode_cost", description="DynamoDB's part of each mode.")
    parser.add_argument("--records", type=int, default=1000)
    parser.add_argument("--only", default="", help="Part of a label.")
    options = parser.parse_args()
    with endpoint_process() as exports:
        os.environ.update(exports)
        asyncio.run(main(options.records, options.only, exports["AWS_ENDPOINT_URL"]))
