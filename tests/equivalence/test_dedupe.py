"""Whatever makes a mapping deliver again, nothing that was handled is handled again: every factor, both sources."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from streamkit.testing.mapping import Faults, Terms
from tests.equivalence.audit import audit
from tests.equivalence.runtimes import by_lambda
from tests.equivalence.scenario import Put, Scenario, Trouble, draw

FACTORS = range(1, 11)
REASONS: dict[str, tuple[Trouble, dict[str, bool]]] = {
    "lost answers": (Trouble(faults=Faults(lost=0.5), lasts=20.0), {}),
    "two invocations at once": (Trouble(faults=Faults(twins=0.7, within=timedelta(seconds=0.3)), lasts=20.0), {}),
    "disabled and enabled": (Trouble(stops=tuple(0.35 * n for n in range(1, 12)), lasts=20.0), {}),
    "bisected, with partial responses": (Trouble(faults=Faults(lost=0.2), lasts=20.0), {"bisect": True}),
    "bisected, without": (Trouble(faults=Faults(lost=0.2), lasts=20.0), {"bisect": True, "whole": True}),
}


def calm(factor: int, *, changes: bool, bisect: bool = False, whole: bool = False) -> Scenario:
    """A scenario in which nothing is amiss but one flaky record; a declared factor of 1 for every second seed."""
    puts = tuple(
        Put(at=0.05 * n, number=n, key=f"key-{n % 7}", behaviour="flaky" if n == 17 else "fine") for n in range(28)
    )
    return replace(
        draw(factor),
        source="dynamodb" if changes else "kinesis",
        shards=1,
        puts=puts,
        reshards=(),
        outages=(),
        kind="async",
        on_dead_letter="continue",
        attempts=3,
        handler_seconds=0.05,
        terms=Terms(
            batch_size=8,
            parallelization_factor=factor,
            bisect_batch_on_function_error=bisect,
            report_batch_item_failures=not whole,
        ),
        in_turn=factor == 1 and not changes,
        partial_responses=not whole,
        timeout=timedelta(seconds=15),
    )


@pytest.mark.parametrize("changes", [False, True], ids=["records", "changes"])
@pytest.mark.parametrize("reason", REASONS)
def test_what_was_handled_is_not_handled_again(reason: str, *, changes: bool) -> None:
    """Once each, in the order of its key, for every parallelization factor; and the reason was really there."""
    trouble, terms = REASONS[reason]
    seen = Counter[str]()
    for factor in FACTORS[:: 3 if changes else 1]:
        scenario = replace(calm(factor, changes=changes, **terms), trouble=trouble)
        stage, mapping = by_lambda(scenario)
        seen += audit(stage, mapping)
        seen["again"] += sum(mapping.deliveries.values()) - len(mapping.deliveries)
        assert not stage.repeats, f"factor {factor}"
    assert seen["again"] > 0
