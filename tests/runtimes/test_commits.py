"""A lease and its transactions in doubt: what was cancelled never takes effect later (rules 5, 25)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest

from streamkit.core.attributes import image
from streamkit.core.leasing import ShardRow
from streamkit.core.lineage import Shard
from streamkit.core.positions import Position, Progress
from streamkit.core.transactions import Expression, Write
from streamkit.engine.retry import FullJitter
from streamkit.errors import Cancelled, LeaseLost
from streamkit.runtimes.lease import Lease, Step, take
from streamkit.testing import MemoryTable, Recorder, SeededChance, run_virtual

ABSENT = Expression("attribute_not_exists(id)", {}, {})


async def leased() -> tuple[Lease, MemoryTable]:
    """A lease over a table in memory."""
    table, chance = MemoryTable(), SeededChance()
    row = ShardRow(Shard("shard", (), (0, 9)), "TRIM_HORIZON")
    await table.add([row])
    held = await take(table, row, me="me", chance=chance)
    assert held is not None
    wait = FullJitter(initial=timedelta(seconds=0.1), maximum=timedelta(seconds=1), chance=chance)
    return Lease(held, table, chance=chance, wait=wait, report=Recorder()), table


def putting(key: str, *, condition: Expression = ABSENT) -> Write:
    """A put of one item."""
    return Write("put", "t", image({"id": key}), item=image({"id": key}), condition=condition, asked=True)


def step(table: MemoryTable, number: int, writes: Sequence[Write], done: list[int]) -> Callable[[], Step]:
    """A step to this number, with these writes."""

    async def send(held: ShardRow, wanted: ShardRow) -> None:
        await table.commit(held, wanted, writes)

    changes = {"progress": Progress(Position(str(number)))}
    return lambda: Step(changes, send=send, applied=lambda: done.append(number))


def test_a_cancelled_step_leaves_the_row_and_the_next_goes_on() -> None:
    """Its answer settles it: nothing of it happened."""

    async def main() -> None:
        lease, table = await leased()
        done: list[int] = []
        await lease.commit(step(table, 1, [putting("a")], done))
        with pytest.raises(Cancelled):
            await lease.commit(step(table, 2, [putting("a"), putting("b")], done))
        await lease.commit(step(table, 3, [putting("b")], done))
        assert done == [1, 3]
        assert table.shard_rows["shard"].progress == Progress(Position("3"))
        assert table.shard_rows["shard"] == lease.row

    run_virtual(main)


def test_a_step_cancelled_after_a_lost_request_is_sealed() -> None:
    """The first request is late, the second is cancelled; the first lands after all, and finds another revision."""

    async def main() -> None:
        lease, table = await leased()
        done: list[int] = []
        await lease.commit(step(table, 1, [putting("a")], done))
        table.inject("late", on="commit")
        with pytest.raises(Cancelled):
            await lease.commit(step(table, 2, [putting("a")], done))
        table.items.apply([Write("delete", "t", image({"id": "a"}))])
        assert table.land() == 0
        assert table.items["t"] == []
        await lease.commit(step(table, 3, [putting("b")], done))
        assert (done, table.shard_rows["shard"]) == ([1, 3], lease.row)

    run_virtual(main)


def test_a_step_that_landed_behind_its_cancellation_counts_as_applied() -> None:
    """The first request lands between the second's cancellation and the seal."""

    class LandingTable(MemoryTable):
        """What is late lands right before the next plain write of a row."""

        async def write(self, held: ShardRow, wanted: ShardRow, *, children: Sequence[ShardRow] = ()) -> None:
            self.items.apply([Write("delete", "t", image({"id": "a"}))])
            assert self.land() == 1
            await super().write(held, wanted, children=children)

    async def main() -> None:
        lease, plain = await leased()
        table = LandingTable()
        table.shard_rows = plain.shard_rows
        lease._leases = table  # noqa: SLF001 # type: ignore[attr-defined] # the same rows behind another wire
        done: list[int] = []
        table.items.apply([putting("a")])
        table.inject("late", on="commit")
        await lease.commit(step(table, 2, [putting("a")], done))
        assert (done, table.shard_rows["shard"]) == ([2], lease.row)

    run_virtual(main)


def test_a_stale_epoch_cancels_the_whole_transaction() -> None:
    """The shard is lost, and nothing was written."""

    async def main() -> None:
        lease, table = await leased()
        table.steal("shard", by="thief")
        with pytest.raises(LeaseLost):
            await lease.commit(step(table, 1, [putting("a")], []))
        assert table.items["t"] == []

    run_virtual(main)


def test_nothing_is_sent_once_the_fence_is_down() -> None:
    """Not even what was decided before."""

    async def main() -> None:
        lease, table = await leased()
        with pytest.raises(LeaseLost):
            await lease.commit(lambda: fenced(step(table, 1, [putting("a")], [])()))
        assert table.requests["commit"] == 0

    run_virtual(main)


def fenced(made: Step) -> Step:
    """The same step, behind a fence that is down."""
    return Step(made.changes, send=made.send, may_send=lambda: False)
