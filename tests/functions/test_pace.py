"""A rate limit in a function: for each execution environment, and the deadline comes first."""

from __future__ import annotations

from streamkit.testing import run_virtual
from tests.functions.stage import SETTLED, Stage, first, kinesis


def test_what_the_rate_leaves_no_time_for_comes_again() -> None:
    """Nothing is handled twice."""

    async def main() -> None:
        stage = Stage(parallelization_factor=1, rate=2.0)
        answer = await stage.invoke(kinesis(*range(60)), seconds=20.0)
        done = len(stage.effects)
        assert 25 <= done <= 40
        assert first(answer) is not None
        assert await stage.invoke(kinesis(*range(60)), seconds=60.0) == SETTLED
        assert sorted(stage.effects) == list(range(60))

    run_virtual(main)
