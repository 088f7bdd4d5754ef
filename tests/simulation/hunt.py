# ruff: noqa: T201 - it talks to a terminal
"""How many seeds it takes until the simulation notices a mutant; and the table of `docs/simulation.md`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.mutants.__main__ import copy, mutate
from tests.simulation.mutants import MUTANTS, Prey

SEEDS = 1_500
_RARE = 20
"""So many times as many are looked through for those whose mix can show a mutant."""
LIMIT_SECONDS = 900
PAGE = Path(__file__).resolve().parents[2] / "docs" / "simulation.md"
_HUNT = """
from itertools import islice
from streamkit.testing.simulation import draw, simulate
def may_show_it(seed):
    mix = draw(seed)
    rates = mix.rates
    return {matters}
for seed in islice(filter(may_show_it, range({first}, {first} + {rare} * {seeds})), {seeds}):
    violation = simulate(seed).violation
    if violation:
        print(f"{{seed - {first} + 1}}|{{violation.partition(':')[0]}}")
        break
"""
_TABLE = re.compile(r"(?<=\|---\|---\|---:\|---\|\n)(?:\|.*\n)+")


class Catch(NamedTuple):
    """The first seed at which a mutant was noticed, counted from 1, and the promise that it broke."""

    seeds: str
    promise: str


NONE = Catch("—", "not noticed")


def hunt(prey: Prey, *, seeds: int = SEEDS) -> Catch | None:
    """Return when a mutant was noticed; None if it was not. Seeds whose mix does not matter to it are left out."""
    with tempfile.TemporaryDirectory(prefix="streamkit-mutant-") as folder:
        root = Path(folder)
        copy(root)
        mutate(root / "streamkit", prey.mutant)
        here = os.environ | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
        script = _HUNT.format(first=prey.first, seeds=seeds, rare=_RARE, matters=prey.matters)
        command = [sys.executable, "-c", script]
        try:
            done = subprocess.run(
                command, cwd=root, env=here, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return None
    if done.returncode:
        raise RuntimeError(f"{prey.name}: {done.stderr[-800:]}")
    number, _, promise = done.stdout.strip().partition("|")
    return Catch(f"≤ {number}" if prey.chosen else number, promise) if number else None


def hunt_all(words: Sequence[str], *, jobs: int, page: Path | None = None) -> int:
    """Hunt all mutants, or those with these words in their names; return the exit status. Note them on the page."""
    chosen = [each for each in MUTANTS if all(word in each.name for word in words)]
    found: dict[str, Catch] = {}
    with ThreadPoolExecutor(jobs) as pool:
        for prey, caught in zip(chosen, pool.map(hunt, chosen), strict=True):
            found[prey.name] = caught or NONE
            seeds, promise = caught or Catch("SURVIVES", "")
            print(f"{seeds:>8}  rule {prey.mutant.rule:>3}  {prey.name:<60} {promise}", flush=True)
            if page is not None:
                page.write_text(noted(page.read_text(), found))
    caught_all = NONE not in found.values()
    print(f"{sum(each is not NONE for each in found.values())} of {len(found)} mutants caught")
    return 0 if caught_all else 1


def noted(text: str, found: Mapping[str, Catch]) -> str:
    """Return the page with what was found in its table: a row for each mutant there is, others as they were."""
    known = {name: Catch(seeds, promise) for _, name, seeds, promise in rows(text)}
    known |= found
    lines = (_row(prey, known.get(prey.name, NONE)) for prey in MUTANTS)
    return _TABLE.sub(lambda _: "".join(lines), text)


def rows(text: str) -> Iterable[Sequence[str]]:
    """Return the cells of the page's table."""
    table = _TABLE.search(text)
    for line in table[0].splitlines() if table else ():
        yield [cell.strip() for cell in line.strip("|").split("|")]


def _row(prey: Prey, caught: Catch) -> str:
    return f"| {prey.mutant.rule} | {prey.name} | {caught.seeds} | {caught.promise} |\n"
