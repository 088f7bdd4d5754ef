"""Which dead letters are within the promise (rules 19, 20, 21), and which are not.

poison ................ it said so
process died .......... nobody survives it; or three owners died when the row told of it alone, whoever did it
parked ................ an earlier letter of its key; its own, where the bit that said so was lost to a trimmed gap
handled at most once .. any failure; or marked by an earlier owner, with no outcome known
attempts used up ...... as many failures as configured, under one lease, and no outage

A failure is an error of the handler's, or a time-out that took as long. None is: an attempt that was cut off by a
drain, the fence or a lost lease; nor `Unavailable`, unless nothing has succeeded for `outage.limit`. Whether the record
would have been fine is not asked: who fails so often is condemned, whatever hindered its handler.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from streamkit.signals import Poison, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streamkit.core.leasing import ShardRow
    from streamkit.core.letters import Letter
    from streamkit.testing.simulation.book import Book, Entry, Run
    from streamkit.testing.simulation.mix import Mix
    from streamkit.testing.simulation.process import Process

OUTAGE_SECONDS = 20.0
"""Of everything failing, after which attempts count again: `outage.limit` of the simulated consumer."""
_SEVERAL = 2
"""Others that failed for the first time since the last success: with the record itself, an outage (rule 20)."""
_DEATHS = 3
"""Upon one record alone: enough to condemn it where there is no ward, whoever did it (docs/quarantine.md)."""

Ends = list[tuple["Entry", "Run"]]


class Letters:
    """Judges every letter that becomes durable."""

    def __init__(self, mix: Mix, book: Book, *, violated: Callable[[str, str], None]) -> None:
        self._mix = mix
        self._book = book
        self._violated = violated
        self._ends: dict[tuple[str, str, int], Ends] = defaultdict(list)
        """The ends of attempts, in their order, by process, shard and epoch."""
        self._alone: Counter[tuple[str, tuple[int, float]]] = Counter()
        """Deaths of owners that fell upon one record alone, by its shard and place."""
        self._dead: set[str] = set()
        """Owners whose death has fallen upon a record: it cannot fall upon those of several shards."""

    def ended(self, entry: Entry, run: Run) -> None:
        """An attempt ended."""
        self._ends[run.process.name, entry.shard, run.epoch].append((entry, run))

    def took(self, before: ShardRow) -> None:
        """A shard was taken: its owner died, and of one record alone if the row told of that only (rule 22)."""
        tried, owner = before.quarantine, before.owner
        if owner is None or owner in self._dead or tried is None or tried.tried != 1 or tried.epoch != before.epoch:
            return
        self._dead.add(owner)
        if tried.step is not None:
            self._alone[before.id, tried.step.place] += 1

    def judge(self, entry: Entry, letter: Letter, process: Process, *, again: bool) -> None:
        """A letter is durable; `again` if there was one, and nobody can know that any more (rule 17)."""
        condition = letter.verdict.condition
        if condition == "Poison":
            fit = entry.behaviour == "poison"
        elif condition == "ProcessDied":
            at = entry.shard, letter.record.position.place
            fit = entry.behaviour == "killer" or self._alone[at] >= _DEATHS
        elif condition == "Parked":
            fit = again or any(each.letter for each in self._book.by_key[entry.key] if each.number < entry.number)
        elif self._mix.kind == "at_most_once":
            fit = condition == "Interrupted" or any(run.process is process and not run.fine for run in entry.runs)
        else:
            fit = any(self._is_used_up(entry, ends) for ends in self._leases(entry, process))
        if not fit:
            self._violated("only what cannot be handled is dead-lettered", f"{entry}: {condition}")

    def _leases(self, entry: Entry, process: Process) -> Iterator[Ends]:
        epochs = {run.epoch for run in entry.runs if run.process is process}
        return (self._ends[process.name, entry.shard, epoch] for epoch in epochs)

    def _is_used_up(self, entry: Entry, ends: Ends) -> bool:
        """Say whether the record's attempts under a lease were used up, and no outage was to blame."""
        places = [at for at, (each, _) in enumerate(ends) if each is entry and self._counts(ends, at)]
        if len(places) < self._mix.attempts:
            return False
        return self._mix.kind == "batch" or not self._in_outage(ends, places)

    def _counts(self, ends: Ends, at: int) -> bool:
        """Say whether the attempt that ended at this place failed, in a way that counts."""
        _, run = ends[at]
        match run.error:
            case None | Poison():
                return False
            case CancelledError():
                return self._lasted(run.ended, run.handed) >= self._mix.timeout
            case Unavailable():
                return self._barren(ends, at) >= OUTAGE_SECONDS
            case _:
                return True

    def _lasted(self, until: float | None, since: float) -> float:
        """Return the seconds by the fastest clock a process may have."""
        return ((until or 0.0) - since) * (1.0 + self._mix.drift) + 1e-6

    def _barren(self, ends: Ends, at: int) -> float:
        """Return for how many seconds before this end nothing had succeeded."""
        last = _last_success(ends, at)
        since = ends[0][1].began if last < 0 else ends[last][1].ended
        return self._lasted(ends[at][1].ended, since or 0.0)

    def _in_outage(self, ends: Ends, places: list[int]) -> bool:
        """Say whether all has failed since its first attempt, for less than the limit, and others did so too."""
        last = places[-1]
        success = _last_success(ends, last)
        if places[0] < success or self._barren(ends, last) >= OUTAGE_SECONDS:
            return False
        if any(run.fine for _, run in ends[last:]):
            return False
        first = dict[int, int]()
        for at in range(last, -1, -1):
            if self._counts(ends, at):
                first[ends[at][0].number] = at
        mine = ends[last][0].number
        return sum(at > success for number, at in first.items() if number != mine) >= _SEVERAL


def _last_success(ends: Ends, before: int) -> int:
    """Return the place of the last end before this one that was well; -1 if there is none."""
    return max((at for at in range(before) if ends[at][1].fine), default=-1)
