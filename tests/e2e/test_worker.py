"""Worker processes, end to end, in the embedded world."""

from collections.abc import Mapping
from random import Random

import pytest

from tests.e2e import scenarios
from tests.e2e.scenarios import Terms
from tests.e2e.suite import QUICK, SLACK, Make, WorkerSuite, chance

__all__ = ["chance"]


@pytest.fixture(scope="module")
def variables(embedded: Mapping[str, str]) -> Mapping[str, str]:
    """Lead to an endpoint of our own."""
    return embedded


class TestWorker(WorkerSuite):
    """On `streamkit local`."""

    def test_a_deploy_costs_no_expiry_and_no_repeat(self, stage: Make, chance: Random) -> None:
        """SIGTERM: what is under way ends, the shards are given back, and the successor begins at once."""
        outcome = scenarios.deploy(stage(shards=4), chance, beside=True, terms=Terms())
        assert outcome.objections == []
        assert outcome.repeats == 0
        assert outcome.handover_seconds is not None
        assert outcome.handover_seconds < scenarios.HANDOVER_BOUND + SLACK < Terms().lease

    def test_a_worker_that_slept_through_its_lease_begins_anew(self, stage: Make, chance: Random) -> None:
        """SIGSTOP for three leases: the sleeper's writes are refused, and it starts no handler before it took anew."""
        outcome = scenarios.pause(stage(shards=2), chance, terms=QUICK)
        assert outcome.objections == []
        assert outcome.handover_seconds is not None
        assert outcome.handover_seconds < QUICK.takeover_bound + SLACK

    def test_a_rolling_restart_is_not_noticed(self, stage: Make, chance: Random) -> None:
        """Every worker replaced, one after the other: nothing lost, nothing twice, each key in order."""
        outcome = scenarios.rolling_restart(stage(shards=3), chance, workers=3, terms=Terms())
        assert outcome.objections == []
        assert outcome.repeats == 0
        assert outcome.stall_seconds < Terms().lease
