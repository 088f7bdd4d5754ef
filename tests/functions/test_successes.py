"""A function tells of what it handled before it answers that it is settled."""

from __future__ import annotations

import pytest

from streamkit import Sqs
from tests.functions.stage import MODES, SETTLED, Stage, first, kinesis, poison
from tests.functions.test_answers import staged

both = pytest.mark.parametrize("factor", MODES, ids=["factor 1", "any factor"])
DONE = Sqs("done")


def told(stage: Stage) -> list[int]:
    """Which records were told to be handled."""
    return [stage.number(success.record) for success in stage.world.successes.successes]


@both
def test_every_success_is_told_once_and_no_letter(factor: int | None) -> None:
    """Also when the mapping delivers again: what is settled is neither handled nor told again."""

    async def play(stage: Stage) -> None:
        stage.behaviour = lambda number: poison(number) if number == 3 else None
        for _ in range(2):
            assert await stage.invoke(kinesis(*range(10))) == SETTLED
        assert sorted(told(stage)) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
        assert stage.dead == [3]
        assert {success.stream_arn.rpartition(":")[2] for success in stage.world.successes.successes} == {
            "stream/stream"
        }

    staged(factor, play, on_success=DONE)


@both
def test_a_queue_that_takes_nothing_condemns_nothing_however_often_it_is_delivered(factor: int | None) -> None:
    """The records come again; nothing is held against them, and each is told in the end."""

    async def play(stage: Stage) -> None:
        stage.world.successes.outage = True
        for _ in range(8):
            assert first(await stage.invoke(kinesis(*range(10)), seconds=10)) == 0
        stage.world.successes.outage = False
        assert await stage.invoke(kinesis(*range(10)), seconds=10) == SETTLED
        assert sorted(told(stage)) == list(range(10))
        assert stage.dead == []

    staged(factor, play, on_success=DONE)
