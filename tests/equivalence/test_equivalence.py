"""The same scenario through the worker and through Lambda: the same effects, order and dead letters."""

from __future__ import annotations

import pytest

from tests.equivalence.campaign import compare

SEEDS = range(50)


@pytest.mark.parametrize("first", range(SEEDS.start, SEEDS.stop, 10))
def test_worker_and_lambda_do_the_same_with_the_same_records(first: int) -> None:
    """Poison, bad, flaky, slow and garbled records, outages, reshards; any batch size, factor, bisection."""
    for seed in range(first, first + 10):
        compare(seed)


def test_worker_and_lambda_do_the_same_with_the_changes_of_a_table() -> None:
    """The worker reads the stream's shards; the function's events do not tell them."""
    for seed in range(15):
        compare(seed, changes=True)
