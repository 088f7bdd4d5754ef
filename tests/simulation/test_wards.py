"""Suspects in processes of their own, under everything that goes wrong: killers are found, all else is as ever."""

from __future__ import annotations

from collections import Counter

from streamkit.testing.simulation import draw, simulate
from streamkit.testing.simulation.wards import FROM

SEEDS = range(FROM, FROM + 8)


def test_every_promise_is_kept_while_wards_die() -> None:
    """`python -m tests.simulation --seeds 6000000-6000999` is the campaign; `--seed N` tells one history."""
    seen = Counter[str]()
    for seed in SEEDS:
        found = simulate(seed)
        assert found.violation is None, f"seed {seed}: {found.violation}"
        seen.update(found.seen.keys())
    assert seen.keys() >= {"ward killed", "ward.died", "ward.missed", "quarantine.ended", "letter ProcessDied"}


def test_wards_are_drawn_for_transactions_and_for_others_and_for_none_below() -> None:
    """Older seeds keep their histories."""
    assert {draw(seed).kind for seed in range(FROM, FROM + 40)} == {"transactional", "async", "batch"}
    assert all(draw(seed).wards and draw(seed).killers for seed in SEEDS)
    assert not any(draw(seed).wards for start in range(0, FROM, 1_000_000) for seed in range(start, start + 50))
