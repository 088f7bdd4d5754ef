"""Bisecting the suspects: the killer stands alone after few deaths, and nobody else ever does (rule 22)."""

from __future__ import annotations

from math import log2
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamkit.core.positions import Position
from streamkit.core.quarantine import DEATHS, Death, Quarantine, resumed

if TYPE_CHECKING:
    from collections.abc import Sequence


def position(ordinal: int) -> Position:
    """Name a record."""
    return Position(f"{ordinal + 1}")


def tried(records: int, killer: int, *, most: int, apart: bool) -> tuple[list[Death], Position | None, int]:
    """Try records, one of which kills; return the deaths, who was condemned, and how many records were tried alone."""
    deaths = [Death(float(epoch), "killed", epoch) for epoch in range(1, DEATHS + 1)]
    state, epoch, at, alone = resumed(None, deaths, most=most), DEATHS + 1, 0, 0
    while state is not None and not state.over and state.condemned is None and at < records:
        size = min(state.size, records - at)
        state = state.marked(position(at + size - 1), tried=size, epoch=epoch)
        alone += size == 1
        if not at <= killer < at + size:
            state, at = state.passed(), at + size
            continue
        deaths.append(Death(float(len(deaths)), "killed", epoch, apart))
        if apart:
            state = state.died(deaths[-1:])
        else:
            state, epoch = resumed(state, deaths, most=most), epoch + 1
    return deaths, state.condemned if state is not None else None, alone


@given(st.integers(1, 20_000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1))), st.integers(0, 16_000))
def test_few_deaths_leave_the_killer_alone(among: tuple[int, int], more: int) -> None:
    """At most 2 log2(n) + 4 of them, for n records that were read, whatever might have been."""
    records, killer = among
    deaths, condemned, _ = tried(records, killer, most=records + more, apart=True)
    assert condemned == position(killer)
    assert len(deaths) <= 2 * log2(records) + 4


@given(st.integers(1, 5_000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1))))
def test_a_worker_that_has_other_shards_takes_one_death_more(among: tuple[int, int]) -> None:
    """Where nothing of its own could be started for the suspects."""
    records, killer = among
    deaths, condemned, _ = tried(records, killer, most=16_000, apart=False)
    assert condemned == position(killer)
    assert len(deaths) <= 2 * log2(records) + 5


@pytest.mark.parametrize(("apart", "enough"), [(True, 2), (False, 3)])
def test_a_record_is_condemned_by_deaths_that_it_was_alone_at(apart: bool, enough: int) -> None:  # noqa: FBT001 - a case
    """Not by those of a step with others in it, nor by fewer."""
    state = Quarantine.of(2).marked(position(1), tried=2, epoch=5).died(strikes(5, apart=apart))
    for strike in range(enough):
        assert state.condemned is None, strike
        state = state.marked(position(0), tried=1, epoch=6).died(strikes(6, apart=apart))
    assert state.condemned == position(0)
    assert state.why.count("killed") == enough


def test_deaths_before_a_step_was_marked_are_not_its_own() -> None:
    """Who took over and died before it tried anything died of something else."""
    kept = Quarantine.of(1).marked(position(0), tried=1, epoch=5)
    deaths = [Death(0.0, "killed", epoch) for epoch in (3, 4, 6, 7)]
    again = resumed(kept, deaths, most=9)
    assert again == kept.stopped()
    assert resumed(again, [*deaths, Death(0.0, "killed", 8)], most=9) == again


def test_another_record_begins_without_strikes() -> None:
    """What the one before was alone at says nothing of it."""
    state = Quarantine.of(1).marked(position(0), tried=1, epoch=5).died(strikes(5, apart=True))
    state = state.marked(position(1), tried=1, epoch=6).died(strikes(6, apart=True))
    assert state.condemned is None


def test_fewer_deaths_raise_no_suspicion() -> None:
    """One owner may die of anything."""
    assert resumed(None, strikes(1, apart=False), most=9) is None
    assert resumed(None, (), most=9) is None


def strikes(epoch: int, *, apart: bool) -> Sequence[Death]:
    """Return the death of one process."""
    return [Death(0.0, "killed", epoch, apart)]
