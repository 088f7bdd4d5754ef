"""Whole worker processes, end to end, on whatever endpoint the fixture `variables` of a subclass leads to."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest

from streamkit.clock import SystemChance
from tests.e2e import scenarios
from tests.e2e.scenarios import Terms
from tests.e2e.stage import Stage
from tests.nursery import Nursery

QUICK = Terms(lease=3.0, interval=0.2)
SLACK = 5.0
"""Seconds that a busy machine may add to any bound: `make fleet` measures without."""

Make = Callable[..., Stage]


@pytest.fixture
def chance() -> Random:
    """Draw the moments at which things happen: other ones in every run, told by a failure's locals."""
    return Random(SystemChance().token())


@pytest.mark.e2e
class WorkerSuite:
    """Fixture `variables`: what leads an AWS SDK to the endpoint."""

    @pytest.fixture
    def stage(self, variables: Mapping[str, str], tmp_path: Path, nursery: Nursery) -> Iterator[Make]:
        """Make a stage of so many shards."""
        with ExitStack() as stack:

            def make(*, shards: int) -> Stage:
                name = f"test-{SystemChance().token()[:12]}"
                return stack.enter_context(
                    Stage(name, folder=tmp_path, variables=variables, shards=shards, start=nursery.start)
                )

            yield make

    def test_a_killed_workers_shards_are_finished_by_another(self, stage: Make, chance: Random) -> None:
        """In time; nothing is lost, keys keep their order, a poison is one letter; one checkpoint's worth repeats."""
        outcome = scenarios.crash(stage(shards=2), chance, terms=QUICK)
        assert outcome.objections == []
        assert outcome.handover_seconds is not None
        assert outcome.handover_seconds < QUICK.takeover_bound + SLACK

    def test_splits_and_merges_under_load_keep_the_order_of_every_key(self, stage: Make, chance: Random) -> None:
        """2 to 4 to 2 shards: each begins when all its parents are settled, generation after generation; all once."""
        outcome = scenarios.reshard(stage(shards=2), chance, counts=(4, 2), terms=Terms())
        assert outcome.objections == []
        assert outcome.repeats == 0
        assert outcome.generations >= 3
