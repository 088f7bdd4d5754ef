"""What is simulated is the product: the same objects that `streamkit run` builds, over other ports."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

import streamkit
from streamkit.cli import run as command
from streamkit.config import configure
from streamkit.consumer import Consumer
from streamkit.core.settlement import Tally
from streamkit.runtimes.budget import Budget
from streamkit.runtimes.crew import Crew
from streamkit.runtimes.process import Process
from streamkit.runtimes.worker import Worker
from streamkit.testing.simulation import Fleet, draw
from tests.simulation.hunt import PAGE, Catch, hunt, noted, rows
from tests.simulation.mutants import MUTANTS, Prey

PACKAGE = Path(streamkit.__file__).parent
PORTS = ("streamkit.aws", "streamkit.clock", "streamkit.logs", "streamkit.testing")
"""Ways to the world: the only things that may differ."""


def parts(root: object) -> Iterator[type]:
    """Return the classes of streamkit that an object is made of, ports left out."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, (type, Consumer)):
            continue
        seen.add(id(each))
        if isinstance(each, (list, tuple)):
            waiting += each
        kind = type(each)
        if not kind.__module__.startswith("streamkit.") or kind.__module__.startswith(PORTS):
            continue
        yield kind
        waiting += vars(each).values() if hasattr(each, "__dict__") else ()
        waiting += [getattr(each, name) for name in getattr(kind, "__slots__", ()) if hasattr(each, name)]


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Worker]:
    """Return the workers that are built from now on; they end as soon as they are run."""
    workers: list[Worker] = []

    async def run(self: Worker) -> Tally:
        workers.append(self)
        await asyncio.sleep(0)
        return self.tally

    monkeypatch.setattr(Worker, "run", run)
    return workers


def test_a_simulated_process_runs_what_streamkit_run_builds(built: list[Worker]) -> None:
    """Same classes, down to the last part that is not a way to the world (rule 33)."""
    fleet = Fleet(draw(1), keep=10)
    fleet.launch()
    fleet.loop.run_until_complete(fleet.loop.world.start(asyncio.sleep(1.0), name="a second"))
    fleet.loop.bury()
    plan = configure([fleet.consumer], environment={})
    asyncio.run(command._run(plan, supervised=False))  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - what the command does
    simulated, real = built
    assert set(parts(simulated)) == set(parts(real))
    assert {Worker, Crew, Process, Budget} <= set(parts(real))


@pytest.mark.parametrize("prey", MUTANTS, ids=lambda prey: prey.name)
def test_a_mutant_names_one_place(prey: Prey) -> None:
    """A change that moves the place must take the mutant along."""
    for patch in prey.mutant.patches:
        assert (PACKAGE / patch.file).read_text().count(patch.old) == 1, patch.file


def test_a_mutant_is_caught() -> None:
    """One of them all the way: the machinery works; `make mutants-simulated` hunts them all."""
    (prey,) = (each for each in MUTANTS if each.name == "the living are robbed")
    assert hunt(prey, seeds=20) == Catch("1", "the living keep their shards")


def test_the_page_tells_of_every_mutant() -> None:
    """Its table has a row for each, in the order of the catalogue; a hunt changes the rows of its prey only."""
    text = PAGE.read_text()
    assert [name for _, name, _, _ in rows(text)] == [prey.name for prey in MUTANTS]
    assert all(seeds != "—" for _, _, seeds, _ in rows(text))
    caught = {MUTANTS[0].name: Catch("≤ 7", "nothing is lost")}
    before, after = [*rows(text)], [*rows(noted(text, caught))]
    assert after[0] == [MUTANTS[0].mutant.rule, MUTANTS[0].name, "≤ 7", "nothing is lost"]
    assert after[1:] == before[1:]
