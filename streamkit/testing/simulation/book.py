"""The book: what was put, what became of it, and what the rows say of it."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamkit.core.changes import Change
from streamkit.core.positions import Since
from streamkit.testing.time import START

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streamkit.core.leasing import ShardRow
    from streamkit.core.records import Record
    from streamkit.events import RecordsTrimmed
    from streamkit.ports import Registration
    from streamkit.testing.simulation.process import Process


@dataclass(slots=True)
class Run:
    """One call of the handler for one record."""

    process: Process
    epoch: int
    handed: float
    """When the engine started the handler, for this record or a batch with it."""
    began: float
    effect: float | None = None
    ended: float | None = None
    error: BaseException | None = None
    """What it ended with, if not well."""

    @property
    def fine(self) -> bool:
        """Say whether it ended well."""
        return self.ended is not None and self.error is None

    def under_way(self, now: float) -> bool:
        """Say whether it has begun and not ended."""
        return self.ended is None or self.ended > now


@dataclass(slots=True)
class Entry:
    """One record that was put."""

    number: int
    key: str
    shard: str
    sequence: int
    arrived: float
    behaviour: str
    required: bool = True
    effects: int = 0
    letter: str | None = None
    duplicate: bool = False
    """Whether its business key was refused it: another record's."""
    failures: int = 0
    runs: list[Run] = field(default_factory=list[Run])

    @property
    def settled(self) -> bool:
        """Say whether it took effect, is a dead letter, or does not matter."""
        return self.effects > 0 or self.letter is not None or self.duplicate or not self.required

    def __str__(self) -> str:
        return f"record {self.number} (key {self.key}, {self.shard[-4:]}, {self.behaviour})"


def number_of(record: Record) -> int:
    """Return the number that a record says, or the item of a change."""
    if isinstance(record, Change):
        return int(str((record.new or {})["number"]))
    return int(record.data)


def key_of(record: Record) -> str:
    """Return the key that a record was put under, or that of a change's item."""
    return str(record.keys["id"]) if isinstance(record, Change) else record.key


class Book:
    """Every record in the order of its putting, by key and by shard. `now` tells the virtual second."""

    def __init__(
        self, now: Callable[[], float], lineage: Mapping[str, tuple[str, ...]], *, retention: float | None
    ) -> None:
        self.entries: list[Entry] = []
        self.by_key: dict[str, list[Entry]] = defaultdict(list)
        self.log: dict[str, list[Entry]] = defaultdict(list)
        """The records of each shard."""
        self.gaps: list[RecordsTrimmed] = []
        """What was reported as trimmed."""
        self.era = 0
        """How often the stream was deleted: what is put then is of another stream."""
        self._now = now
        self._lineage = lineage
        self._retention = retention
        self._sequences: dict[str, list[int]] = defaultdict(list)
        self._start: float | None = None
        self._registered = False
        self._found = 0.0
        """When the first rows were made: epoch seconds."""
        self._forgotten: set[int] = set()
        """Records that were done ahead of a frontier until the bits that said so meant nothing any more."""
        self._moved: dict[str, float] = {}
        """When the row of each shard first had a frontier: epoch seconds."""

    def put(self, record: Record, behaviour: str) -> Entry:
        """Enter a record. One of another stream is nobody's business."""
        entry = Entry(int(record.data), record.key, record.shard, record.sequence, record.arrived, behaviour)
        self.entries.append(entry)
        if self.era:
            entry.required, entry.behaviour = False, "strange"
            return entry
        entry.required = not self._registered or self._start is None or entry.arrived >= self._start
        self.by_key[record.key].append(entry)
        self.log[record.shard].append(entry)
        self._sequences[record.shard].append(entry.sequence)
        return entry

    def of(self, record: Record) -> Entry:
        """Return the entry of a record."""
        return self.entries[number_of(record)]

    def registered(self, found: Registration) -> None:
        """The consumer's first snapshot: what arrived before its start does not matter."""
        if self._registered:
            return
        self._registered = True
        if isinstance(found.start, Since):
            self._start = found.start.epoch
            for entry in self.entries:
                entry.required = entry.required and entry.arrived >= self._start

    def snapshot(self) -> None:
        """Rows of shards were made by a listing."""
        self._found = self._found or START.timestamp() + self._now()

    def moved(self, shard: str) -> None:
        """The shard's row has a frontier: from now on there is something to tell a gap by."""
        self._moved.setdefault(shard, START.timestamp() + self._now())

    # What the service still has

    def trimmed(self, entry: Entry) -> bool:
        """Say whether the service has dropped the record."""
        return self._retention is not None and START.timestamp() + self._now() - entry.arrived >= self._retention

    def accounted(self, entry: Entry) -> bool:
        """Say whether a checkpoint may pass the record."""
        return entry.settled or self.trimmed(entry)

    def unsettled(self) -> list[Entry]:
        """Return the required records that are not settled and not trimmed."""
        return [entry for entry in self.entries if not self.accounted(entry)]

    def unreported(self) -> list[Entry]:
        """Return the required records that are neither settled nor reported as trimmed."""
        return [entry for entry in self.entries if not entry.settled and not self._reported(entry)]

    def _reported(self, entry: Entry) -> bool:
        if entry.arrived < self._found and entry.arrived + (self._retention or 0.0) <= self._moved.get(
            entry.shard, 1e12
        ):
            return True  # older than the first snapshot, gone before the first frontier: nobody can know (seed 438)
        return any(self._names(gap, entry) for gap in self.gaps)

    def _names(self, gap: RecordsTrimmed, entry: Entry) -> bool:
        """Say whether a report is of a record: by its range, or as one of what came before, of shards never read."""
        if gap.shard != entry.shard:
            return gap.after is None and entry.shard not in self._moved and self._before(gap.shard, entry.shard)
        return int(gap.after or 0) < entry.sequence and (gap.until is None or entry.sequence < int(gap.until))

    def _before(self, shard: str, other: str) -> bool:
        parents = self._lineage.get(shard, ())
        return other in parents or any(self._before(parent, other) for parent in parents)

    # What a row says

    def at(self, shard: str, sequence_number: str) -> int:
        """Return the place of a sequence number among the records of its shard."""
        return bisect_left(self._sequences[shard], int(sequence_number))

    def passed(self, row: ShardRow) -> int:
        """Return how many records of the shard the frontier has passed."""
        frontier = row.progress.frontier
        return 0 if frontier is None else self.at(row.id, frontier.sequence_number) + 1

    def beyond(self, row: ShardRow, entry: Entry) -> int:
        """Return how many records that matter lie between the frontier and this one, but for those never read."""
        between = self.log[row.id][self.passed(row) : self.at(row.id, str(entry.sequence))]
        return sum(each.required and bool(each.runs or not self.trimmed(each)) for each in between)

    def done(self, row: ShardRow) -> list[Entry]:
        """Return the entries that the row's done bits name; none where the bits mean nothing any more (rule 17).

        That is so once the first record is trimmed that they count from. What was trimmed later in their range was
        perhaps never read, and is not counted.
        """
        return [] if self._bits_lost(row) else self._named(row)

    def _named(self, row: ShardRow) -> list[Entry]:
        progress = row.progress
        if not progress.done or progress.first is None:
            return []
        start = self.at(row.id, progress.first.sequence_number)
        bits = int.from_bytes(progress.done, "little")
        log = self.log[row.id]
        return [log[start + i] for i in range(bits.bit_length()) if bits >> i & 1]

    def covers(self, row: ShardRow, entry: Entry) -> bool:
        """Say whether whoever begins at this row knows that the record is settled."""
        log, passed = self.log[row.id], self.passed(row)
        if passed and entry.sequence <= log[passed - 1].sequence:
            return True
        return entry in self.done(row) and not self._alarmed(row, entry)

    def forgotten(self, row: ShardRow, entry: Entry) -> bool:
        """Say whether the record was done ahead of the frontier, and nobody can know it any more (rule 17).

        Which of its records lost bits named, the row does not tell where what was trimmed later was never read either.
        """
        if entry.number in self._forgotten:
            return True
        first = row.progress.first
        ahead = first is not None and bool(row.progress.done) and entry.sequence > int(first.sequence_number)
        return ahead and (self._bits_lost(row) or self._alarmed(row, entry))

    def _alarmed(self, row: ShardRow, entry: Entry) -> bool:
        """Say whether a gap was reported between the row's frontier and the record: bits beyond it are not believed.

        It may be a false alarm, by a clock that runs fast (seed 2010328).
        """
        frontier = row.progress.frontier
        edge = 0 if frontier is None else int(frontier.sequence_number)
        return any(gap.shard == row.id and edge <= int(gap.after or 0) < entry.sequence for gap in self.gaps)

    def dropped(self, before: ShardRow, row: ShardRow) -> list[Entry]:
        """Return the records that the row named as done before, and does not cover any more (rule 17)."""
        passed = self.passed(row)
        edge = self.log[row.id][passed - 1].sequence if passed else -1
        kept = {entry.number for entry in self._named(row)} if before.progress.done else set[int]()
        gone = [each for each in self._named(before) if each.sequence > edge and each.number not in kept]
        if not self._bits_lost(before):
            return gone
        self._forgotten.update(each.number for each in gone)
        return []

    def _bits_lost(self, row: ShardRow) -> bool:
        first = row.progress.first
        return first is not None and self.trimmed(self.log[row.id][self.at(row.id, first.sequence_number)])
