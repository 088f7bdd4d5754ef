"""A worker that was stopped for longer than its lease notices before it touches anything (rules 2, 3)."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache

import pytest

from streamkit.testing.simulation import Mix, Rates, Verdict, draw, simulate

SEEDS = range(12)


def stopped(seed: int, rates: Rates) -> Mix:
    """Return a busy fleet of three on short leases that meets nothing but this."""
    mix = draw(seed)
    return replace(mix, workers=3, lease=2.0, records=120, duration=20.0, bad=0.0, retention=None, rates=rates)


@cache
def seen_with(rates: Rates) -> list[Verdict]:
    """Run the seeds, once."""
    return [simulate(seed, mix=stopped(seed, rates)) for seed in SEEDS]


@pytest.mark.parametrize(
    "rates",
    [Rates(stops=6), Rates(stop_at_request=0.01)],
    ids=["at any time", "between a decision and its request"],
)
def test_a_sleeper_starts_no_handler_and_writes_nothing(rates: Rates) -> None:
    """Its handlers start under a lease it holds, or not at all; its writes are refused; its shards are read on."""
    verdicts = seen_with(rates)
    assert [each.violation for each in verdicts if each.violation] == []
    seen = sum((each.seen for each in verdicts), Counter[str]())
    assert seen["worker.fenced"] > 0
    assert seen["buried the living"] > 0
    assert seen["heartbeat of the dead refused"] > 0


def test_repeats_are_few() -> None:
    """What a sleeper had under way, and what it had not checkpointed: nothing else runs again."""
    verdicts = seen_with(Rates(stops=6))
    records = 120 * len(verdicts)
    assert sum(each.repeats for each in verdicts) < 0.05 * records


def test_without_any_fault_nothing_is_repeated() -> None:
    """A fleet that only balances and drains hands no record over twice."""
    for seed in SEEDS:
        verdict = simulate(seed, mix=stopped(seed, Rates(joins=2, leaves=2, deploys=1, reshards=3)))
        assert verdict.violation is None, f"seed {seed}: {verdict.violation}"
        assert verdict.repeats == 0, f"seed {seed}"
