"""Departures in, delay statistics per carrier out: how a consumer is written.

    streamkit run consumers.flights:flights

Any delivery may come twice: a worker can die between a write and its checkpoint. So a write and the proof of it are
one: the row that a flight is added to lists the records it holds, and refuses one that it lists already. One request
a flight, exact without a transaction. There is a row per carrier, aircraft and month: rows stay small and cool, a
row's records come in order because they share a partition key, and one Query by carrier sums it up.

    carrier  row              records              delay_minutes  late  cancelled  repeats
    UA       2013-01#N14228   [flights:...:0, ..]  57             2     1          3
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from streamkit import Kinesis, Poison, Record, Sqs, Unavailable, consumer

TABLE: Final = os.environ.get("FLIGHTS_TABLE", "flight-statistics")
STREAM: Final = os.environ.get("FLIGHTS_STREAM", "flights")
DEAD_LETTERS: Final = os.environ.get("FLIGHTS_DEAD_LETTERS", "flights-dlq")

CONCURRENCY: Final = 64
LATE_MINUTES: Final = 15
"""From here on a flight counts as late (US Bureau of Transportation Statistics)."""

Write = dict[str, Any]


class Flight(msgspec.Struct, frozen=True):
    """What of a departure matters here. A flight that never departed was cancelled."""

    year: int
    month: int
    day: int
    sched_dep_time: int
    dep_time: int | None
    arr_delay: int | None
    carrier: str
    flight: int
    origin: str

    @property
    def identity(self) -> str:
        """The same however often a producer puts the flight."""
        day = f"{self.year}-{self.month:02}-{self.day:02}"
        return f"{day} {self.carrier}{self.flight} {self.origin} {self.sched_dep_time:04}"

    def counted(self) -> tuple[str, Write]:
        """Return what it adds to its row. Raises `Poison` if it landed and nobody knows when."""
        if self.dep_time is None:
            return "cancelled :one", {":one": {"N": "1"}}
        if self.arr_delay is None:
            raise Poison("no arrival delay")
        late = int(self.arr_delay >= LATE_MINUTES)
        return "delay_minutes :delay, late :late", {":delay": {"N": str(self.arr_delay)}, ":late": {"N": str(late)}}


@dataclass(frozen=True, slots=True)
class Statistics:
    """The table, through one client of the SDK."""

    client: Any

    async def add(self, flight: Flight, record: Record) -> None:
        """Add a flight to its row; one that is in it already changes nothing but the count of repeats."""
        change, values = flight.counted()
        row = {"carrier": {"S": flight.carrier}, "row": {"S": f"{flight.year}-{flight.month:02}#{record.key}"}}
        try:
            await self._update(
                row,
                f"SET records = list_append(if_not_exists(records, :none), :records) ADD {change}",
                {**values, ":none": {"L": []}, ":records": {"L": [{"S": record.id}]}, ":id": {"S": record.id}},
                ConditionExpression="NOT contains(records, :id)",
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            await self._update(row, "ADD repeats :one", {":one": {"N": "1"}})

    async def _update(self, row: Write, expression: str, values: Write, **condition: str) -> None:
        """Update one row. Raises `Unavailable` when the table has trouble that is no fault of the record."""
        known = self.client.exceptions
        try:
            await self.client.update_item(
                TableName=TABLE,
                Key=row,
                UpdateExpression=expression,
                ExpressionAttributeValues=values,
                **condition,
            )
        except (known.InternalServerError, known.ProvisionedThroughputExceededException) as error:
            raise Unavailable("the table of statistics") from error


@asynccontextmanager
async def statistics() -> AsyncIterator[Statistics]:
    """Open the table, once per event loop. The SDK may send a write again: its condition makes that harmless."""
    import aioboto3
    from aiobotocore.config import AioConfig

    settings = AioConfig(max_pool_connections=CONCURRENCY, retries={"mode": "standard", "max_attempts": 4})
    session: Any = aioboto3.Session()
    async with session.client("dynamodb", config=settings) as client:
        yield Statistics(client)


@consumer(
    "flights",
    source=Kinesis(STREAM),
    dead_letters=Sqs(DEAD_LETTERS),
    concurrency=CONCURRENCY,
    dedupe_key=lambda record: record.json(Flight).identity,
    lifespan=statistics,
)
async def flights(record: Record, *, state: Statistics) -> None:
    """Add one flight to its carrier's statistics."""
    await state.add(record.json(Flight), record)
