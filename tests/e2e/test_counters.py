"""Real processes and SIGKILL: counters of a transactional consumer are exact (`python -m benchmarks.transactions`)."""

from pathlib import Path

import pytest

from tests.e2e.counters import Counting
from tests.nursery import Nursery


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(180)
def test_counters_are_exact_however_often_workers_are_killed(tmp_path: Path, nursery: Nursery) -> None:
    """Every record took effect once, in its own counter and in that of its key."""
    with (
        nursery.endpoint() as variables,
        Counting("transactional", folder=tmp_path, variables=variables, start=nursery.start) as counting,
    ):
        found = counting.play(200, kill_seconds=1.0, most_kills=2)
    assert found.kills >= 1
    assert (found.missing, found.repeated, found.astray, found.letters) == (0, 0, 0, 0)


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(180)
def test_at_most_once_repeats_nothing_and_loses_nothing_silently(tmp_path: Path, nursery: Nursery) -> None:
    """Each record took effect once at most; those interrupted are letters."""
    with (
        nursery.endpoint() as variables,
        Counting("at_most_once", folder=tmp_path, variables=variables, start=nursery.start) as counting,
    ):
        found = counting.play(400, kill_seconds=1.0, most_kills=2)
    assert found.kills >= 1
    assert found.repeated == 0
    assert found.letters >= found.missing
