"""The scenarios that are measured, and the bounds that are promised."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from random import Random
from types import MappingProxyType
from typing import NamedTuple

from tests.e2e import scenarios
from tests.e2e.scenarios import HANDOVER_BOUND, Outcome, Terms
from tests.e2e.stage import Stage


class Scenario(NamedTuple):
    """A scenario with its figures."""

    title: str
    play: Callable[[Stage, Random], Outcome]
    shards: int
    runs: int
    """How often it is played, if nobody says otherwise."""
    bound_seconds: float | None = None
    """Promised from the signal to the first record of the last shard."""
    repeats_seconds: float = 0.0
    """Promised: nothing older is repeated, counted back from the signal. Zero promises no repeats."""

    def broken(self, outcome: Outcome) -> list[str]:
        """Return every promise that a run broke."""
        found = [*outcome.objections]
        if outcome.repeats and outcome.oldest_repeat_seconds > self.repeats_seconds:
            oldest = f"{outcome.oldest_repeat_seconds:.2f} s old, {outcome.repeats} in all"
            found.append(f"expected repeats up to {self.repeats_seconds:.2f} s old, got one {oldest}")
        took = outcome.handover_seconds
        if self.bound_seconds is not None and (took is None or took > self.bound_seconds):
            found.append(f"expected a successor within {self.bound_seconds:.2f} s, got {took}")
        return found


class Run(NamedTuple):
    """A scenario, played once."""

    outcome: Outcome | None
    """None if it did not come to its end."""
    broken: Sequence[str]
    """Promises broken."""


CALM, QUICK = Terms(), Terms(lease=3.0)
AN_INTERVAL = CALM.interval + 0.5
"""Of checkpoints, with the time to write one."""

CATALOGUE: Mapping[str, Scenario] = MappingProxyType(
    {
        "deploy": Scenario(
            "SIGTERM one of two workers",
            partial(scenarios.deploy, beside=False, terms=CALM),
            shards=4,
            runs=5,
            bound_seconds=HANDOVER_BOUND,
        ),
        "deploy-beside": Scenario(
            "the same, a third one just started",
            partial(scenarios.deploy, beside=True, terms=CALM),
            shards=4,
            runs=5,
            bound_seconds=HANDOVER_BOUND,
        ),
        "crash": Scenario(
            "SIGKILL one of two workers",
            partial(scenarios.crash, terms=CALM),
            shards=4,
            runs=4,
            bound_seconds=CALM.takeover_bound,
            repeats_seconds=AN_INTERVAL,
        ),
        "crash-3s": Scenario(
            "the same, lease 3 s",
            partial(scenarios.crash, terms=QUICK),
            shards=4,
            runs=5,
            bound_seconds=QUICK.takeover_bound,
            repeats_seconds=AN_INTERVAL,
        ),
        "pause": Scenario(
            "SIGSTOP for three leases of 3 s, SIGCONT",
            partial(scenarios.pause, terms=QUICK),
            shards=4,
            runs=3,
            bound_seconds=QUICK.takeover_bound,
            repeats_seconds=AN_INTERVAL,
        ),
        "rolling": Scenario(
            "rolling restart of 4 workers",
            partial(scenarios.rolling_restart, workers=4, terms=CALM),
            shards=8,
            runs=3,
        ),
        "reshard": Scenario(
            "4 to 8 to 4 shards, two workers",
            partial(scenarios.reshard, counts=(8, 4), terms=CALM),
            shards=4,
            runs=3,
        ),
    }
)
