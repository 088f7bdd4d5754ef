"""How far one shard is read, however its records come: polled, or pushed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from streamkit.core.positions import Place, Position
from streamkit.core.records import Origin, Record
from streamkit.events import ReadDelayed
from streamkit.ports import Read

if TYPE_CHECKING:
    from streamkit.ports import Report

EVERY = 10
"""Of the failures in a row, the first and then each of so many is reported."""


class Track:
    """The place in one shard. It moves in one step with an answer being returned.

    A read that is cancelled, or fails at any point, is as if it had never been made.
    """

    def __init__(self, origin: Origin, place: Place, *, since: float | None) -> None:
        """What arrived before `since` (epoch seconds) is dropped, until the first that did not.

        Not every endpoint honours a moment, and DynamoDB Streams opens at none.
        """
        self.origin = origin
        self.place: Place = place
        self.end: Read | None = None
        """The last answer of a closed shard, without records, once it was returned."""
        self._since = since
        self._floor: int | None = None
        """After the shard was opened: the lowest sequence number that is new."""

    def __repr__(self) -> str:
        state = "ended" if self.end else f"at {self.place}"
        return f"{self.origin.stream}/{self.origin.shard}, {state}"

    def reopen(self) -> Place:
        """Return where to open the shard anew. From there on what lies before the place is dropped.

        Inside an aggregate the whole record is read again: what is settled of it, the shard loop knows.
        """
        if isinstance(self.place, Position):
            self._floor = int(self.place.sequence_number) + (self.place.subsequence is None)
        return self.place

    def restart(self) -> None:
        """Go on from the oldest there is, if what was read last is not there any more."""
        if isinstance(self.place, Position):
            self.reopen()
            self.place = "TRIM_HORIZON"

    def moved(self, records: list[Record]) -> list[Record]:
        """Move the place to the end of these records and return what is new among them."""
        fresh = self._new(records)
        if fresh:
            self.place = Position(fresh[-1].sequence_number)
        return fresh

    def ended(self, last: Read) -> Read:
        """Take note of the end of the shard; return its last answer."""
        self.end = replace(last, records=())
        return last

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


class Delays:
    """Reports that a shard cannot be read: the first of several failures in a row, and then every few."""

    def __init__(self, shard: str, report: Report) -> None:
        self._shard = shard
        self._report = report

    def __call__(self, error: Exception, failures: int, seconds: float) -> None:
        """Hear of a failure, how many there were in a row, and the seconds until the next try."""
        if failures % EVERY == 1:
            self._report(ReadDelayed(shard=self._shard, error=type(error).__name__, delay_seconds=seconds))


def with_defects(records: list[Record], limit_bytes: int) -> list[Record]:
    """Mark the records over the limit; costs one sum where there are none."""
    if all(len(record.data) <= limit_bytes for record in records):
        return records
    return [
        record
        if len(record.data) <= limit_bytes
        else replace(record, defect=f"expected at most {limit_bytes} bytes, got {len(record.data)}")
        for record in records
    ]
