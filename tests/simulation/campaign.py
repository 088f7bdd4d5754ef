"""Many seeds in a row: what they showed, how fast, and what was never seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice

from streamkit.testing.simulation import simulate

_AHEAD = 2
"""Seeds handed to each process: one under way, and the next, so that none waits for another's slow seed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one seed showed, without its history."""

    seed: int
    violation: str | None
    digest: str
    seen: Counter[str]
    virtual_seconds: float
    drained_after: float


@dataclass(slots=True)
class Campaign:
    """What many seeds showed."""

    seeds: list[int] = field(default_factory=list[int])
    virtual_seconds: float = 0.0
    slowest_drain: float = 0.0
    seen: Counter[str] = field(default_factory=Counter)
    shown: Counter[str] = field(default_factory=Counter)
    """Seeds in which each was seen."""
    failures: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count a seed."""
        self.seeds.append(outcome.seed)
        self.virtual_seconds += outcome.virtual_seconds
        self.slowest_drain = max(self.slowest_drain, outcome.drained_after)
        self.seen += outcome.seen
        self.shown.update(outcome.seen.keys())
        if outcome.violation is not None:
            self.failures.append(outcome)


def look(seed: int) -> Outcome:
    """Run one seed."""
    verdict = simulate(seed)
    return Outcome(
        seed=seed,
        violation=verdict.violation,
        digest=verdict.digest,
        seen=verdict.seen,
        virtual_seconds=verdict.virtual_seconds,
        drained_after=verdict.drained_after,
    )


def looks(seeds: Iterable[int], *, jobs: int) -> Iterator[Outcome]:
    """Run seeds in as many processes, all of them busy to the end; in the order in which they end."""
    if jobs == 1:
        yield from map(look, seeds)
        return
    pending = iter(seeds)
    with ProcessPoolExecutor(jobs) as pool:
        running = {pool.submit(look, seed) for seed in islice(pending, _AHEAD * jobs)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            running |= {pool.submit(look, seed) for seed in islice(pending, len(done))}
            yield from (each.result() for each in done)
