"""Many seeds in a row: the two runtimes side by side, or Lambda alone in trouble."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tests.equivalence.audit import audit
from tests.equivalence.runtimes import by_lambda, by_worker
from tests.equivalence.scenario import draw
from tests.equivalence.stage import Broken

FAULTS = (
    "invocation throttled",
    "invocation lost",
    "invocation crashed",
    "invocation timed out",
    "twin",
    "memory.delayed",
    "letters.delayed",
)
RECOVERIES = (
    "batch cut",
    "repeat",
    "invocation failed",
    "delivery.deferred",
    "delivery.died",
    "delivery.unsettled",
    "record.condemned",
    "record.retried",
    "shard.paused",
    "shard.resumed",
)


def compare(seed: int, *, changes: bool = False) -> None:
    """Run a seed through the worker and through Lambda, and hold both against the scenario. Raises `Broken`."""
    scenario = draw(seed, changes=changes)
    worker, (function, mapping) = by_worker(scenario), by_lambda(scenario)
    worker.check()
    audit(function, mapping)
    if worker.lines != function.lines or worker.letters != function.letters:
        raise Broken(f"seed {seed}: expected the same of both, got {worker.lines} and {function.lines}")


def trouble(seed: int, *, changes: bool = False) -> Counter[str]:
    """Run a seed through Lambda with all that can befall it; return what it showed. Raises `Broken`."""
    return audit(*by_lambda(draw(seed, troubled=True, changes=changes)))


def never_seen(seen: Counter[str], names: Iterable[str] = (*FAULTS, *RECOVERIES)) -> list[str]:
    """Return what should have happened at least once."""
    return [name for name in names if not seen[name]]
