"""Run seeds of the simulation, or look at one.

    python -m tests.simulation --seeds 0-9999              a campaign, on all cores
    python -m tests.simulation --seeds 0-9999 --ledger F   ... in several runs: F adds up the seeds of one commit
    python -m tests.simulation --seed 1234                 one seed again, with the end of its history
    python -m tests.simulation --seed 1234 --trace 100000  ... with all of it
    python -m tests.simulation --mutants                   break the protocol on purpose: how many seeds until it shows
    python -m tests.simulation --mutants the living --markdown     ... and note it in docs/simulation.md

Exit status 1 if a promise was broken, a mutant survived, or a fault or recovery was never seen in so many seeds.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from time import perf_counter  # noqa: TID251 - the rate is in real time

from streamkit.testing.simulation import draw, simulate
from tests.simulation.campaign import Campaign, looks
from tests.simulation.hunt import PAGE, hunt_all
from tests.simulation.ledger import Ledger, commit
from tests.simulation.sometimes import never_seen

_EVERY_SECONDS = 30.0


def main() -> int:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="Simulate fleets.")
    parser.add_argument("--seeds", default="0-999", metavar="A-B", help="first and last seed, or how many from 0")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no seed after so long")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes; as many as cores")
    parser.add_argument("--ledger", type=Path, metavar="FILE", help="skip what this commit has done; add up the rest")
    parser.add_argument("--seed", type=int, help="run this one and show its history")
    parser.add_argument("--trace", type=int, default=60, metavar="N", help="latest happenings shown")
    parser.add_argument("--mutants", nargs="*", metavar="WORD", help="hunt mutants whose names have these words")
    parser.add_argument("--markdown", action="store_true", help="note what was hunted in docs/simulation.md")
    options = parser.parse_args()
    if options.mutants is not None:
        return hunt_all(options.mutants, jobs=options.jobs, page=PAGE if options.markdown else None)
    if options.seed is not None:
        return show(options.seed, options.trace)
    first, _, last = options.seeds.rpartition("-")
    seeds = range(int(first), int(last) + 1) if first else range(int(last))
    ledger = Ledger.open(options.ledger, commit()) if options.ledger else None
    return campaign(seeds, jobs=options.jobs, minutes=options.minutes, ledger=ledger)


def show(seed: int, latest: int) -> int:
    """Run one seed and print its history."""
    verdict = simulate(seed, keep=latest)
    print(draw(seed))
    for happening in verdict.history.latest:
        print(happening)
    print(f"seed {seed}: {verdict.violation or 'every promise was kept'}; digest {verdict.digest}")
    return verdict.violation is not None


def campaign(seeds: range, *, jobs: int, minutes: float, ledger: Ledger | None = None) -> int:
    """Run seeds; print how it goes and what was seen, by this run and by all of the ledger."""
    if ledger:
        print(ledger, flush=True)
    found, began = Campaign(), perf_counter()
    told = began
    missing = [seed for seed in seeds if not ledger or seed not in ledger.seeds]
    try:
        for outcome in looks(until(missing, began + 60 * minutes), jobs=jobs):
            found.add(outcome)
            if ledger:
                ledger.add(outcome)
            if outcome.violation is not None:
                print(f"seed {outcome.seed}: {outcome.violation}\n    python -m tests.simulation --seed {outcome.seed}")
            if (now := perf_counter()) - told > _EVERY_SECONDS:
                told = now
                if ledger:
                    ledger.save()
                print(f"{len(found.seeds)} of {len(missing)} seeds, {rate(found, now - began)}", flush=True)
    finally:
        if ledger:
            ledger.save()
    status = summary(found, perf_counter() - began)
    return conclusion(ledger) if ledger else status


def until(seeds: Iterable[int], end: float) -> Iterator[int]:
    """Return the seeds one by one, none after a time of `perf_counter`."""
    for seed in seeds:
        if perf_counter() > end:
            return
        yield seed


def rate(found: Campaign, seconds: float) -> str:
    """Return how fast it went, in real time."""
    return f"{len(found.seeds) / seconds * 60:.0f} a minute"


def summary(found: Campaign, seconds: float) -> int:
    """Print what a campaign showed; return its exit status."""
    for name, count in sorted(found.seen.items()):
        print(f"{count:>10}  {found.shown[name] / len(found.seeds):>4.0%} of seeds  {name}")
    print(
        f"{len(found.seeds)} seeds in {seconds:.0f} s, {rate(found, seconds)}; "
        f"{found.virtual_seconds / 3600:.1f} virtual hours; slowest drain {found.slowest_drain:.0f} virtual seconds; "
        f"{len(found.failures)} broken promises"
    )
    return verdict(len(found.failures), never_seen(found.seen, found.seeds))


def conclusion(ledger: Ledger) -> int:
    """Print what all runs of this commit showed together; return their exit status."""
    print(ledger)
    if commit() != ledger.commit:
        print(f"the checkout has changed since: these seeds ran what was loaded at the start, {ledger.commit[:12]}")
    return verdict(len(ledger.violations), never_seen(ledger.seen, ledger.seeds))


def verdict(broken: int, missed: list[str]) -> int:
    """Return the exit status; say what so many seeds should have shown."""
    if missed:
        print(f"never seen: {', '.join(missed)}")
    return bool(broken or missed)


if __name__ == "__main__":
    sys.exit(main())
