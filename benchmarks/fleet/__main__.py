"""Measure what happens to a fleet of worker processes on a working day.

    make fleet                                                     writes docs/fleet.md
    python -m benchmarks.fleet --only crash-3s --runs 20 --seed 7  prints the same page for some of it

Exit status 1 if a promise was broken; what the processes left behind is kept then, and its place told.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

from benchmarks.fleet.catalogue import CATALOGUE, Run
from benchmarks.fleet.report import page
from streamkit.testing.endpoint import endpoint_process
from tests.e2e.scenarios import Outcome
from tests.e2e.stage import Stage

PAGE = Path(__file__).resolve().parents[2] / "docs" / "fleet.md"


def main() -> int:
    """Play, and tell."""
    options = _options()
    began, before = time.monotonic(), os.getloadavg()[0]
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    with endpoint_process() as exports:
        os.environ.update(exports)
        results = {name: _runs(name, options.runs, seed=options.seed, variables=exports) for name in options.only}
    load = (before, os.getloadavg()[0])
    text = page(results, seed=options.seed, load=load, minutes=(time.monotonic() - began) / 60)
    if options.only == list(CATALOGUE):
        PAGE.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return int(any(run.broken for runs in results.values() for run in runs))


def _runs(name: str, runs: int | None, *, seed: int, variables: Mapping[str, str]) -> Sequence[Run]:
    return [_run(name, number, seed=seed, variables=variables) for number in range(runs or CATALOGUE[name].runs)]


def _run(name: str, number: int, *, seed: int, variables: Mapping[str, str]) -> Run:
    """Play a scenario once, on a stage of its own, and say at once what came of it."""
    folder = Path(tempfile.mkdtemp(prefix=f"fleet-{name}-"))
    try:
        run = _played(name, number, folder=folder, seed=seed, variables=variables)
    except AssertionError as failure:
        run = Run(None, [str(failure)])
    sys.stderr.write(f"{name} {number}: {_told(run.outcome)}\n")
    if run.broken:
        sys.stderr.write("".join(f"  {each}\n" for each in [f"see {folder}", *run.broken]))
    else:
        shutil.rmtree(folder)
    return run


def _played(name: str, number: int, *, folder: Path, seed: int, variables: Mapping[str, str]) -> Run:
    scenario, chance = CATALOGUE[name], Random(f"{seed}:{name}:{number}")
    with Stage(f"{name}-{number}", folder=folder, variables=variables, shards=scenario.shards) as stage:
        outcome = scenario.play(stage, chance)
    return Run(outcome, scenario.broken(outcome))


def _told(outcome: Outcome | None) -> str:
    if outcome is None:
        return "did not come to its end"
    took = "" if outcome.handover_seconds is None else f"successor after {outcome.handover_seconds:.2f} s, "
    return f"{took}stall {outcome.stall_seconds:.2f} s, {outcome.repeats} repeats, {outcome.put} records"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CATALOGUE, default=list(CATALOGUE), metavar="SCENARIO")
    parser.add_argument("--runs", type=int, help="how often to play each")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
