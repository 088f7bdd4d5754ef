"""An event put twice takes effect once in Lambda too, whatever becomes of an invocation (rule 26)."""

from __future__ import annotations

import asyncio

import pytest

from streamkit import Record
from streamkit.core.ledger import Anothers, Claimant
from tests.functions.stage import MODES, SETTLED, Stage, kinesis, poison
from tests.functions.test_answers import staged

both = pytest.mark.parametrize("factor", MODES, ids=["factor 1", "any factor"])
AGAIN = 100
"""A record of this much more is the same event, put again."""


def event_of(record: Record) -> str:
    """Return the business key."""
    return f"event-{int(record.data) % AGAIN}"


async def slowly(_: int) -> None:
    """Take long."""
    await asyncio.sleep(20)


@both
def test_an_event_delivered_as_two_records_takes_effect_once(factor: int | None) -> None:
    """In one invocation or in two."""

    async def play(stage: Stage) -> None:
        assert await stage.invoke(kinesis(0, 1, AGAIN)) == SETTLED
        assert await stage.invoke(kinesis(AGAIN + 1, AGAIN + 2)) == SETTLED
        assert stage.effects == [0, 1, AGAIN + 2]

    staged(factor, play, dedupe_key=event_of)


@both
def test_what_an_invocation_had_claimed_when_it_was_killed_runs_again(factor: int | None) -> None:
    """The claim is its record's, not the invocation's; and what the dead one sends late changes nothing."""

    async def play(stage: Stage) -> None:
        stage.behaviour = slowly
        await stage.killed(kinesis(0), after=5.0)
        before = stage.world.ledger.claims["event-0"].by
        await asyncio.sleep(30)
        stage.behaviour = lambda _: None
        assert await stage.invoke(kinesis(0)) == SETTLED
        await stage.world.ledger.release("event-0", before)
        assert await stage.world.ledger.claim("event-0", before) == "newer"
        assert await stage.world.ledger.claim("event-0", Claimant("another")) == Anothers(before.record)
        assert await stage.invoke(kinesis(AGAIN)) == SETTLED
        assert stage.effects == [0]

    staged(factor, play, dedupe_key=event_of)


@both
def test_a_dead_letter_lets_the_event_be_put_again(factor: int | None) -> None:
    """The letter is durable, the claim is released."""

    async def play(stage: Stage) -> None:
        stage.behaviour = poison
        assert await stage.invoke(kinesis(0)) == SETTLED
        stage.behaviour = lambda _: None
        assert await stage.invoke(kinesis(AGAIN)) == SETTLED
        assert (stage.dead, stage.effects) == ([0], [AGAIN])

    staged(factor, play, dedupe_key=event_of)
