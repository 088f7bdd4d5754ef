"""Poll one shard of a Kinesis stream: no record skipped, none repeated.

The place to go on from changes in one step with the answer being returned: a read that is cancelled, or fails
at any point, is as if it had never been made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from streamkit.aws.backoff import persist
from streamkit.aws.decode import RawRecord
from streamkit.aws.errors import Rejected
from streamkit.aws.pace import Pace
from streamkit.aws.shapes import child_shard, epoch
from streamkit.core.positions import Place, Position, Since
from streamkit.core.records import Origin, Record
from streamkit.errors import Denied, Expired, Missing
from streamkit.events import ReadDelayed
from streamkit.ports import Read

if TYPE_CHECKING:
    from streamkit.aws.kinesis import KinesisSource

SKEW_SECONDS = 30.0
"""The service refuses a moment in its future: so much earlier is asked for, lest a clock be ahead."""
_FIRST_LIMIT = 50
"""Records asked for at first, where the size of an answer matters and nothing is known of theirs."""
EVERY = 10
"""Of the failures in a row, the first and then each of so many is reported."""


class KinesisReader:
    """Reads one shard onwards from one place, within the quotas of the shard."""

    def __init__(self, source: KinesisSource, origin: Origin, place: Place) -> None:
        self._source = source
        self._origin = origin
        self._place: Place = place
        self._since = place.epoch if isinstance(place, Since) else None
        """What arrived before is dropped, until the first that did not: not every endpoint honours it."""
        self._floor: int | None = None
        """After an iterator was opened: the lowest sequence number that is new."""
        self._iterator: str | None = None
        self._expires = 0.0
        self._pace = Pace(source.settings.pacing, source.clock)
        self._end: Read | None = None
        settings = source.settings
        self._limit = settings.limit if settings.answer_bytes is None else min(settings.limit, _FIRST_LIMIT)

    def __repr__(self) -> str:
        state = "ended" if self._end else f"at {self._place}"
        return f"<Reader of {self._origin.stream}/{self._origin.shard}, {state}>"

    async def read(self) -> Read:
        """Return the next answer, as soon as the service's quotas and the pace when idle allow.

        Raises `Missing` if stream or shard are gone, `Denied`, and `Rejected` for a place unknown there.
        """
        if self._end is not None:
            return self._end
        try:
            answer = await persist(
                self._ask,
                backoff=self._source.settings.backoff,
                chance=self._source.chance,
                delayed=self._delayed,
            )
        except (Missing, Denied, Rejected) as error:
            raise type(error)(f"stream {self._origin.stream}, shard {self._origin.shard}: {error}") from error
        return self._accept(answer)

    async def _ask(self) -> dict[str, Any]:
        """Send one GetRecords, on a fresh iterator if there is none or it is too old."""
        if self._iterator is None or self._source.clock.monotonic() >= self._expires:
            await self._open()
        await self._pace.turn()
        try:
            return await self._source.call("GetRecords", ShardIterator=self._iterator, Limit=self._limit)
        except Expired:
            self._iterator = None
            raise

    async def _open(self) -> None:
        """Open an iterator at the place."""
        kind, self._floor = _iterator_type(self._place, now=self._source.clock.now().timestamp())
        opened = self._source.clock.monotonic()
        answer = await self._source.call("GetShardIterator", **self._source.address, ShardId=self._origin.shard, **kind)
        self._iterator = answer["ShardIterator"]
        self._expires = opened + self._source.settings.iterator_seconds

    def _accept(self, answer: dict[str, Any]) -> Read:
        """Move the place to the end of an answer and return what is new in it."""
        records = records_of(answer["Records"], self._origin)
        millis = answer.get("MillisBehindLatest")
        size = sum([len(record.data) for record in records])
        self._pace.note(size, idle=not records and not millis)
        self._note_size(len(records), size)
        if size > self._source.settings.max_record_bytes:
            records = _with_defects(records, self._source.settings.max_record_bytes)
        records = self._new(records)
        if records:
            self._place = Position(records[-1].sequence_number)
        self._iterator = answer.get("NextShardIterator")
        self._expires = self._source.clock.monotonic() + self._source.settings.iterator_seconds
        behind = None if millis is None else timedelta(milliseconds=millis)
        if self._iterator:
            return Read(records, behind)
        self._end = Read((), behind, ended=True, children=tuple(map(child_shard, answer.get("ChildShards") or ())))
        return replace(self._end, records=records)

    def _note_size(self, records: int, size_bytes: int) -> None:
        """Ask for no more at once than others can do without, where that was said."""
        settings = self._source.settings
        if settings.answer_bytes is not None and size_bytes:
            self._limit = max(1, min(settings.limit, int(settings.answer_bytes * records / size_bytes)))

    def _new(self, records: list[Record]) -> list[Record]:
        """Drop what lies before the place; costs nothing once the first new record was seen."""
        if self._floor is None and self._since is None:
            return records
        floor, since = self._floor or 0, self._since or 0.0
        for index, record in enumerate(records):
            if record.arrived >= since and record.sequence >= floor:
                self._floor = self._since = None
                return records[index:]
        return []

    def _delayed(self, error: Exception, failures: int, seconds: float) -> None:
        """Report the first of several failures, and then every few."""
        if failures % EVERY == 1:
            self._source.report(
                ReadDelayed(shard=self._origin.shard, error=type(error).__name__, delay_seconds=seconds)
            )


def _iterator_type(place: Place, *, now: float) -> tuple[dict[str, Any], int | None]:
    """Return the parameters that open an iterator, and the lowest sequence number that is new there.

    Inside an aggregate the whole record is read again: what is settled of it, the shard loop knows.
    """
    if isinstance(place, Since):
        moment = max(min(place.epoch, now) - SKEW_SECONDS, 0.0)
        return {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": Since(moment).at}, None
    if isinstance(place, Position):
        inside = place.subsequence is not None
        kind = "AT_SEQUENCE_NUMBER" if inside else "AFTER_SEQUENCE_NUMBER"
        parameters = {"ShardIteratorType": kind, "StartingSequenceNumber": place.sequence_number}
        return parameters, int(place.sequence_number) + (not inside)
    return {"ShardIteratorType": place}, None


def records_of(raw: Sequence[Any], origin: Origin) -> list[Record]:
    """Make records: one loop, nothing else in it."""
    if raw and not isinstance(raw[0], RawRecord):
        return [_record(each, origin) for each in raw]
    return [
        Record(each.Data, each.PartitionKey, each.SequenceNumber, origin, each.ApproximateArrivalTimestamp)
        for each in raw
    ]


def _record(raw: Mapping[str, Any], origin: Origin) -> Record:
    """Make a record of what the SDK's own parser returned."""
    arrived = epoch(raw["ApproximateArrivalTimestamp"])
    return Record(raw["Data"], raw["PartitionKey"], raw["SequenceNumber"], origin, arrived)


def _with_defects(records: list[Record], limit_bytes: int) -> list[Record]:
    """Mark the records over the limit."""
    return [
        record
        if len(record.data) <= limit_bytes
        else replace(record, defect=f"expected at most {limit_bytes} bytes, got {len(record.data)}")
        for record in records
    ]
