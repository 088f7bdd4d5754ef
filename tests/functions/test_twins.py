"""Two deliveries of the same records at once: one runs, the other waits for what it did (rule 24)."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from streamkit.errors import Unanswered
from streamkit.runtimes.function.function import Answer
from streamkit.testing import MemoryDeliveries, run_virtual
from tests.functions.stage import MODES, SETTLED, Stage, first, kinesis
from tests.functions.test_answers import staged

both = pytest.mark.parametrize("factor", MODES, ids=["factor 1", "any factor"])


async def twins(stage: Stage, *events: dict[str, Any], apart: float = 0.0, seconds: float = 60.0) -> list[Answer]:
    """Invoke in containers of their own, so many seconds after each other; return the answers."""

    async def invoke(index: int, event: dict[str, Any]) -> Answer:
        await asyncio.sleep(index * apart)
        return await stage.invoke(event, seconds=seconds)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(invoke(index, event)) for index, event in enumerate(events)]
    return [task.result() for task in tasks]


@both
@pytest.mark.parametrize("apart", [0.0, 0.3, 0.9, 3.5])
def test_a_twin_waits_and_repeats_nothing(factor: int | None, apart: float) -> None:
    """Both say that all is settled, and only once it is."""

    async def play(stage: Stage) -> None:
        stage.behaviour = lambda _: asyncio.sleep(1)
        answers = await twins(stage, kinesis(*range(10)), kinesis(*range(10)), apart=apart)
        assert answers == [SETTLED, SETTLED]
        assert sorted(stage.effects) == list(range(10))
        assert sorted(stage.runs) == list(range(10))

    staged(factor, play)


@both
def test_a_twin_never_reports_success_for_what_is_unsettled(factor: int | None) -> None:
    """It has no time left to wait: it gives back what the other may yet fail to settle."""

    async def play(stage: Stage) -> None:
        stage.behaviour = lambda _: asyncio.sleep(30)
        async with asyncio.TaskGroup() as group:
            long = group.create_task(stage.invoke(kinesis(*range(5)), seconds=90))
            await asyncio.sleep(1)
            assert first(await stage.invoke(kinesis(*range(5)), seconds=9)) == 0
        assert await long == SETTLED
        assert not stage.repeated()
        assert "delivery.deferred" in stage.world.report.names

    staged(factor, play)


@both
def test_a_twin_goes_on_where_the_other_was_killed(factor: int | None) -> None:
    """It waits no longer than a claim is believed: what was settled until the last write is not repeated."""

    async def play(stage: Stage) -> None:
        stage.behaviour = lambda _: asyncio.sleep(1)
        async with asyncio.TaskGroup() as group:
            group.create_task(stage.killed(kinesis(*range(10), keys=1), after=4.5))
            await asyncio.sleep(1)
            assert await stage.invoke(kinesis(*range(10), keys=1)) == SETTLED
        assert sorted(set(stage.effects)) == list(range(10))
        assert len(stage.repeated()) <= 2, "more than the checkpoint interval was repeated"
        assert stage.order_holds(keys=1)

    staged(factor, play)


@both
def test_a_late_one_takes_nothing_from_the_new_owner(factor: int | None) -> None:
    """Powertools' race: a worker that was away too long must not release, or overwrite, what another holds by now."""

    async def play(stage: Stage) -> None:
        memory = stage.world.deliveries
        frozen = asyncio.Event()

        async def behave(number: int) -> None:
            if not frozen.is_set():
                frozen.set()
                memory.outage = Unanswered("the container reaches nothing")
                await asyncio.sleep(25)

        stage.behaviour = behave
        async with asyncio.TaskGroup() as group:
            late = group.create_task(stage.invoke(kinesis(*range(5), keys=1), seconds=60))
            await asyncio.sleep(15)
            memory.outage = None
            stage.behaviour = lambda _: asyncio.sleep(3)
            assert await stage.invoke(kinesis(*range(5), keys=1), seconds=60) == SETTLED
            runs = len(stage.runs)
            assert first(await late) in (None, 1)
        assert len(stage.runs) == runs, "the late one started a handler"
        assert await stage.invoke(kinesis(*range(5), keys=1)) == SETTLED
        assert len(stage.runs) == runs, "what the new owner settled is forgotten"

    staged(factor, play)


@both
def test_no_handler_starts_under_a_claim_that_others_believe_no_more(factor: int | None) -> None:
    """One that cannot be renewed: the record under way ends, and a twin may have the next one (rule 3)."""

    async def play(stage: Stage) -> None:
        async def behave(number: int) -> None:
            stage.world.deliveries.outage = Unanswered("the container reaches nothing")
            await asyncio.sleep(9.5)

        stage.behaviour = behave
        assert first(await stage.invoke(kinesis(*range(5), keys=1), seconds=60)) == 1
        assert stage.runs == [0]

    staged(factor, play)


def test_a_twin_that_waited_while_the_mapping_went_on_repeats_nothing() -> None:
    """Nobody listens to it: it gives its records back, however many deliveries have settled theirs since."""

    async def play(stage: Stage) -> None:
        stage.behaviour = lambda _: asyncio.sleep(0.3)
        async with asyncio.TaskGroup() as group:
            late = [group.create_task(stage.invoke(kinesis(0))) for _ in range(3)]
            while not any(task.done() for task in late):
                await asyncio.sleep(0.01)
            for number in range(1, 40):
                assert await stage.invoke(kinesis(number)) == SETTLED
        assert sorted(stage.effects) == list(range(40))
        assert await stage.invoke(kinesis(40)) == SETTLED

    staged(1, play)


def test_a_twin_that_starts_after_the_mapping_went_on_repeats_nothing() -> None:
    """Its records are no longer remembered, but later ones were delivered a moment ago: it gives its own back."""

    async def play(stage: Stage) -> None:
        for number in range(10):
            assert await stage.invoke(kinesis(number)) == SETTLED
        assert first(await stage.invoke(kinesis(2))) == 2
        assert await stage.invoke(kinesis(10)) == SETTLED
        assert stage.effects == list(range(11))

    staged(1, play)


def test_a_mapping_that_was_set_back_is_delayed_and_no_more() -> None:
    """What it delivers from the beginning is handled again, where it is not remembered."""

    async def play(stage: Stage) -> None:
        for number in range(10):
            await stage.invoke(kinesis(number))
        began = stage.world.clock.now()
        for number in range(5):
            assert await stage.delivered([number], pause=5) <= 15
        assert stage.effects == [*range(10), *range(5)]
        assert stage.world.clock.now() - began < timedelta(seconds=70)

    staged(1, play)


def test_batches_of_one_shard_run_side_by_side() -> None:
    """With a factor above one they interleave: none waits for another, and none takes another's records for done."""

    async def play(stage: Stage) -> None:
        stage.behaviour = lambda _: asyncio.sleep(1)
        lanes = [[n for n in range(40) if n % 4 == lane] for lane in range(4)]
        assert await twins(stage, *(kinesis(*lane, keys=40) for lane in lanes)) == [SETTLED] * 4
        assert asyncio.get_running_loop().time() < 2
        assert sorted(stage.effects) == list(range(40))
        assert "delivery.deferred" not in stage.world.report.names

    staged(10, play)


# --------------------------------------------------------------------------------------------- every interleaving


class Turnstile(MemoryDeliveries):
    """A table whose requests pass one by one, in the order a schedule says: at each pass, which of those that wait."""

    def __init__(self, choices: Iterator[int]) -> None:
        super().__init__()
        self._choices = choices
        self._waiting: list[asyncio.Event] = []
        self._open = False

    async def _travel(self) -> None:
        if self._open:
            await asyncio.sleep(0.001)
            return
        mine = asyncio.Event()
        self._waiting.append(mine)
        await mine.wait()

    async def turn(self) -> None:
        """Let requests pass for as long as the schedule says, then all."""
        for choice in self._choices:
            await asyncio.sleep(0.05)
            if not self._waiting:
                continue
            self._waiting.pop(choice % len(self._waiting)).set()
        self._open = True
        for each in self._waiting:
            each.set()


@pytest.mark.parametrize("factor", MODES, ids=["factor 1", "any factor"])
def test_in_whatever_order_requests_take_effect_two_deliveries_never_run_at_once(factor: int | None) -> None:
    """Every order of the first requests and answers of two deliveries that share records."""
    for schedule in itertools.product((0, 1), repeat=9):
        run_virtual(lambda schedule=schedule: interleaved(factor, schedule))  # type: ignore[misc]


async def interleaved(factor: int | None, schedule: tuple[int, ...]) -> None:
    """Play one order."""
    stage = Stage(parallelization_factor=factor)
    stage.world.deliveries = table = Turnstile(iter(schedule))
    running: set[int] = set()

    async def behave(number: int) -> None:
        assert number not in running, f"record {number} runs twice at once, in the order {schedule}"
        running.add(number)
        await asyncio.sleep(0.2)
        running.discard(number)

    stage.behaviour = behave
    async with asyncio.TaskGroup() as group:
        group.create_task(table.turn())
        answers = [group.create_task(stage.invoke(kinesis(*numbers, keys=3))) for numbers in (range(3), range(1, 4))]
    assert [answer.result() for answer in answers] == [SETTLED, SETTLED]
    assert sorted(stage.effects) == list(range(4)), schedule
