"""Read one shard of a table's stream: no change skipped, none repeated.

The place to go on from moves in one step with the answer being returned: a read that is cancelled, or fails at any
point, is as if it had never been made.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from math import floor
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from streamkit.aws.backoff import persist
from streamkit.aws.errors import Rejected, Trimmed
from streamkit.aws.pace import Pace
from streamkit.core.changes import change
from streamkit.core.lineage import Shard
from streamkit.core.positions import Place, Position, Since
from streamkit.core.records import Origin, Record
from streamkit.errors import Denied, Expired, Missing
from streamkit.events import ReadDelayed
from streamkit.ports import Read
from streamkit.signals import Undecodable

if TYPE_CHECKING:
    from streamkit.aws.change_source import ChangeSource

EVERY = 10
"""Of the failures in a row, the first and then each of so many is reported."""
_LEAST_BEHIND = timedelta(milliseconds=1)


class Crossing:
    """Reads what stands between two streams of one table: nothing, and it has ended."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard

    def __repr__(self) -> str:
        return f"<Crossing to {self._shard.id}>"

    async def read(self) -> Read:
        """Return the end."""
        return Read((), timedelta(), ended=True)


class ChangeReader:
    """Reads one shard onwards from one place. The service lets two read a shard at a time: a lease lets one."""

    def __init__(self, source: ChangeSource, origin: Origin, place: Place) -> None:
        self._source = source
        self._origin = origin
        self._place: Place = place
        self._since = floor(place.epoch) if isinstance(place, Since) else None
        """What happened in a second before is dropped, until the first that did not: changes know whole seconds."""
        self._floor: int | None = None
        """After an iterator was opened: the lowest sequence number that is new."""
        self._iterator: str | None = None
        self._expires = 0.0
        self._pace = Pace(source.settings.pacing, source.clock)
        self._end: Read | None = None

    def __repr__(self) -> str:
        state = "ended" if self._end else f"at {self._place}"
        return f"<Reader of {self._origin.stream}/{self._origin.shard}, {state}>"

    async def read(self) -> Read:
        """Return the next answer, as soon as the pace allows.

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
            records = self._records(answer["Records"])
        except (Missing, Denied, Rejected) as error:
            raise type(error)(f"table {self._origin.stream}, shard {self._origin.shard}: {error}") from error
        return self._accept(answer, records)

    async def _ask(self) -> dict[str, Any]:
        """Send one GetRecords, on a fresh iterator if there is none or it is too old; at the end, find the children."""
        settings = self._source.settings
        try:
            if self._iterator is None or self._source.clock.monotonic() >= self._expires:
                await self._open()
            await self._pace.turn()
            answer = await self._source.call("GetRecords", ShardIterator=self._iterator, Limit=settings.limit)
        except Expired as error:
            self._iterator = None
            if isinstance(error, Trimmed):
                self._skip_trimmed()
            raise
        if not answer.get("NextShardIterator"):
            answer = {**answer, "Children": await self._source.children_of(self._origin.shard)}
        return answer

    def _skip_trimmed(self) -> None:
        """Go on from the oldest there is. What was missed by that, whoever knows what was read before can tell."""
        if isinstance(self._place, Position):
            self._floor = int(self._place.sequence_number) + 1
            self._place = "TRIM_HORIZON"

    async def _open(self) -> None:
        """Open an iterator at the place."""
        opened = self._source.clock.monotonic()
        answer = await self._source.call(
            "GetShardIterator",
            StreamArn=await self._source.arn_of(self._origin.shard),
            ShardId=self._origin.shard,
            **self._iterator_type(),
        )
        self._iterator = answer["ShardIterator"]
        self._expires = opened + self._source.settings.iterator_seconds

    def _iterator_type(self) -> dict[str, str]:
        """Return the parameters that open an iterator. The service opens at no moment: older changes are dropped."""
        if not isinstance(self._place, Position):
            return {"ShardIteratorType": "TRIM_HORIZON"}
        self._floor = int(self._place.sequence_number) + 1
        return {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": self._place.sequence_number}

    def _records(self, raw: Sequence[bytes]) -> list[Record]:
        """Decode an answer. Raises `Rejected` for one with a change that has no place in its shard."""
        limit = self._source.settings.max_record_bytes
        try:
            records = [self._dated(change(each, self._origin)) for each in raw]
        except Undecodable as fault:
            raise Rejected(f"expected changes, got what cannot be settled: {fault.reason}") from fault
        if any(len(each) > limit for each in raw):
            return [record if len(record.data) <= limit else _too_large(record, limit) for record in records]
        return records

    def _dated(self, record: Record) -> Record:
        """Date a record whose own date cannot be read: nothing old is to be made of it."""
        return record if record.arrived else replace(record, arrived=self._source.clock.now().timestamp())

    def _accept(self, answer: dict[str, Any], records: list[Record]) -> Read:
        """Move the place to the end of an answer and return what is new in it."""
        self._pace.note(sum(len(record.data) for record in records), idle=not records)
        behind = self._behind(records)
        records = self._new(records)
        if records:
            self._place = Position(records[-1].sequence_number)
        self._iterator = answer.get("NextShardIterator")
        self._expires = self._source.clock.monotonic() + self._source.settings.iterator_seconds
        if self._iterator:
            return Read(records, behind)
        self._end = Read((), behind, ended=True, children=answer["Children"])
        return replace(self._end, records=records)

    def _behind(self, records: Sequence[Record]) -> timedelta:
        """Return the age of the last change: the service does not say how many follow. An empty answer is the tip."""
        if not records:
            return timedelta()
        return max(_LEAST_BEHIND, self._source.clock.now() - records[-1].arrived_at)

    def _new(self, records: list[Record]) -> list[Record]:
        """Drop what lies before the place; costs nothing once the first new record was seen."""
        if self._floor is None and self._since is None:
            return records
        lowest, since = self._floor or 0, self._since or 0
        for index, record in enumerate(records):
            if record.arrived >= since and record.sequence >= lowest:
                self._floor = self._since = None
                return records[index:]
        return []

    def _delayed(self, error: Exception, failures: int, seconds: float) -> None:
        """Report the first of several failures, and then every few."""
        if failures % EVERY == 1:
            self._source.report(
                ReadDelayed(shard=self._origin.shard, error=type(error).__name__, delay_seconds=seconds)
            )


def _too_large(record: Record, limit_bytes: int) -> Record:
    return replace(record, defect=f"expected at most {limit_bytes} bytes, got {len(record.data)}")
