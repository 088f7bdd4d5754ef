"""Departures in, delay statistics by carrier out: how a consumer is written.

    streamkit run consumers.flights:flights       as a worker
    consumers.flights.lambda_handler              as a function

A delivery may come again, because a worker may die between the write and its checkpoint. So a write and the proof
that it happened are one: a row lists the records in it and refuses one it lists already. That is one request a
flight, and exact without a transaction. A row is one aircraft's month, so it stays small and nobody queues for it;
its list is in stream order, because the aircraft is the partition key. One Query sums a carrier up.

    carrier  month_aircraft  records                  delay_minutes  late  cancelled  repeats
    UA       2013-01#N14228  [flights:shardId-...:0]  57             2     1          3
"""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec

from streamkit import Kinesis, Poison, Record, Sqs, Unavailable, consumer

TABLE: Final = os.environ.get("FLIGHTS_TABLE", "flight-statistics")
STREAM: Final = os.environ.get("FLIGHTS_STREAM", "flights")
DEAD_LETTERS: Final = os.environ.get("FLIGHTS_DEAD_LETTERS", "flights-dlq")

CONCURRENCY: Final = 8
"""A shard: enough for the 1,000 records a second it can bring, at 8 ms each."""
LATE_MINUTES: Final = 15
"""What the US Bureau of Transportation Statistics calls late."""

DynamoDB = Any
"""A client of aioboto3, which is published without types."""


class Flight(msgspec.Struct, frozen=True):
    """What of a departure matters here. One that never took place was cancelled."""

    year: int
    month: int
    day: int
    sched_dep_time: int
    dep_time: int | None
    arr_delay: int | None
    carrier: str
    flight: int
    origin: str


def identity(record: Record) -> str:
    """Return what is the same however often the producer puts a flight."""
    flight = record.json(Flight)
    day = f"{flight.year}-{flight.month:02}-{flight.day:02}"
    return f"{day} {flight.sched_dep_time:04} {flight.origin} {flight.carrier}{flight.flight}"


@asynccontextmanager
async def dynamodb() -> AsyncGenerator[DynamoDB, None]:
    """Open one client per event loop. It may send a write twice: the condition makes that harmless."""
    import aioboto3
    from aiobotocore.config import AioConfig

    session: Any = aioboto3.Session()
    settings = AioConfig(max_pool_connections=256, retries={"mode": "standard"})
    async with session.client("dynamodb", config=settings) as client:
        yield client


@consumer(
    "flights",
    source=Kinesis(STREAM),
    dead_letters=Sqs(DEAD_LETTERS),
    concurrency=CONCURRENCY,
    dedupe_key=identity,
    lifespan=dynamodb,
)
async def flights(record: Record, *, state: DynamoDB) -> None:
    """Add one flight to the statistics of its carrier, once."""
    flight = record.json(Flight)
    if flight.dep_time is None:
        counted, values = "cancelled :one", {":one": 1}
    elif flight.arr_delay is None:
        raise Poison("no arrival delay")
    else:
        late = int(flight.arr_delay >= LATE_MINUTES)
        counted, values = "delay_minutes :delay, late :late", {":delay": flight.arr_delay, ":late": late}
    await add(state, flight, record, counted, values)


lambda_handler = flights.lambda_handler


async def add(client: DynamoDB, flight: Flight, record: Record, counted: str, values: dict[str, int]) -> None:
    """Add to the row of the flight's aircraft; a record it lists already only adds to `repeats`."""
    key = {"carrier": {"S": flight.carrier}, "month_aircraft": {"S": f"{flight.year}-{flight.month:02}#{record.key}"}}
    listed: dict[str, Any] = {":id": {"S": record.id}, ":ids": {"L": [{"S": record.id}]}, ":none": {"L": []}}
    try:
        await client.update_item(
            TableName=TABLE,
            Key=key,
            ConditionExpression="NOT contains(records, :id)",
            UpdateExpression=f"SET records = list_append(if_not_exists(records, :none), :ids) ADD {counted}",
            ExpressionAttributeValues=listed | {name: {"N": str(value)} for name, value in values.items()},
        )
    except client.exceptions.ConditionalCheckFailedException:
        await client.update_item(
            TableName=TABLE,
            Key=key,
            UpdateExpression="ADD repeats :one",
            ExpressionAttributeValues={":one": {"N": "1"}},
        )
    except (client.exceptions.ProvisionedThroughputExceededException, client.exceptions.InternalServerError) as busy:
        raise Unavailable("the table has trouble of its own, the flight has none") from busy
