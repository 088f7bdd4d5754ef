"""Which repeats are within the promise of a plain handler, and which are not (docs/guarantees.md).

failed, or its end unknown .......... always                       -- never called fine
under one lease ..................... never
what a checkpoint covers ............ never
more than the window of the shard ... never
after the grace of a SIGTERM ran out  yes                          -- it ended too late to be checkpointed
what was done ahead of a trimmed gap  yes                          -- the bits count from a record that is gone
after a hand-over ................... never
after a crash, or a sleep ........... what one interval holds      -- more, while the table refused to the end
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streamkit.core.leasing import ShardRow
    from streamkit.testing.simulation.book import Book, Entry, Run
    from streamkit.testing.simulation.history import History
    from streamkit.testing.simulation.mix import Mix
    from streamkit.testing.simulation.process import Process

_PATIENCE = 1.0
_BACK_OFF = 2.0
"""Seconds a client waits for an answer, and the longest back-off of a write: not the product's own figures."""


class Repeats:
    """Judges every start of a handler for a record that took effect before."""

    def __init__(self, mix: Mix, book: Book, history: History, *, violated: Callable[[str, str], None]) -> None:
        self.count = 0
        self.released: set[tuple[str, int]] = set()
        """Shards that were given back, under these epochs."""
        self._lost: dict[tuple[str, str, int], float] = {}
        self._tries: dict[tuple[str, str], list[float]] = defaultdict(list)
        """When each process set out to write each shard's row."""
        self._mix = mix
        self._book = book
        self._saw = history.saw
        self._violated = violated
        self._thread = 2 * mix.timeout if mix.kind == "thread" else 0.0
        """How long an attempt may go on that began before its process was stopped."""
        rates = mix.rates
        self._prompt = not (rates.throttled or rates.lost or rates.late or rates.slow or rates.table_outages)
        """Whether the table takes every checkpoint when it comes."""
        self._slack = mix.interval + 10 * mix.latency + 0.5
        self._again = self._slack + _PATIENCE + _BACK_OFF + (3 * mix.lease if rates.slow else 0.0)
        """Within which a write that was not taken is tried again: its ways, the wait for an answer, the back-off."""

    def lost(self, process: Process, shard: str, epoch: int) -> None:
        """A process knows that it lost the shard: it writes nothing more under this epoch."""
        self._lost.setdefault((process.name, shard, epoch), process.loop.time())

    def tried(self, process: Process, shard: str) -> None:
        """A process sets out to write the shard's row."""
        self._tries[process.name, shard].append(process.loop.time())

    def judge(self, entry: Entry, run: Run, row: ShardRow) -> None:
        """A handler starts again; `row` is its shard's as it was when the engine started it."""
        self.count += 1
        self._saw("repeat")
        fine = [each for each in entry.runs if each.fine and (each.ended or 0.0) <= run.handed]
        if not fine:
            return
        last = fine[-1]
        if last.epoch == run.epoch and last.process is run.process:
            self._violated("no repeat under one lease", f"{entry} twice by {run.process.name}, epoch {run.epoch}")
        elif self._book.covers(row, entry):
            self._violated("no repeat of what a checkpoint covers", f"{entry} again by {run.process.name}: {row!r}")
        elif (ahead := self._book.beyond(row, entry)) >= self._most:
            self._violated("a crash repeats no more than the window", f"{entry}, {ahead} beyond the frontier: {row!r}")
        elif (last.ended or 0.0) > last.process.cut_at:
            self._saw("repeat after the grace")
        elif self._book.forgotten(row, entry):
            self._saw("repeat over a trimmed gap")
        elif (entry.shard, last.epoch) in self.released:
            self._violated("no repeat after a hand-over", f"{entry} by {last.process.name}, then {run.process.name}")
        else:
            self._within_interval(entry, last)

    @property
    def _most(self) -> int:
        """Records a shard may have settled or under way beyond its last checkpoint (rule 19)."""
        return self._mix.checkpoint_records + self._mix.window

    def _within_interval(self, entry: Entry, last: Run) -> None:
        ends = (last.process.gone_at, last.process.over_at)
        causes = [*self._stops(last), *(end for end in ends if end is not None and end < float("inf"))]
        lost = self._lost.get((last.process.name, entry.shard, last.epoch))
        if not causes and self._prompt:
            self._violated("no repeat without a cause", f"{entry}, handled by {last.process.name}")
        known = causes if lost is None else [*causes, lost]
        end = min(known) if known else 0.0
        late = end - (last.ended or 0.0)
        if late > self._slack and (self._prompt or not self._kept_trying(entry.shard, last.process, end)):
            self._violated(
                "a crash repeats at most one interval",
                f"{entry}, handled {late:.3f} s before the end of {last.process.name}",
            )

    def _stops(self, last: Run) -> Iterator[float]:
        """Give the moments from which on stops kept a process from writing what an attempt did.

        From the stop itself, if the attempt was under way; otherwise from when the lease may have run out that could
        not be renewed during the stop: no fence outlives that, whatever the drift.
        """
        began = last.began - self._thread
        for at, until in last.process.stops:
            if until >= began:
                yield at
            elif at + self._mix.lease >= began:
                yield at + self._mix.lease

    def _kept_trying(self, shard: str, process: Process, end: float) -> bool:
        """Say whether the process was about to write the row when it ended: the table did not let it."""
        tries = self._tries[process.name, shard]
        at = bisect_right(tries, end)
        return at > 0 and end - tries[at - 1] <= self._again
