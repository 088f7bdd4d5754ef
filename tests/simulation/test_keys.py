"""Business keys under everything that goes wrong: each event put twice, by one of its records (rule 26)."""

from __future__ import annotations

import pytest

from streamkit.testing.simulation import draw, simulate
from streamkit.testing.simulation.keys import FROM

SEEDS = range(FROM, FROM + 12)


@pytest.mark.slow
def test_an_event_takes_effect_by_one_of_its_records_and_none_is_lost() -> None:
    """`python -m tests.simulation --seeds 5000000-5000999` is the campaign; `--seed N` tells one history."""
    seen = set[str]()
    for seed in SEEDS:
        found = simulate(seed)
        seen |= found.seen.keys()
        assert found.violation is None, f"seed {seed}: {found.violation}"
    assert {"key is another's", "key released", "answer lost: claim", "took what was released for it"} <= seen


def test_only_these_seeds_have_business_keys() -> None:
    """Older seeds keep their histories."""
    assert all(draw(seed).keyed for seed in SEEDS)
    assert not any(draw(seed).keyed for seed in (*range(100), 1_000_000, 2_000_001, 3_000_001))
