"""`streamkit status`, on an embedded world with workers that die and handlers that fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamkit.cli.figures import columns, count, elided, short, span
from tests.nursery import Child

Run = Callable[..., Any]
Program = Callable[..., Child]
FAST = {"STREAMKIT_CHECKPOINT_LEASE": "2s", "STREAMKIT_CHECKPOINT_INTERVAL": "200ms"}
HANDLER = """if os.path.exists("down"): raise OSError("no database")
    print(record.text(), flush=True)"""


def awaited(worker: Child, event: str) -> None:
    """Read a worker's log up to an event."""
    assert worker.stderr is not None
    assert any(f'"{event}"' in line for line in worker.stderr), event


@pytest.mark.e2e
@pytest.mark.slow
def test_an_outage_and_a_killed_worker_are_seen_from_outside(
    operate: Run, program: Program, stage: Callable[..., str], client: Callable[[str], Any], project: Path
) -> None:
    """Status 1 and the reason in a line; 0 once all is well. By the code and by the table's name alike."""
    path = stage("watched", handler=HANDLER)
    assert operate("init", path, "--queue").status == 0
    with program("run", path, **FAST) as worker:
        awaited(worker, "shard.taken")
        for n in range(8):
            client("kinesis").put_record(StreamName="watched", Data=str(n).encode(), PartitionKey=str(n))
        assert worker.stdout is not None
        assert {int(worker.stdout.readline()) for _ in range(8)} == set(range(8))
        well = operate("status", path, **FAST)
        assert (well.status, "needs" in well.out) == (0, False), well.out
        assert max(map(len, well.out.splitlines())) <= 80
        (project / "down").touch()
        for n in range(8):
            client("kinesis").put_record(StreamName="watched", Data=str(n).encode(), PartitionKey=str(n))
        awaited(worker, "shard.paused")
        awaited(worker, "shard.paused")
        [paused] = json.loads(operate("status", "--table", "streamkit-watched", "--json").out)
        assert [each["state"] for each in paused["overview"]["shards"]] == ["paused"]
        assert "everything fails: OSError at of_watched.py:" in paused["overview"]["attention"][0]
        worker.kill()
        worker.communicate()
    dead = operate("status", path, **FAST)
    assert dead.status == 1
    assert "! shardId-000000000000 is owned by a silent worker: no heartbeat of" in " ".join(dead.out.split())


def test_naming_nothing_or_a_table_that_is_not_there_gets_an_answer_that_helps(call: Run, operate: Run) -> None:
    """What is missing, and what makes it."""
    assert call("status").complaint.startswith("Name a consumer (MODULE:CONSUMER) or a table (--table NAME).")
    missing = operate("status", "--table", "nowhere")
    assert missing.status == 2
    assert "run `streamkit init MODULE:CONSUMER`" in missing.err


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.0, "0s"),
        (0.42, "0.4s"),
        (9.96, "10.0s"),
        (12, "12s"),
        (192, "3m12s"),
        (14580, "4h03m"),
        (190800, "2d05h"),
    ],
)
def test_a_span_is_said_in_two_units_at_most(seconds: float | None, text: str) -> None:
    """As exact as it needs to be."""
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"), [(None, "-"), (0, "0"), (7.5, "7.5"), (9_999, "9999"), (12_345, "12.3k"), (4_000_000, "4.0M")]
)
def test_a_count_takes_five_characters_or_so(number: float | None, text: str) -> None:
    """Whatever its size."""
    assert count(number) == text


def test_a_shard_of_kinesis_is_called_by_its_number() -> None:
    """Another is not."""
    assert [short("shardId-000000000012"), short("shardId-00000001-ab"), short("x")] == ["12", "00000001-ab", "x"]


def test_a_long_name_loses_its_middle() -> None:
    """Hosts differ at both ends."""
    assert (
        elided("ip-10-0-12-34.eu-central-1.compute.internal-4711-0123456789ab")
        == "ip-10-0-12-34…internal-4711-0123456789ab"
    )
    assert elided("short") == "short"


def test_columns_are_as_wide_as_their_widest_cell_without_styles() -> None:
    """Colour takes no room."""
    assert columns(("A", "B"), [("\x1b[31mred\x1b[0m", "1"), ("x", "22")]) == [
        "A     B",
        "\x1b[31mred\x1b[0m   1",
        "x    22",
    ]
