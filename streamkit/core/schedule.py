"""What runs next: the face of the two ways to take a shard's records.

`Lanes` runs single records, concurrently over keys, in order within a key. `Segments` runs batches one at a time and
halves those that fail, left to right; a half that succeeded is never run again.

A schedule knows order only. Whether something may run at all is decided in `settlement`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

import msgspec

from streamkit.core.records import Record

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

FOREVER = float("inf")


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """One call of the handler: the records it is for, with their ordinals in the window."""

    ordinals: tuple[int, ...]
    records: tuple[Record, ...]


class Schedule(Protocol):
    """Order of the unsettled records of one shard. Times are monotonic seconds."""

    def add(self, ordinal: int, records: Sequence[Record], now: float) -> None:
        """Append records of consecutive ordinals, the first of which is named."""
        ...

    def take(self, now: float) -> Attempt | None:
        """Return what may run now, which then is under way until `retire` or `put_back`; None if nothing may."""
        ...

    def probe(self, now: float) -> Attempt | None:
        """Return one attempt to try the world with: a fresh one, else the one not tried for longest."""
        ...

    def probeable(self) -> bool:
        """Say whether `probe` has anything to try."""
        ...

    def retire(self, attempt: Attempt) -> None:
        """All records of the attempt are settled."""
        ...

    def put_back(self, attempt: Attempt, groups: Sequence[Sequence[int]]) -> None:
        """The attempt is over; these groups of its ordinals are to be run again, as such."""
        ...

    def hold(self, ordinal: int, until: float) -> None:
        """Keep one record back, and with it the later ones of its key. FOREVER waits for another `hold`."""
        ...

    def defer(self, ordinal: int, record: Record, now: float, *, until: float) -> None:
        """Append a record and let others go before it until then, if nothing of its key stands before it."""
        ...

    def drop(self, ordinal: int) -> None:
        """The held record is settled without another attempt."""
        ...

    def others(self, failing: Container[int]) -> bool:
        """Say whether a record that is not among `failing` is under way or could be taken."""
        ...

    def wake_at(self) -> float:
        """Return when something held, or lingering, will be due; FOREVER if nothing is."""
        ...


class Fresh:
    """Records that came in and were never tried, in stream order: kept as they came, at no price a record."""

    def __init__(self) -> None:
        self._runs: deque[tuple[int, Sequence[Record]]] = deque()
        self._at = 0
        """How many records of the first run are gone."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Record]:
        skipped = self._at
        for _, records in self._runs:
            yield from records[skipped:]
            skipped = 0

    def append(self, ordinal: int, records: Sequence[Record]) -> None:
        """Append records of consecutive ordinals."""
        if records:
            self._runs.append((ordinal, records))
            self._count += len(records)

    def first(self, most: int) -> tuple[int, Sequence[Record]]:
        """Return the first records of consecutive ordinals, at most so many, and the ordinal of the first."""
        ordinal, records = self._runs[0]
        return ordinal + self._at, records[self._at : self._at + most]

    def skip(self, count: int) -> None:
        """Drop so many of what `first` returned."""
        self._at += count
        self._count -= count
        if self._at == len(self._runs[0][1]):
            self._runs.popleft()
            self._at = 0

    def cut(self, most: int) -> Attempt:
        """Return the first records, at most so many, and drop them."""
        ordinals: list[int] = []
        cut: list[Record] = []
        while self._count and len(cut) < most:
            ordinal, records = self.first(most - len(cut))
            ordinals += range(ordinal, ordinal + len(records))
            cut += records
            self.skip(len(records))
        return Attempt(tuple(ordinals), tuple(cut))
