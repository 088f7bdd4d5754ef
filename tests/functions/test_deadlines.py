"""Attempts that the deadline cuts off: no verdict over their records, and no way to hold a shard up for ever."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from streamkit import Retry
from tests.functions.stage import MODES, SETTLED, Stage, first, kinesis
from tests.functions.test_answers import staged

both = pytest.mark.parametrize("factor", MODES, ids=["factor 1", "any factor"])
NO_PATIENCE = Retry(attempts=1)


@both
@pytest.mark.parametrize("caught", [(2,), (2, 4)])
def test_an_attempt_that_the_deadline_cuts_off_once_is_no_failure(factor: int | None, caught: tuple[int, ...]) -> None:
    """The process stood still, say: even with a single attempt allowed the record takes effect the next time."""

    async def play(stage: Stage) -> None:
        stuck = True

        async def behave(number: int) -> None:
            if stuck and number in caught:
                await asyncio.sleep(1_000)

        stage.behaviour = behave
        assert first(await stage.invoke(kinesis(*range(10)), seconds=10)) == 2
        stuck = False
        assert await stage.invoke(kinesis(*range(2, 10)), seconds=10) == SETTLED
        assert (stage.dead, sorted(stage.effects), stage.order_holds()) == ([], list(range(10)), True)

    staged(factor, play, retry=NO_PATIENCE)


@both
def test_an_attempt_that_began_late_is_never_a_failure(factor: int | None) -> None:
    """A line of records that each take most of an invocation: each begins late once, none is given up."""

    async def play(stage: Stage) -> None:
        stage.behaviour = lambda _: asyncio.sleep(6)
        assert await stage.delivered(range(8), seconds=10) <= 9
        assert (stage.dead, stage.repeated()) == ([], {})
        assert stage.effects == list(range(8))

    staged(factor, play, retry=NO_PATIENCE, concurrency=1)


@both
@pytest.mark.parametrize("attempts", [1, 2, 4])
def test_a_record_that_takes_all_the_time_again_and_again_is_given_up_alone(factor: int | None, attempts: int) -> None:
    """Let off once, then each delivery is an attempt; its neighbours take effect, and those behind it."""

    async def play(stage: Stage) -> None:
        async def behave(number: int) -> None:
            if number == 4:
                await asyncio.sleep(1_000)

        stage.behaviour = behave
        assert await stage.delivered(range(30), seconds=10) <= attempts + 2
        assert stage.dead == [4]
        [letter] = stage.world.letters.letters
        assert (letter.verdict.condition, letter.verdict.attempts) == ("RetryAttemptsExhausted", attempts)
        assert (stage.repeated(), stage.order_holds()) == ({}, True)
        assert sorted(stage.effects) == [n for n in range(30) if n != 4]

    staged(factor, play, retry=Retry(attempts=attempts))


@both
@pytest.mark.parametrize("keys", [2, 5, 30])
def test_a_world_that_hangs_condemns_nothing(factor: int | None, keys: int) -> None:
    """Everything takes all the time there is, over many deliveries: an outage like any other."""

    async def play(stage: Stage) -> None:
        hangs = True

        async def behave(_: int) -> None:
            if hangs:
                await asyncio.sleep(1_000)

        stage.behaviour = behave
        for _ in range(20):
            assert first(await stage.invoke(kinesis(*range(30), keys=keys), seconds=10)) == 0
        assert "shard.paused" in stage.world.report.names
        hangs = False
        assert await stage.invoke(kinesis(*range(30), keys=keys)) == SETTLED
        assert (stage.dead, stage.order_holds(keys)) == ([], True)
        assert sorted(stage.effects) == list(range(30))

    staged(factor, play, retry=Retry(attempts=2))


@both
def test_two_records_that_hang_are_given_up_once_an_outage_has_lasted_too_long(factor: int | None) -> None:
    """With nobody else to ask they look like an outage, so it is its limit that ends them."""

    async def play(stage: Stage) -> None:
        async def behave(number: int) -> None:
            if number in (3, 4):
                await asyncio.sleep(1_000)

        stage.behaviour = behave
        began = stage.world.clock.now()
        await stage.delivered(range(10), times=2_000, seconds=60)
        assert sorted(stage.dead) == [3, 4]
        assert timedelta(minutes=1) < stage.world.clock.now() - began < timedelta(hours=7)
        assert sorted(stage.effects) == [n for n in range(10) if n not in (3, 4)]

    staged(factor, play)


@both
def test_a_time_out_of_its_own_is_a_failure_at_once(factor: int | None) -> None:
    """The consumer said how long an attempt may take: that is a verdict, whatever the function has left."""

    async def play(stage: Stage) -> None:
        async def behave(number: int) -> None:
            if number == 4:
                await asyncio.sleep(1_000)

        stage.behaviour = behave
        assert await stage.delivered(range(10), seconds=60) == 1
        assert (stage.dead, stage.runs.count(4)) == ([4], 3)

    staged(factor, play, handler_timeout=timedelta(seconds=5))


@both
def test_what_is_under_way_when_time_runs_out_may_still_end(factor: int | None) -> None:
    """Into the reserve, also where it was cut off before."""

    async def play(stage: Stage) -> None:
        seconds = 9.0
        stage.behaviour = lambda _: asyncio.sleep(seconds)
        assert first(await stage.invoke(kinesis(0), seconds=10)) == 0
        seconds = 7.2
        assert await stage.invoke(kinesis(0), seconds=10) == SETTLED
        assert (stage.effects, stage.dead) == ([0], [])

    staged(factor, play, retry=NO_PATIENCE)
