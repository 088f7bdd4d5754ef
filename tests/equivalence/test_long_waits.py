"""Deliveries that wait for long, or take too long: nothing is repeated, and nothing stands still."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

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


def test_a_twin_that_waited_long_repeats_nothing() -> None:
    """The memo of a shard keeps four stretches; with small batches a waiting twin is overtaken by more.

    Where dead letters park their keys, what it handled again could even become a dead letter.
    """
    puts = tuple(Put(at=0.0, number=number, key=f"key-{number % 10}", behaviour="fine") for number in range(60))
    twins = Trouble(faults=Faults(twins=0.6, within=timedelta(seconds=0.2)), lasts=30.0)
    audit(*by_lambda(replace(CALM, seed=1, puts=puts, trouble=twins)))


def test_a_batch_that_takes_longer_than_the_function_may_is_halved_at_last() -> None:
    """Five records of two seconds each, six seconds for an invocation: what is too much for one is cut in halves."""
    puts = tuple(Put(at=0.0, number=number, key=f"key-{number}", behaviour="slow") for number in range(5))
    terms = Terms(batch_size=5, report_batch_item_failures=True)
    timeout = timedelta(seconds=6)
    audit(*by_lambda(replace(CALM, seed=1, puts=puts, kind="batch", terms=terms, timeout=timeout)))
