"""`streamkit resume`: a halted shard goes on when a person says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from streamkit.cli.resume import halted, reopen
from streamkit.clock import SystemClock
from streamkit.core.leasing import ShardRow
from streamkit.core.lineage import Shard
from streamkit.errors import ConfigurationError, Unanswered
from streamkit.runtimes.gaps import HALTED_BY_GAP
from streamkit.testing.memory import MemoryTable
from streamkit.testing.time import SeededChance
from tests.nursery import Child

Client = Callable[[str], Any]
Run = Callable[..., Any]
Stage = Callable[..., str]

OPEN = ShardRow(Shard("shard-0"), "TRIM_HORIZON")
HALTED = ShardRow(Shard("shard-1"), "TRIM_HORIZON", state="halted", halted="a record was dead-lettered", epoch=3)
ALSO = replace(HALTED, shard=Shard("shard-2"))


HANDLER = "print(record.text(), flush=True)\n    if record.text() == os.environ['BAD']: raise Poison('bad')"


@pytest.mark.e2e
@pytest.mark.slow
def test_a_halted_shard_goes_on_where_it_stopped(run: Run, operate: Run, stage: Stage, client: Client) -> None:
    """End to end: halted by a bad record, resumed by hand, and the records behind it are handled."""
    path = stage("halting", handler=HANDLER, settings="on_dead_letter='halt'")
    assert operate("init", path, "--queue").status == 0
    for payload in ("1", "2", "3"):
        client("kinesis").put_record(StreamName="halting", Data=payload.encode(), PartitionKey="same")
    assert operate("resume", path).complaint.startswith("expected a registration in table streamkit-halting, got none")
    first = run("run", path, "--until-idle", "0.5", BAD="2")
    assert (first.status, first.out.split()) == (0, ["1", "2"])
    assert operate("resume", path, "--shard", "nowhere").complaint.startswith("--shard: expected one of shardId-0")
    resumed = operate("resume", path)
    assert resumed.status == 0
    assert "consumer halting: shard shardId-000000000000 goes on; it was halted: " in resumed.out
    again = operate("resume", path)
    assert again.status == 2
    assert "nothing was changed" in again.complaint
    second = run("run", path, "--until-idle", "0.5", BAD="none")
    assert second.status == 0
    assert second.out.split()[-1] == "3"


@pytest.mark.e2e
def test_a_worker_that_runs_takes_a_resumed_shard_again(
    operate: Run, program: Callable[..., Child], stage: Stage, client: Client
) -> None:
    """Nobody has to start anything anew."""
    path = stage("standing", handler=HANDLER, settings="on_dead_letter='halt'")
    assert operate("init", path, "--queue").status == 0
    for payload in ("1", "2"):
        client("kinesis").put_record(StreamName="standing", Data=payload.encode(), PartitionKey="same")
    with program("run", path, BAD="1") as worker:
        assert worker.stderr is not None
        assert any('"shard.released"' in line for line in worker.stderr)
        assert operate("resume", path).status == 0
        assert worker.stdout is not None
        assert [worker.stdout.readline() for _ in range(2)] == ["1\n", "2\n"]
        worker.terminate()
        worker.communicate(timeout=240)


def test_only_halted_shards_are_found_and_one_may_be_named() -> None:
    """In the order of the rows."""
    assert halted([OPEN, HALTED, ALSO], None, "t") == [HALTED, ALSO]
    assert halted([OPEN, HALTED, ALSO], "shard-2", "t") == [ALSO]


@pytest.mark.parametrize(
    ("rows", "shard", "expected"),
    [
        ([OPEN], None, "table t: expected any of 1 shards to be halted, got none; nothing was changed"),
        ([OPEN, HALTED], "shard-0", "table t: expected shard shard-0 to be halted, got none; nothing was changed"),
        ([OPEN], "x", "--shard: expected one of the shards in table t, got 'x'"),
    ],
)
def test_nothing_to_resume_is_the_callers_error(rows: list[ShardRow], shard: str | None, expected: str) -> None:
    """So that a script sees it."""
    with pytest.raises(ConfigurationError) as refused:
        halted(rows, shard, "t")
    assert str(refused.value) == expected


class UnansweringTable(MemoryTable):
    """The first write happens, and its answer is lost."""

    lost = False

    async def write(self, held: ShardRow, wanted: ShardRow, *, children: Sequence[ShardRow] = ()) -> None:
        """Write; say nothing the first time."""
        await super().write(held, wanted, children=children)
        if not self.lost:
            self.lost = True
            raise Unanswered("no answer")


@pytest.mark.parametrize("table", [MemoryTable(), UnansweringTable()], ids=["answering", "unanswering"])
async def test_a_row_is_opened_by_one_conditional_write(table: MemoryTable) -> None:
    """State, cause, revision and token change, nothing else; a lost answer is no failure."""
    await table.add([HALTED])
    await reopen(HALTED, table, SeededChance(seed=0), SystemClock())
    (row,) = await table.rows()
    opened = replace(HALTED, state="open", halted=None, revision=HALTED.revision + 1, token=row.token)
    assert row == opened
    assert row.token


async def test_whoever_opens_a_row_that_a_gap_halted_has_taken_note_of_the_gap() -> None:
    """And of no other: what is trimmed while a shard is paused is still to be reported."""
    for why, noted in ((HALTED_BY_GAP, True), ("paused by an operator", False)):
        table, row = MemoryTable(), replace(HALTED, halted=why)
        await table.add([row])
        await reopen(row, table, SeededChance(seed=0), SystemClock())
        [opened] = await table.rows()
        assert (opened.caught_up_at is not None) is noted


async def test_a_row_that_changed_meanwhile_is_left_alone() -> None:
    """Whoever changed it knows better."""
    table = MemoryTable()
    await table.add([HALTED])
    await reopen(HALTED, table, SeededChance(seed=0), SystemClock())
    before = await table.rows()
    with pytest.raises(ConfigurationError, match="shard shard-1: expected it to stand still, got a change"):
        await reopen(HALTED, table, SeededChance(seed=1), SystemClock())
    assert await table.rows() == before
