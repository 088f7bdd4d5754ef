"""Gates on cost: ratios within one run and imports, never microseconds. `make bench` measures the rest."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.measure import Case, Series
from benchmarks.scale.fleet import measure
from benchmarks.suites import Table, run
from streamkit.testing.endpoint import endpoint_process
from streamkit.testing.time import run_virtual

BARE, OURS, TRIES = "boto3", "async", 2


def ratio(series: list[Series]) -> float:
    """Return what ours took, in parts of what the bare loop took."""
    bare, ours = series
    assert bare.void is None, bare.void
    assert ours.void is None, ours.void
    return ours.ratio(bare)[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "most"),
    [(Case(8_000), 0.5), (Case(8_000, 100), 0.5), (Case(2_000, answer=100), 1.0)],
    ids=str,
)
def test_a_record_costs_a_part_of_what_it_costs_a_bare_boto3_loop(case: Case, most: float) -> None:
    """The whole path with every guarantee on: twice the goal is allowed, for noisy machines."""
    table = Table("", case, (BARE, OURS))
    with endpoint_process("--no-limits") as exports:
        assert ratio(run(table, exports, times=TRIES)) < most


def test_the_engine_loads_no_sdk_no_logging_no_retrying() -> None:
    """What a record passes through must not bring along what starts a process slowly."""
    script = (
        "import sys, streamkit, streamkit.core.settlement, streamkit.engine.engine\n"
        "heavy = {'boto3', 'botocore', 'aioboto3', 'aiobotocore', 'structlog', 'tenacity', 'click', 'pydantic'}\n"
        "print(*sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_subject_that_lost_a_record_does_not_count() -> None:
    """Ours neither: the plain loop is told to expect one more than there are."""
    table = Table("", Case(100, 100, answer=10), (BARE,), calls=101)
    (series,) = run(table, {}, times=1)
    assert series.void == "handed over 100 of 101 records"
    assert series.cpu == []


def test_a_fleet_of_any_size_is_put_on_the_scales() -> None:
    """The figures of docs/scale.md come from real coordinators: what builds them here must not fall behind."""
    seen = run_virtual(lambda: measure(6, 3, busy=True))
    assert seen.load.writes > 0
    assert seen.started < seen.crash.seconds, "a crash waits for a lease, a start for nobody"
