"""Records that kill the process, or hold it up until it is killed: found, and condemned alone (rules 8, 22)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

from streamkit import Record
from streamkit.errors import Denied
from streamkit.events import DeliveryUnsettled
from streamkit.testing import Gate, VirtualLoop
from tests.functions.stage import MODES, SETTLED, Exited, Stage, first, kinesis
from tests.functions.test_answers import staged

both = pytest.mark.parametrize("factor", MODES, ids=["factor 1", "any factor"])


class Killing:
    """A mapping and its containers: some records end the process as soon as they run."""

    def __init__(self, stage: Stage, killers: Sequence[int]) -> None:
        self.stage = stage
        self.killers = killers
        self.deaths = 0
        self._task: asyncio.Task[Any] | None = None
        stage.behaviour = self.behave

    async def behave(self, number: int) -> None:
        """Die of it, at once: nothing is written any more."""
        if number in self.killers and self._task is not None:
            self._task.cancel()
            await asyncio.sleep(3_600)

    async def deliver(self, numbers: Sequence[int], *, times: int = 60) -> int:
        """Deliver until all is settled; return how often it took."""
        waiting = list(numbers)
        for delivery in range(1, times + 1):
            self._task = asyncio.create_task(self.stage.invoke(kinesis(*waiting)))  # noqa: TID251 - it gets killed
            try:
                unsettled = first(await self._task)
            except asyncio.CancelledError:
                self.deaths += 1
                await asyncio.sleep(0.5)
                continue
            if unsettled is None:
                return delivery
            waiting = waiting[waiting.index(unsettled) :]
        raise AssertionError(f"expected an end within {times} deliveries, letters of {self.stage.dead}")


@both
@pytest.mark.parametrize("killer", [0, 57, 99])
def test_a_record_that_kills_the_process_is_found_and_condemned_alone(factor: int | None, killer: int) -> None:
    """A handful of deaths, one letter; everybody else takes effect."""

    async def play(stage: Stage) -> None:
        killing = Killing(stage, [killer])
        await killing.deliver(range(100))
        assert stage.dead == [killer]
        assert stage.world.letters.letters[0].verdict.condition == "ProcessDied"
        assert sorted(set(stage.effects)) == [n for n in range(100) if n != killer]
        assert killing.deaths <= 6
        assert stage.order_holds()

    staged(factor, play)


@both
def test_two_killers_are_both_found(factor: int | None) -> None:
    """One after the other, and nobody else."""

    async def play(stage: Stage) -> None:
        killing = Killing(stage, [12, 13])
        await killing.deliver(range(40))
        assert sorted(stage.dead) == [12, 13]
        assert sorted(set(stage.effects)) == [n for n in range(40) if n not in (12, 13)]

    staged(factor, play)


@both
def test_deaths_that_no_record_is_to_blame_for_condemn_none(factor: int | None) -> None:
    """The machine dies under different records: each was alone at one death at most."""

    async def play(stage: Stage) -> None:
        killing = Killing(stage, [])
        for victim in (3, 4, 9, 1, 0):
            killing.killers = [victim]
            with suppress(AssertionError):
                await killing.deliver(range(10), times=1)
        killing.killers = []
        await killing.deliver(range(10))
        assert stage.dead == []
        assert sorted(set(stage.effects)) == list(range(10))

    staged(factor, play)


@both
def test_a_process_that_dies_at_anything_makes_no_more_requests_than_steps(factor: int | None) -> None:
    """Careful deliveries cost a write a step, of which there are few."""

    async def play(stage: Stage) -> None:
        killing = Killing(stage, [99])
        await killing.deliver(range(100))
        clean = stage.cost
        await stage.invoke(kinesis(*range(100, 200)))
        assert stage.cost - clean == (2 if factor == 1 else 3), "it goes on carefully after it is over"
        assert clean < 200

    staged(factor, play)


@both
def test_a_thread_that_does_not_end_ends_the_process_and_its_record_is_condemned(factor: int | None) -> None:
    """It would thaw into a later invocation (rule 8). Who ran beside it is not blamed."""

    async def play(stage: Stage) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        gates: list[Gate] = []

        def handle(record: Record) -> None:
            number = int(record.data)
            if number == 4:
                gates.append(loop.gate())
                gates[-1].wait()
                return
            stage.effects.append(number)

        stage.handler = handle
        exits = 0
        for _ in range(10):
            try:
                answer = await exiting(stage, gates)
            except Exited:
                exits += 1
                continue
            assert answer == SETTLED
            break
        assert exits == 2
        assert stage.dead == [4]
        assert sorted(stage.effects) == [n for n in range(10) if n != 4]

    staged(factor, play)


@both
def test_a_thread_that_does_not_end_ends_the_process_also_when_the_claim_could_not_be_renewed(
    factor: int | None,
) -> None:
    """The invocation has failed by then, but waits for the thread: Lambda would end it without a word."""

    async def play(stage: Stage) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        gate = loop.gate()

        def handle(record: Record) -> None:
            gate.wait()

        stage.handler = handle
        loop.call_later(1, setattr, stage.world.deliveries, "outage", Denied("no right to write"))
        loop.call_later(59.9, gate.open)
        with pytest.raises(BaseExceptionGroup):
            await stage.invoke(kinesis(1))
        assert stage.exits == 1
        [told] = stage.world.report.named("delivery.unsettled")
        assert isinstance(told, DeliveryUnsettled)
        assert told.cause == "stuck"

    staged(factor, play)


async def exiting(stage: Stage, gates: list[Gate]) -> object:
    """Invoke; when the process ends, what hangs in its threads ends with it."""
    open_gates = asyncio.get_running_loop().call_later(14.9, _open, gates)
    try:
        return await stage.invoke(kinesis(*range(10)), seconds=15)
    except* Exited:
        raise Exited from None
    finally:
        open_gates.cancel()
        gates.clear()


def _open(gates: list[Gate]) -> None:
    for gate in gates:
        gate.open()
