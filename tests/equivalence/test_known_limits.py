"""What the Lambda path does not do yet. Each of these fails today; who mends one removes its mark."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from streamkit.testing.mapping import Faults, Terms
from tests.equivalence.audit import audit
from tests.equivalence.runtimes import by_lambda
from tests.equivalence.scenario import Put, Trouble, draw

CALM = replace(
    draw(0),
    shards=1,
    reshards=(),
    outages=(),
    kind="async",
    on_dead_letter="continue",
    handler_seconds=0.3,
    terms=Terms(batch_size=1, report_batch_item_failures=True),
    in_turn=True,
    partial_responses=True,
    timeout=timedelta(seconds=15),
)


@pytest.mark.xfail(reason="a twin that waits while four later deliveries settle runs its records again")
def test_a_twin_that_waited_long_repeats_nothing() -> None:
    """The memo of a shard keeps four stretches; with small batches a waiting twin is overtaken by more.

    Where dead letters park their keys, what it handles again can even become a dead letter.
    """
    puts = tuple(Put(at=0.0, number=number, key=f"key-{number % 10}", behaviour="fine") for number in range(60))
    twins = Trouble(faults=Faults(twins=0.6, within=timedelta(seconds=0.2)), lasts=30.0)
    audit(*by_lambda(replace(CALM, seed=1, puts=puts, trouble=twins)))


@pytest.mark.xfail(reason="a batch cut off by the deadline is begun whole again, and neither halved nor counted")
def test_a_batch_that_takes_longer_than_the_function_may_is_halved_at_last() -> None:
    """Five records of two seconds each, six seconds for an invocation: the shard stands still for ever."""
    puts = tuple(Put(at=0.0, number=number, key=f"key-{number}", behaviour="slow") for number in range(5))
    terms = Terms(batch_size=5, report_batch_item_failures=True)
    timeout = timedelta(seconds=6)
    audit(*by_lambda(replace(CALM, seed=1, puts=puts, kind="batch", terms=terms, timeout=timeout)))
