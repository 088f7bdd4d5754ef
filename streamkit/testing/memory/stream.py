"""A stream in memory, over `streamkit.testing.kinesis`: its numbers, its lineage, its retention."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from streamkit.core.lineage import Shard, Stream
from streamkit.core.positions import Position, Since
from streamkit.core.records import Compression, Origin, Record
from streamkit.errors import Missing, Throttled, Unanswered, WorldError
from streamkit.ports import Read
from streamkit.testing.builders import payload
from streamkit.testing.kinesis import AnswerLost, KinesisError
from streamkit.testing.kinesis.account import whole_millis

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamkit.core.positions import Place
    from streamkit.ports import Clock
    from streamkit.testing.kinesis import KinesisWorld, Records, ShardDescription
    from streamkit.testing.kinesis.values import ChildShard, IteratorType

IDLE = timedelta(seconds=0.25)
"""The pace of reading at the tip, and between a refusal and the next try."""
PAGE = 1000

_PASSING = {
    "ProvisionedThroughputExceededException": Throttled,
    "LimitExceededException": Throttled,
    "InternalFailureException": Unanswered,
    "ExpiredIteratorException": Unanswered,
}


class MemoryStream:
    """The producers' and the operator's side of one stream: made with the world, remade at will."""

    def __init__(self, kinesis: KinesisWorld, clock: Clock, *, name: str = "stream", shards: int = 1) -> None:
        self.kinesis = kinesis
        self.name = name
        self._clock = clock
        self.create(shards)

    def __repr__(self) -> str:
        return f"<MemoryStream {self.name}>"

    def create(self, shards: int = 1) -> None:
        """Make the stream. After `delete` it is another stream of the same name."""
        self.kinesis.create_stream(stream_name=self.name, shard_count=shards)

    def delete(self) -> None:
        """Delete the stream and all its records."""
        self.kinesis.delete_stream(stream_name=self.name)

    def put(self, key: str, data: object = b"", *, hash_key: int | None = None) -> Record:
        """Put bytes, or a value as JSON. Return the record as readers will see it."""
        body = payload(data)
        put = self.kinesis.put_record(
            stream_name=self.name,
            data=body,
            partition_key=key,
            explicit_hash_key=None if hash_key is None else str(hash_key),
        )
        assert put.shard_id is not None  # noqa: S101 - PutRecord answers or raises; only PutRecords leaves holes
        assert put.sequence_number is not None  # noqa: S101 - the same
        arrived = whole_millis(self.now())
        return Record(body, key, put.sequence_number, Origin(self.name, put.shard_id), arrived)

    def now(self) -> float:
        """The stream's own clock: seconds since the epoch."""
        return self._clock.now().timestamp()

    def split(self, shard: str) -> None:
        """Close a shard; two children share its keys evenly."""
        first, last = next(found.hash_range for found in self.listed() if found.id == shard) or (0, 0)
        self.kinesis.split_shard(
            stream_name=self.name, shard_to_split=shard, new_starting_hash_key=str((first + last) // 2 + 1)
        )

    def merge(self, shard: str, adjacent: str) -> None:
        """Close two neighbours; one child has the keys of both."""
        self.kinesis.merge_shards(stream_name=self.name, shard_to_merge=shard, adjacent_shard_to_merge=adjacent)

    def listed(self) -> list[Shard]:
        """List every shard that still holds records, and every open one."""
        page = self.kinesis.list_shards(stream_name=self.name, max_results=PAGE)
        found = page.shards
        while page.next_token is not None:
            page = self.kinesis.list_shards(next_token=page.next_token, max_results=PAGE)
            found = [*found, *page.shards]
        return [_shard(description) for description in found]


class MemorySource:
    """The consumer's side of a stream: a `Source`. It waits in the time of the running loop."""

    def __init__(
        self,
        stream: MemoryStream,
        *,
        compression: Compression | None = None,
        idle: timedelta = IDLE,
        page: int = PAGE,
    ) -> None:
        self.stream = stream
        self.compression: Compression | None = compression
        self.idle_seconds = idle.total_seconds()
        self.page = page

    async def identify(self) -> Stream:
        """Return the stream as it is now."""
        await asyncio.sleep(0)
        try:
            found = self.stream.kinesis.describe_stream_summary(stream_name=self.stream.name)
        except (KinesisError, AnswerLost) as error:
            raise _translated(error) from error
        created, hours = found.stream_creation_timestamp, found.retention_period_hours
        return Stream(found.stream_name, found.stream_arn, str(created), timedelta(hours=hours))

    async def shards(self) -> Sequence[Shard]:
        """List every shard."""
        await asyncio.sleep(0)
        try:
            return self.stream.listed()
        except (KinesisError, AnswerLost) as error:
            raise _translated(error) from error

    def reader(self, shard: Shard, place: Place) -> MemoryReader:
        """Return a reader of the shard."""
        return MemoryReader(self, shard, place)


class MemoryReader:
    """Reads one shard. Its place moves with what it returns, so that a failed call changes nothing."""

    def __init__(self, source: MemorySource, shard: Shard, place: Place) -> None:
        self._source = source
        self._stream = source.stream
        self._origin = Origin(source.stream.name, shard.id, source.compression)
        self._place: Place = place
        self._at_tip = False

    def __repr__(self) -> str:
        return f"<MemoryReader of {self._origin.shard} at {self._place}>"

    async def read(self) -> Read:
        """Return the next records; at the tip, after a pause and maybe none."""
        await asyncio.sleep(self._source.idle_seconds if self._at_tip else 0)
        while True:
            try:
                return self._read(self._ask())
            except (KinesisError, AnswerLost) as error:
                trouble = _translated(error)
                if isinstance(trouble, Missing):
                    raise trouble from error
            await asyncio.sleep(self._source.idle_seconds)

    def close(self) -> None:
        """Have nothing to let go of."""

    def _ask(self) -> Records:
        kinesis, place, now = self._stream.kinesis, self._place, self._stream.now()
        iterator = kinesis.get_shard_iterator(
            stream_name=self._stream.name,
            shard_id=self._origin.shard,
            shard_iterator_type=_iterator_type(place),
            starting_sequence_number=place.sequence_number if isinstance(place, Position) else None,
            timestamp=min(place.epoch, now) if isinstance(place, Since) else None,
        )
        return kinesis.get_records(shard_iterator=iterator, limit=self._source.page)

    def _read(self, answer: Records) -> Read:
        since = self._place.epoch if isinstance(self._place, Since) else float("-inf")
        records = [
            Record(
                stored.data,
                stored.partition_key,
                stored.sequence_number,
                self._origin,
                stored.approximate_arrival_timestamp,
            )
            for stored in answer.records
            if stored.approximate_arrival_timestamp >= since
        ]
        if answer.records:
            self._place = Position(answer.records[-1].sequence_number)
        self._at_tip = answer.millis_behind_latest == 0
        behind = timedelta(milliseconds=answer.millis_behind_latest)
        ended = answer.next_shard_iterator is None
        children = tuple(_child(child) for child in answer.child_shards or ())
        return Read(records=records, behind=behind, ended=ended, children=children)


def _iterator_type(place: Place) -> IteratorType:
    """Say how to open a shard at a place; inside of an aggregate its record is read once more, whole."""
    if isinstance(place, Position):
        return "AFTER_SEQUENCE_NUMBER" if place.subsequence is None else "AT_SEQUENCE_NUMBER"
    return "AT_TIMESTAMP" if isinstance(place, Since) else place


def _translated(error: KinesisError | AnswerLost) -> WorldError:
    if isinstance(error, AnswerLost):
        return Unanswered(str(error))
    return _PASSING.get(error.code, Missing)(str(error))


def _shard(found: ShardDescription) -> Shard:
    parents = tuple(parent for parent in (found.parent_shard_id, found.adjacent_parent_shard_id) if parent)
    keys = found.hash_key_range
    return Shard(found.shard_id, parents, (int(keys.starting_hash_key), int(keys.ending_hash_key)))


def _child(found: ChildShard) -> Shard:
    keys = found.hash_key_range
    return Shard(found.shard_id, tuple(found.parent_shards), (int(keys.starting_hash_key), int(keys.ending_hash_key)))
