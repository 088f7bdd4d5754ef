"""What must hold of the Lambda path whatever befalls it, besides what became of each record."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from streamkit.testing.mapping.answers import verdict
from tests.equivalence.stage import Broken

if TYPE_CHECKING:
    from streamkit.testing.mapping import EventSourceMapping, Invocation
    from tests.equivalence.stage import Stage

_DEATHS = ("crashed", "timed out")
_LONG_SECONDS = 5.0
"""An invocation that takes longer may have stood still for longer than its claim was believed."""


def audit(stage: Stage, mapping: EventSourceMapping) -> Counter[str]:
    """Hold a run against its promises; return which faults and recoveries it showed. Raises `Broken`."""
    stage.check(killers=_killers(stage, mapping))
    broken = [*_unsettled_reports(stage, mapping), *_repeats(stage, mapping)]
    if mapping.discards:
        broken.append(f"the mapping gave up {len(mapping.discards)} batches")
    if broken:
        raise Broken(f"seed {stage.scenario.seed}: " + "; ".join(broken[:5]))
    return _seen(stage, mapping)


def _killers(stage: Stage, mapping: EventSourceMapping) -> frozenset[int]:
    """Return the numbers that were in two invocations whose process died."""
    deaths: Counter[str] = Counter()
    for invocation in mapping.invocations:
        if invocation.outcome.kind in _DEATHS:
            deaths.update(invocation.numbers)
    return frozenset(number for number, name in stage.sequence_numbers.items() if deaths[name] > 1)


def _unsettled_reports(stage: Stage, mapping: EventSourceMapping) -> list[str]:
    """Return reports of settled records that had no effect yet, and no letter."""
    first: dict[str, float] = {}
    for effect in stage.effects:
        first.setdefault(stage.sequence_numbers[effect.number], effect.at)
    lettered = {letter.record.sequence_number for letter in stage.world.letters.letters}
    return [
        f"{number} was reported settled at {invocation.ended:.3f} and was not"
        for invocation in mapping.invocations
        for number in _reported(invocation, reports=mapping.terms.report_batch_item_failures)
        if number not in lettered and not first.get(number, float("inf")) <= invocation.ended
    ]


def _reported(invocation: Invocation, *, reports: bool) -> tuple[str, ...]:
    """Return the sequence numbers that an answer calls settled, whoever heard it."""
    if invocation.outcome.kind != "answered":
        return ()
    found = verdict(invocation.outcome.answer, invocation.numbers, reports=reports).failed_from
    return invocation.numbers[:found]


def _repeats(stage: Stage, mapping: EventSourceMapping) -> list[str]:
    """Return repeats beyond one for each invocation that was cut off, or stood still, with the record in it."""
    budget: Counter[str] = Counter()
    for invocation in mapping.invocations:
        long = invocation.ended - invocation.began > _LONG_SECONDS
        if invocation.outcome.kind in _DEATHS or long:
            budget.update(invocation.numbers)
    return [
        f"{number} took effect {times} times too often"
        for number, times in stage.repeats.items()
        if times > budget[stage.sequence_numbers[number]]
    ]


def _seen(stage: Stage, mapping: EventSourceMapping) -> Counter[str]:
    """Return what happened, by name."""
    seen = Counter(f"invocation {each.outcome.kind}" for each in mapping.invocations)
    seen["twin"] = sum(not each.heard for each in mapping.invocations)
    seen["repeat"] = stage.repeats.total()
    seen["batch cut"] = sum(bool(_cut(each)) for each in mapping.invocations)
    seen.update(event.name for event in stage.world.report.events)
    return +seen


def _cut(invocation: Invocation) -> bool:
    answer = invocation.outcome.answer
    return isinstance(answer, dict) and bool(answer["batchItemFailures"])
