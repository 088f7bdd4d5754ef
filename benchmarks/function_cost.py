"""What a function's memory costs in DynamoDB: requests and units of clean batches, counted at the table.

    python -m benchmarks.function_cost

Requests go to the embedded endpoint. Units follow AWS's rules: an item's names and values, a write in started KB of the
larger of old and new, a consistent read in started 4 KB.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from typing import TYPE_CHECKING, Any

from streamkit import Consumer, DynamoDBStream, Kinesis, Record, consumer
from streamkit.aws.call import Call
from streamkit.aws.clients import Aws
from streamkit.aws.desk import PATIENT
from streamkit.aws.halts import TableHalts
from streamkit.aws.memory import TableMemory
from streamkit.aws.schema import create
from streamkit.clock import SystemChance, SystemClock
from streamkit.events import Event
from streamkit.ports import FunctionPorts
from streamkit.runtimes.function.function import Function
from streamkit.testing.endpoint import endpoint_process
from tests.functions.stage import changes, kinesis

if TYPE_CHECKING:
    from streamkit.ports import Report

MOST_BATCHES = 20
BATCHES = (10, 100, 1_000, 10_000)
POWERTOOLS = 2_000
"""Requests of its idempotency utility for 1,000 records, one after the other: two writes a record."""
WRITE_DOLLARS, READ_DOLLARS = 0.625e-6, 0.125e-6
"""On demand, us-east-1: https://aws.amazon.com/dynamodb/pricing/on-demand/"""
MODES: dict[str, tuple[Kinesis | DynamoDBStream, int | None, Callable[..., dict[str, Any]]]] = {
    "Kinesis, declared factor of 1": (Kinesis("stream"), 1, kinesis),
    "Kinesis, any factor": (Kinesis("stream"), None, kinesis),
    "changes of a table": (DynamoDBStream("flights"), None, changes),
}


class Plenty:
    """All the time there is."""

    def get_remaining_time_in_millis(self) -> int:
        """Return what is left."""
        return 600_000


@dataclass(slots=True)
class Meter:
    """A `Call` that counts what passes."""

    call: Call
    requests: int = 0
    writes: int = 0
    reads: int = 0

    async def __call__(self, operation: str, /, **parameters: Any) -> dict[str, Any]:
        """Send one request."""
        answer = await self.call(operation, **parameters)
        self.requests += 1
        if operation in ("Query", "GetItem"):
            items: list[Any] = answer.get("Items") or [answer.get("Item") or {}]
            self.reads += max(1, ceil(sum(map(size, items)) / 4096))
        else:
            items = [parameters.get("Item") or {}, answer.get("Attributes") or {}]
            self.writes += max(1, ceil(max(map(size, items)) / 1024))
        return answer


@dataclass(frozen=True, slots=True)
class World:
    """A table that is counted at."""

    meter: Meter
    table: str

    @asynccontextmanager
    async def function(self, consumer: Consumer, report: Report) -> AsyncGenerator[FunctionPorts]:
        """Open it."""
        del report
        memory = TableMemory(self.meter, self.table, consumer=consumer.name, keep=timedelta(days=7))
        halts = TableHalts(self.meter, self.table, consumer=consumer.name)
        yield FunctionPorts(memory=memory, halts=halts, dead_letters=None, ledger=None)


def size(item: Mapping[str, Any]) -> int:
    """Return the bytes of an item: names and values."""
    return sum(len(name) + _bytes(value) for name, value in item.items())


def _bytes(value: Mapping[str, Any]) -> int:
    """Return those of one value; a number takes half its digits."""
    [(kind, held)] = value.items()
    match kind:
        case "N":
            return ceil(len(held) / 2) + 1
        case "L":
            return 3 + sum(1 + _bytes(each) for each in held)
        case "S":
            return len(held.encode())
        case "B":
            return len(bytes(held))
        case _:
            return 1


async def measured(mode: str, batch: int, call: Call) -> Meter:
    """Deliver batches of so many records, each once."""
    source, factor, event = MODES[mode]
    clock, chance = SystemClock(), SystemChance()

    @consumer("measured", source=source, parallelization_factor=factor, partial_responses=True)
    async def handler(record: Record) -> None:
        """Handle at once."""

    def silent(_: Event) -> None:
        """Tell nobody."""

    table = f"cost-{chance.token()[:12]}"
    await create(call, table, clock=clock, protected=False)
    meter = Meter(call)
    opening = Function.open(
        handler, World(meter, table), clock=clock, chance=chance, report=silent, leave=lambda: os._exit(1)
    )
    async with opening as function:
        for number in range(batches_of(batch)):
            numbers = range(number * batch, (number + 1) * batch)
            made = event(*numbers, apart=0.02) if event is kinesis else event(*numbers)
            assert await function.invoke(made, Plenty()) == {"batchItemFailures": []}  # noqa: S101 - else no figure
    return meter


def batches_of(batch: int) -> int:
    """Return how many batches are delivered."""
    return min(MOST_BATCHES, 20_000 // batch)


async def main() -> None:
    """Measure and print a table."""
    print("| | records a batch | requests a batch | requests | write units | read units | on demand |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    async with Aws(settings=PATIENT, report=lambda _: None) as aws:
        call = await aws.call("dynamodb")
        for mode in MODES:
            for batch in BATCHES:
                found = await measured(mode, batch, call)
                count = batches_of(batch)
                per_batch, thousands = found.requests / count, count * batch / 1_000
                requests, writes, reads = (n / thousands for n in (found.requests, found.writes, found.reads))
                dollars = writes * WRITE_DOLLARS + reads * READ_DOLLARS
                figures = f"{per_batch:.3g} | {requests:.4g} | {writes:.4g} | {reads:.4g} | ${dollars:.7f}"
                print(f"| {mode} | {batch:,} | {figures} |")
    print(
        f"\nFor 1,000 records that came at 50 a second. Powertools' idempotency: {POWERTOOLS:,} requests, one by one."
    )


if __name__ == "__main__":
    with endpoint_process() as exports:
        os.environ.update(exports)
        asyncio.run(main())
