"""The audit of the rows: together they lead to every record of the stream, or somebody hears of it (rule 11).

rows of unfinished shards cover every hash key? --no--> list now --> still not, a lease later?
                                                                       |
                                            hole.noticed, and rows for the shards of the listing, parents first

A row that was seen before is made again as it was seen: records that its last checkpoint had not passed by then are
handled again, none is skipped. One that nobody remembers is read from the beginning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from streamkit.core.leasing import ShardRow, heir
from streamkit.core.lineage import ancestors, eldest_first, holes, overlap
from streamkit.events import HoleNoticed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from streamkit.core.lineage import HashRange, Shard
    from streamkit.core.positions import Start
    from streamkit.ports import Clock, Report

_APART_SECONDS = 5.0
"""Two listings that find the same hole lie apart by a lease, or by this: a reshard in flight is no hole, and whoever
runs a shard without a row has read the rows meanwhile, and has given it up."""


class Audit:
    """Knows the rows as they were seen last; says which shards need rows, and which hash keys nobody reads."""

    def __init__(
        self, start: Start, *, lease: float, worker: str, clock: Clock, report: Report, whole: bool = True
    ) -> None:
        """`start` is the registered one; `lease` in seconds. `whole`: whether the rows are to lead to every record."""
        self._whole = whole
        self.holes: tuple[HashRange, ...] = ()
        """Hash keys that no unfinished row has."""
        self._start: Start = start
        self._apart = max(_APART_SECONDS, lease)
        self._worker = worker
        self._clock = clock
        self._report = report
        self._rows: Sequence[ShardRow] = ()
        self._seen: dict[str, ShardRow] = {}
        """The latest sight of each row; bounded by the rows and the latest listing."""
        self._due: dict[HashRange, float] = {}
        """When the next listing is to look at a hole that one has met already."""

    def note(self, rows: Sequence[ShardRow]) -> None:
        """Take note of the rows; nothing is computed while they are the same."""
        if rows is self._rows:
            return
        self._rows = rows
        self._seen.update((row.id, row) for row in rows)
        self.holes = holes(row.shard for row in rows if row.state != "ended") if rows else ()
        if not self._whole:
            self.holes = ()
        self._due = {hole: due for hole, due in self._due.items() if hole in self.holes}

    def wants_listing(self) -> bool:
        """Say whether a hole has not been held against a listing yet, or not for long enough."""
        now = self._clock.monotonic()
        return any(self._due.get(hole, now) <= now for hole in self.holes)

    def rows_to_make(self, listing: Collection[Shard]) -> Sequence[ShardRow]:
        """Return rows for the shards of a complete listing that have none, parents first (rules 11, 12).

        What would fill a hole waits for the second listing that finds it; then the hole is reported.
        """
        now, known = self._clock.monotonic(), {row.id: row for row in self._rows}
        confirmed = {hole for hole in self.holes if self._due.get(hole, now + 1.0) <= now}
        waiting = [hole for hole in self.holes if hole not in confirmed]
        self._due.update((hole, now + self._apart) for hole in self.holes if hole in confirmed or hole not in self._due)
        lacking = eldest_first(
            shard
            for shard in listing
            if shard.id not in known and not any(overlap(shard.hash_range, hole) for hole in waiting)
        )
        made = self._made(lacking, listing)
        for hole in sorted(confirmed):
            self._tell(hole, made)
        self._seen = {
            id_: row for id_, row in self._seen.items() if id_ in known.keys() | {each.id for each in listing}
        }
        return made

    def _made(self, lacking: Iterable[Shard], listing: Collection[Shard]) -> Sequence[ShardRow]:
        """Return the first rows of a snapshot; in a later one, rows as they were seen, or heirs."""
        if not self._rows:
            found = self._clock.now().timestamp() if self._whole else None
            return [ShardRow(shard, self._start, caught_up_at=found) for shard in lacking]
        known = {row.id: row for row in self._rows}
        taken = [row.shard for row in self._rows if row.epoch]
        behind = ancestors(taken, [*listing, *(row.shard for row in self._rows)])
        return [known.setdefault(shard.id, self._again(shard, known, finished=shard.id in behind)) for shard in lacking]

    def _again(self, shard: Shard, known: dict[str, ShardRow], *, finished: bool) -> ShardRow:
        """Return the row of a shard that has none; `finished`: a child of it was taken once, so it had ended."""
        if (seen := self._seen.get(shard.id)) is not None:
            return replace(seen, owner=None, epoch=seen.epoch + 1, revision=seen.revision + 1, token="")
        if finished:
            return ShardRow(shard, self._start, state="ended")
        parents = [known[parent] for parent in shard.parents if parent in known]
        if parents:
            return heir(shard, parents)
        before = [row for row in self._rows if row.state == "ended" and overlap(row.shard.hash_range, shard.hash_range)]
        if before:
            return heir(shard, before)
        return ShardRow(shard, self._start, caught_up_at=0.0)  # nobody knows what has been read, or trimmed (rule 14)

    def _tell(self, hole: HashRange, made: Iterable[ShardRow]) -> None:
        filled = tuple(row.id for row in made if overlap(row.shard.hash_range, hole))
        self._report(HoleNoticed(worker=self._worker, first=str(hole[0]), last=str(hole[1]), shards=filled))
