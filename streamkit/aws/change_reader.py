"""Read one shard of a table's stream: no change skipped, none repeated."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from math import floor
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from streamkit.aws.errors import Rejected
from streamkit.aws.polling import Poller
from streamkit.aws.track import Track
from streamkit.core.changes import change
from streamkit.core.lineage import Shard
from streamkit.core.positions import Place, Position, Since
from streamkit.core.records import Origin, Record
from streamkit.ports import Read
from streamkit.signals import Undecodable

if TYPE_CHECKING:
    from streamkit.aws.change_source import ChangeSource

_LEAST_BEHIND = timedelta(milliseconds=1)


class Crossing:
    """Reads what stands between two streams of one table: nothing, and it has ended."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard

    def __repr__(self) -> str:
        return f"<Crossing to {self._shard.id}>"

    def close(self) -> None:
        """Have nothing to let go of."""

    async def read(self) -> Read:
        """Return the end."""
        return Read((), timedelta(), ended=True)


class ChangeReader(Poller):
    """Reads one shard onwards from one place. The service lets two read a shard at a time: a lease lets one."""

    named = "table"

    def __init__(self, source: ChangeSource, origin: Origin, place: Place) -> None:
        """Changes know whole seconds: what happened in a second before a moment is dropped."""
        super().__init__(source, Track(origin, place, since=floor(place.epoch) if isinstance(place, Since) else None))
        self._source = source

    async def _last(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Find the children of the shard."""
        return {**answer, "Children": await self._source.children_of(self._track.origin.shard)}

    async def _address(self, place: Place) -> dict[str, Any]:
        """Return the parameters that open an iterator. The service opens at no moment: older changes are dropped."""
        stream = {"StreamArn": await self._source.arn_of(self._track.origin.shard)}
        if not isinstance(place, Position):
            return {**stream, "ShardIteratorType": "TRIM_HORIZON"}
        return {**stream, "ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": place.sequence_number}

    def _records(self, raw: Sequence[bytes]) -> list[Record]:
        """Decode an answer. Raises `Rejected` for one with a change that has no place in its shard."""
        try:
            return [self._dated(change(each, self._track.origin)) for each in raw]
        except Undecodable as fault:
            raise Rejected(f"expected changes, got what cannot be settled: {fault.reason}") from fault

    def _dated(self, record: Record) -> Record:
        """Date a record whose own date cannot be read: nothing old is to be made of it."""
        return record if record.arrived else replace(record, arrived=self._source.clock.now().timestamp())

    def _behind(self, answer: dict[str, Any], records: Sequence[Record]) -> timedelta:  # noqa: ARG002 - it says nothing
        """Return the age of the last change: the service does not say how many follow. An empty answer is the tip."""
        if not records:
            return timedelta()
        return max(_LEAST_BEHIND, self._source.clock.now() - records[-1].arrived_at)

    def _children(self, answer: dict[str, Any]) -> tuple[Shard, ...]:
        """Return what was found."""
        return tuple(answer["Children"])
