"""What a consumer declares for the worker alone, and what a function makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from streamkit import Kinesis, Record, Transaction
from streamkit.errors import ConfigurationError
from streamkit.testing import run_virtual
from tests.functions.stage import SETTLED, Stage, kinesis


async def transactional(record: Record, *, tx: Transaction) -> None:
    """Write with the checkpoint."""
    del record, tx


@pytest.mark.parametrize("mode", ["at_most_once", "transactional"])
def test_a_mode_that_needs_the_workers_checkpoints_is_refused_before_anything_runs(mode: Any) -> None:
    """One line says what to do instead; the mapping delivers again, so that nothing is lost meanwhile."""

    async def main() -> None:
        stage = Stage(mode=mode)
        if mode == "transactional":
            stage.handler = transactional
        with pytest.raises(ConfigurationError, match=f"expected 'at_least_once', got '{mode}': run it with `streamkit"):
            await stage.invoke(kinesis(1, 2))
        assert (stage.runs, stage.cost) == ([], 0)

    run_virtual(main)


@pytest.mark.parametrize(
    "source", [Kinesis("stream", fan_out=True), Kinesis("stream", start="LATEST"), Kinesis("stream", kpl_only=True)]
)
def test_how_the_worker_reads_means_nothing_where_the_mapping_does(source: Kinesis) -> None:
    """The same consumer, pushed to as a worker, runs in a function: docs/fan-out.md."""

    async def main() -> None:
        stage = Stage(source=source)
        assert await stage.invoke(kinesis(1, 2)) == SETTLED
        assert sorted(stage.effects) == [1, 2]

    run_virtual(main)
