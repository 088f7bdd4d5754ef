"""A table of flights in, its statistics by route and by day out: a view that is exact whatever happens to a flight.

    streamkit run consumers.routes:routes
    python -m consumers.routes                 # once, for flights that are older than the stream: it may run beside

A delivery may come again, because a worker may die between the write and its checkpoint, and a stream may lack what
was written while it was disabled. So the view remembers what it counts for each flight. One transaction moves a
flight's share from the rows it was counted in to those it belongs to now, on condition that the view counts what the
change says was there, and that no later change has been counted. If the condition fails, the answer tells what the
view does count: a later change, so this one came again; or another share, which is then moved instead.

    row                           what is in it
    flight {"id":{"S":"..."}}     last: position of the change counted last; share: what it counted; expires
    route EWR-IAH                 flights  late  cancelled  delay_minutes
    day 2013-01-01#3              the same, one of eight parts: writers of one day need not queue for one row

A change costs no read, and one transaction of up to five rows.
"""

import asyncio
import os
import sys
import zlib
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec

from streamkit import Change, DynamoDBStream, Poison, Sqs, Unavailable, consumer

TABLE: Final = os.environ.get("FLIGHTS_TABLE", "flights")
VIEW: Final = os.environ.get("FLIGHTS_VIEW", "flight-view")
DEAD_LETTERS: Final = os.environ.get("FLIGHTS_DEAD_LETTERS", "flights-dlq")

PARTS: Final = 8
"""Rows that share the counting of one day."""
TRIES: Final = 5
LATE_MINUTES: Final = 15
"""What the US Bureau of Transportation Statistics calls late."""
FORGET_SECONDS: Final = 7 * 86_400
"""A deleted flight is remembered for longer than any stream can bring a change of it."""

DynamoDB = Any
"""A client of aioboto3, which is published without types."""
Row = dict[str, Any]


class Flight(msgspec.Struct, frozen=True):
    """What of an item matters here. A flight that never departed was cancelled."""

    origin: str
    dest: str
    day: str
    dep_time: int | None = None
    arr_delay: int | None = None


class Share(msgspec.Struct, frozen=True, array_like=True):
    """What one flight adds to the statistics."""

    route: str
    day: str
    late: int
    cancelled: int
    delay_minutes: int

    @property
    def numbers(self) -> dict[str, int]:
        """The counters and what they count."""
        return {
            "flights": 1,
            "late": self.late,
            "cancelled": self.cancelled,
            "delay_minutes": self.delay_minutes,
        }


@asynccontextmanager
async def dynamodb() -> AsyncGenerator[DynamoDB, None]:
    """Open one client per event loop. It may send a transaction twice: the condition makes that harmless."""
    import aioboto3
    from aiobotocore.config import AioConfig

    session: Any = aioboto3.Session()
    async with session.client("dynamodb", config=AioConfig(max_pool_connections=256)) as client:
        yield client


@consumer(
    "routes",
    source=DynamoDBStream(TABLE),
    dead_letters=Sqs(DEAD_LETTERS),
    concurrency=16,
    lifespan=dynamodb,
)
async def routes(change: Change, *, state: DynamoDB) -> None:
    """Let the view count the flight as it is now, instead of as it was."""
    was, now = share_of(change.old), share_of(change.new)
    await move(state, change.key, was, now, last=change.position.stored(), changed=change.changed)


def share_of(item: Mapping[str, object] | None) -> Share | None:
    """Return what a flight adds; None if there is none. Raises `Poison` for an item that is no flight."""
    if item is None:
        return None
    try:
        flight = msgspec.convert(item, Flight)
    except msgspec.ValidationError as fault:
        raise Poison("expected an item of the flights table") from fault
    delay = flight.arr_delay or 0
    return Share(
        route=f"{flight.origin}-{flight.dest}",
        day=flight.day,
        late=int(delay >= LATE_MINUTES),
        cancelled=int(flight.dep_time is None),
        delay_minutes=delay,
    )


async def move(
    client: DynamoDB, key: str, was: Share | None, now: Share | None, *, last: str, changed: float = 0.0
) -> None:
    """Count `now` for a flight instead of what was counted, unless a change later than `last` has been counted."""
    for _ in range(TRIES):
        try:
            await client.transact_write_items(TransactItems=transaction(key, was, now, last=last, changed=changed))
        except client.exceptions.TransactionCanceledException as cancelled:
            reasons: list[Row] = cancelled.response["CancellationReasons"]
            if any(reason.get("Code") not in (None, "None", "ConditionalCheckFailed") for reason in reasons):
                await asyncio.sleep(0.05)  # another flight of this route or day is being counted
                continue
            counted: Row = reasons[0].get("Item") or {}
            if counted and counted["last"]["S"] >= last:
                return
            was = msgspec.json.decode(counted["share"]["S"], type=Share | None) if counted else None
        else:
            return
    raise Unavailable("the rows of the view are too busy")


def transaction(key: str, was: Share | None, now: Share | None, *, last: str, changed: float) -> list[Row]:
    """Return the writes that move a share: first the flight's own row, which has the condition, then the counters."""
    counted = "#last < :last AND #share = :was"
    values = {":last": {"S": last}, ":was": {"S": written(was)}, ":now": {"S": written(now)}}
    gone = now is None
    if gone:
        values[":expires"] = {"N": str(int(changed) + FORGET_SECONDS)}
    flight = {
        "TableName": VIEW,
        "Key": {"pk": {"S": f"flight {key}"}},
        "ConditionExpression": counted if was else f"attribute_not_exists(pk) OR ({counted})",
        "UpdateExpression": "SET #last = :last, #share = :now"
        + (", expires = :expires" if gone else " REMOVE expires"),
        "ExpressionAttributeNames": {"#last": "last", "#share": "share"},
        "ExpressionAttributeValues": values,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    return [{"Update": flight}, *({"Update": each} for each in counters(key, was, now))]


def written(share: Share | None) -> str:
    """Return a share as it is kept."""
    return msgspec.json.encode(share).decode()


def counters(key: str, was: Share | None, now: Share | None) -> list[Row]:
    """Return the additions to rows of routes and days: one each, and none that adds nothing."""
    changes: dict[str, Counter[str]] = {}
    for share, sign in ((was, -1), (now, 1)):
        for row in rows_of(key, share):
            for name, number in share.numbers.items() if share else ():
                changes.setdefault(row, Counter())[name] += sign * number
    return [addition(row, numbers) for row, numbers in changes.items() if any(numbers.values())]


def rows_of(key: str, share: Share | None) -> list[str]:
    """Return the keys of the rows in which a flight is counted."""
    if share is None:
        return []
    part = zlib.crc32(key.encode()) % PARTS
    return [f"route {share.route}", f"day {share.day}#{part}"]


def addition(row: str, numbers: Mapping[str, int]) -> Row:
    """Return the update that adds numbers to a row."""
    added = {name: number for name, number in numbers.items() if number}
    return {
        "TableName": VIEW,
        "Key": {"pk": {"S": row}},
        "UpdateExpression": "ADD " + ", ".join(f"{name} :{name}" for name in added),
        "ExpressionAttributeValues": {f":{name}": {"N": str(number)} for name, number in added.items()},
    }


# What is older than the stream


async def backfill(client: DynamoDB) -> int:
    """Count the flights that no change has brought; return how many items were looked at. Changes may come meanwhile.

    A flight is counted as the scan saw it, as if by a change before all others. If the view counts it already, a
    change has been here, and knows better; if a change comes later, it finds what was counted.
    """
    from streamkit.core.values import Image, Key, canonical, plain

    described = await client.describe_table(TableName=TABLE)
    names = [each["AttributeName"] for each in described["Table"]["KeySchema"]]
    looked_at, start = 0, Row()
    while True:
        page = await client.scan(TableName=TABLE, ConsistentRead=True, **start)
        for item in page["Items"]:
            key = canonical(msgspec.convert({name: item[name] for name in names}, Key))
            await move(client, key, None, share_of(plain(msgspec.convert(item, Image))), last="")
            looked_at += 1
        if "LastEvaluatedKey" not in page:
            return looked_at
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


async def _backfill() -> None:
    async with dynamodb() as client:
        sys.stdout.write(f"{await backfill(client)} flights looked at\n")


if __name__ == "__main__":
    asyncio.run(_backfill())
