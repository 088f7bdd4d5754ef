"""A stream kept in S3: compressed, partitioned by time, each record exactly once.

    streamkit run consumers.archive:archive                             keep it
    python -m consumers.archive --hour 2026-11-20T10 [--key KEY]        read an hour of it, as JSON lines

Delivery is at least once, and after a crash batches are cut elsewhere. So an object named after its batch would be
joined by another with some of the same records. What is written instead is the next object of a **log**; the records of
one shard that arrived in one hour are one log, whose objects are numbered without a gap:

    PREFIX/flights/2026-11-20/10/shardId-000000000003/00000017.ndjson.gz

1. A record belongs to one log, by what never changes: its shard and its time of arrival.
2. An object is made only where there is none of its number, by a PUT with `If-None-Match: *`, which S3 decides
   (https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html). Objects are never changed.
3. Before number n is put, every record that is in an object below n has been left out. Each object tells the highest
   record up to and including it (`high`): what is above that is new. Where a batch is not above it, objects are read
   from the end back to the first whose `high` is below the batch, and what is found in them is left out, one by one.

By 2 and 3 no two objects share a record; and a record is left out only because it was seen in an object. That holds
whoever writes: a successor after a kill between PUT and checkpoint, a PUT whose answer was lost, a zombie beside the
new owner (whoever comes second to a number reads what is there, and goes on), a record redriven from the dead-letter
queue long after later ones. In the steady state it costs one PUT a batch and hour.

A line of an object is a record: {"id", "key", "arrived", "data"}, `data` being the payload in base64, exact.
"""

import gzip
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click
import msgspec

from streamkit import Batch, Kinesis, Record, Sqs, Unavailable, consumer

STREAM: Final = os.environ.get("ARCHIVE_STREAM", "flights")
BUCKET: Final = os.environ.get("ARCHIVE_BUCKET", "flights-archive")
PREFIX: Final = os.environ.get("ARCHIVE_PREFIX", "archive")
DEAD_LETTERS: Final = os.environ.get("ARCHIVE_DEAD_LETTERS", "archive-dlq")

S3 = Any
"""A client of aioboto3, which is published without types."""
Place = tuple[int, int]
"""Of a record in its shard: sequence and subsequence number."""
_NOTHING: Final[Place] = (-1, -1)
_TURNS: Final = 1_000
"""Most objects of others met under the numbers one batch wanted."""


class Line(msgspec.Struct, frozen=True):
    """One record, as it is kept."""

    id: str
    key: str
    arrived: float
    """Seconds since the epoch."""
    data: bytes
    """The payload; base64 in JSON."""

    @property
    def place(self) -> Place:
        """Its place in its shard."""
        _, sequence, subsequence = self.id.rsplit(":", 2)
        return int(sequence), int(subsequence)


class End(msgspec.Struct, frozen=True):
    """The end of a log."""

    objects: int = 0
    high: Place = _NOTHING
    """The highest record in any of its objects."""


class Archive:
    """Logs in one bucket. What it remembers of their ends only spares requests: S3 decides."""

    def __init__(self, s3: S3, *, bucket: str, prefix: str) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._prefix = prefix
        self._ends: dict[str, End] = {}

    async def keep(self, records: Iterable[Record]) -> None:
        """Returning means that each of these records of one shard is in exactly one object. Raises `Unavailable`."""
        for log, mine in self._by_log(records).items():
            try:
                await self._append(log, mine)
            except Exception as trouble:
                self._ends.pop(log, None)
                raise Unavailable(f"S3: {type(trouble).__name__}") from trouble

    def _by_log(self, records: Iterable[Record]) -> dict[str, list[Record]]:
        found: dict[str, list[Record]] = {}
        for record in records:
            hour = record.arrived_at.strftime("%Y-%m-%d/%H")
            found.setdefault(f"{self._prefix}/{record.stream}/{hour}/{record.shard}/", []).append(record)
        return found

    async def _append(self, log: str, records: Sequence[Record]) -> None:
        """Put what is not in the log as its next object; look again whenever somebody else was first."""
        end = self._ends.get(log) or await self._end(log)
        for _ in range(_TURNS):
            new = await self._new(log, records, end)
            if not new:
                self._remember(log, end)
                return
            after = End(end.objects + 1, max(end.high, *map(_place, new)))
            if await self._put(log, end.objects, new, high=after.high):
                self._remember(log, after)
                return
            end = End(end.objects + 1, await self._high(log, end.objects))
        raise Unavailable(f"{log}: {_TURNS} objects of others in a row")

    def _remember(self, log: str, end: End) -> None:
        """Keep the ends of the few latest logs: an hour or two of each shard."""
        self._ends.pop(log, None)
        self._ends[log] = end
        while len(self._ends) > 10_000:  # noqa: PLR2004 - shards of one worker, and a few hours
            del self._ends[next(iter(self._ends))]

    async def _new(self, log: str, records: Sequence[Record], end: End) -> Sequence[Record]:
        """Return the records that no object of the log has."""
        first = min(map(_place, records))
        have: set[Place] = set()
        for number in reversed(range(end.objects)):
            if (end.high if number == end.objects - 1 else await self._high(log, number)) < first:
                break
            have |= {line.place for line in await self._lines(_key(log, number))}
        return [record for record in records if _place(record) not in have] if have else records

    async def _put(self, log: str, number: int, records: Sequence[Record], *, high: Place) -> bool:
        """Make an object; return whether it was made: there may be one of this number."""
        try:
            await self._s3.put_object(
                Bucket=self._bucket,
                Key=_key(log, number),
                Body=packed(records),
                ContentType="application/x-ndjson",
                Metadata={"high": f"{high[0]}.{high[1]}", "records": str(len(records))},
                IfNoneMatch="*",
            )
        except self._s3.exceptions.ClientError as refused:
            if refused.response["Error"]["Code"] in {"PreconditionFailed", "ConditionalRequestConflict"}:
                return False
            raise
        return True

    async def _end(self, log: str) -> End:
        """Find the end of a log: listings of S3 are consistent."""
        last: str | None = None
        async for key in self._keys(log):
            last = key
        if last is None:
            return End()
        number = int(last.removeprefix(log).partition(".")[0])
        return End(number + 1, await self._high(log, number))

    async def _high(self, log: str, number: int) -> Place:
        found = await self._s3.head_object(Bucket=self._bucket, Key=_key(log, number))
        sequence, _, subsequence = found["Metadata"]["high"].partition(".")
        return int(sequence), int(subsequence)

    async def _lines(self, key: str) -> list[Line]:
        answer = await self._s3.get_object(Bucket=self._bucket, Key=key)
        return unpacked(await answer["Body"].read())

    async def _keys(self, start: str) -> AsyncIterator[str]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=start)
        async for page in pages:
            for each in page.get("Contents", ()):
                yield each["Key"]

    async def hour(self, stream: str, hour: datetime) -> AsyncIterator[Line]:
        """Give the records of an hour, each shard's in the order they were kept: by key, that of the stream."""
        async for key in self._keys(f"{self._prefix}/{stream}/{hour.strftime('%Y-%m-%d/%H')}/"):
            for line in await self._lines(key):
                yield line


def packed(records: Iterable[Record]) -> bytes:
    """Return the object of these records: the same bytes for the same records."""
    lines = [Line(each.id, each.key, each.arrived, each.data) for each in records]
    return gzip.compress(b"".join(msgspec.json.encode(line) + b"\n" for line in lines), mtime=0)


def unpacked(body: bytes) -> list[Line]:
    """Return what an object holds."""
    return [msgspec.json.decode(line, type=Line) for line in gzip.decompress(body).splitlines()]


def _place(record: Record) -> Place:
    return record.sequence, record.subsequence


def _key(log: str, number: int) -> str:
    return f"{log}{number:08}.ndjson.gz"


@asynccontextmanager
async def opened() -> AsyncGenerator[Archive, None]:
    """Open the archive: one client per event loop. It may send a PUT twice: the condition makes that harmless."""
    import aioboto3

    session: Any = aioboto3.Session()
    async with session.client("s3") as s3:
        yield Archive(s3, bucket=BUCKET, prefix=PREFIX)


@consumer.batch(
    "archive",
    source=Kinesis(STREAM),
    dead_letters=Sqs(DEAD_LETTERS),
    batch_size=5_000,
    linger=timedelta(seconds=30),
    handler_timeout=timedelta(minutes=5),
    lifespan=opened,
)
async def archive(batch: Batch, *, state: Archive) -> None:
    """Keep a batch."""
    await state.keep(batch)


@click.command()
@click.option("--hour", required=True, metavar="2026-11-20T10", help="Of arrival, in UTC.")
@click.option("--key", help="Of this partition key only.")
def main(hour: str, key: str | None) -> None:
    """Write the records of an hour to standard output, as JSON lines: id, key, arrived, data in base64."""
    import asyncio

    asyncio.run(_write(datetime.fromisoformat(f"{hour}:00").replace(tzinfo=UTC), key))


async def _write(hour: datetime, key: str | None) -> None:
    async with opened() as kept:
        async for line in kept.hour(STREAM, hour):
            if key is None or line.key == key:
                sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")


if __name__ == "__main__":
    main()
