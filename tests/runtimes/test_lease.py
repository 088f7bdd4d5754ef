"""One writer, one write in flight, nothing newer on a guess (rules 1, 4, 5); the fence and the heart (rules 2, 3)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streamkit.core.leasing import Member, ShardRow
from streamkit.core.lineage import Shard
from streamkit.core.positions import Position, Progress
from streamkit.engine.retry import FullJitter
from streamkit.errors import LeaseLost
from streamkit.runtimes.fence import FENCE, Fence
from streamkit.runtimes.heart import Heart
from streamkit.runtimes.lease import Lease, take
from streamkit.testing import MemoryTable, Recorder, SeededChance, VirtualClock, run_virtual

SHARD = "shardId-000000000000"


class SpiedTable(MemoryTable):
    """Remembers every write as it was sent."""

    def __init__(self) -> None:
        super().__init__(latency=lambda: 0.05)
        self.sent: list[tuple[ShardRow, ShardRow]] = []
        self.under_way = 0

    async def write(self, held: ShardRow, wanted: ShardRow, *, children: object = ()) -> None:
        """Note the write."""
        assert self.under_way == 0, "two writes in flight"
        self.under_way += 1
        self.sent.append((held, wanted))
        try:
            await super().write(held, wanted, children=children)  # type: ignore[arg-type]
        finally:
            self.under_way -= 1


async def held(table: MemoryTable) -> tuple[Lease, Recorder]:
    """Take the one shard."""
    chance, report = SeededChance(), Recorder()
    await table.add([ShardRow(Shard(SHARD), "TRIM_HORIZON")])
    row = await take(table, (await table.rows())[0], me="me", chance=chance)
    assert row is not None
    wait = FullJitter(initial=timedelta(seconds=0.1), maximum=timedelta(seconds=2), chance=chance)
    return Lease(row, table, chance=chance, wait=wait, report=report), report


def at(number: int) -> Progress:
    """Return progress up to a record."""
    return Progress(frontier=Position(str(number)))


@pytest.mark.parametrize("trouble", ["throttled", "lost", "late"])
def test_a_write_in_doubt_is_sent_again_to_the_byte(trouble: Literal["throttled", "lost", "late"]) -> None:
    """With the same token and revision, before anything newer, until it is known."""

    async def main() -> None:
        table = SpiedTable()
        lease, report = await held(table)
        table.inject(trouble, on="write", times=3)
        await lease.write(progress=at(3))
        assert len(set(table.sent)) == 1
        assert len(table.sent) == 4
        assert len(report.named("checkpoint.delayed")) == 3
        await lease.write(progress=at(5))
        assert table.land() == 0, "the late one is refused by its revision"
        assert table.shard_rows[SHARD] == lease.row
        assert lease.row.progress == at(5)

    run_virtual(main)


def test_a_write_that_was_applied_and_never_answered_is_recognised_by_its_token() -> None:
    """Refused, and yet its own: the row as it stands says so."""

    async def main() -> None:
        table = SpiedTable()
        lease, _ = await held(table)
        table.inject("lost", on="write")
        await lease.write(progress=at(3))
        assert len(table.sent) == 2
        assert table.shard_rows[SHARD].revision == lease.row.revision

    run_virtual(main)


def test_after_a_cancelled_write_the_same_write_is_settled_first() -> None:
    """A cancelled writer leaves doubt: 1-3 may land yet, so 1-5 is built only on what is known (rule 5)."""

    async def main() -> None:
        table = SpiedTable()
        lease, _ = await held(table)
        table.inject("late", on="write")
        writing = asyncio.get_running_loop().create_task(lease.write(progress=at(3)))
        await asyncio.sleep(0.01)
        writing.cancel()
        await asyncio.sleep(0.2)
        await lease.write(progress=at(5))
        first, second, third = (wanted for _, wanted in table.sent)
        assert first == second
        assert (second.progress, third.progress) == (at(3), at(5))
        assert third.revision == second.revision + 1

    run_virtual(main)


def test_a_write_refused_for_another_owner_loses_the_lease() -> None:
    """Nothing more is written."""

    async def main() -> None:
        table = SpiedTable()
        lease, _ = await held(table)
        stolen = table.steal(SHARD, by="thief")
        with pytest.raises(LeaseLost, match="thief"):
            await lease.write(progress=at(3))
        assert table.shard_rows[SHARD] == stolen

    run_virtual(main)


def test_a_write_that_lands_after_a_take_changes_nothing() -> None:
    """The take seals (rule 4): what was sent before it is refused by the epoch."""

    async def main() -> None:
        table = SpiedTable()
        lease, _ = await held(table)
        table.inject("late", on="write")
        writing = asyncio.get_running_loop().create_task(lease.write(progress=at(3)))
        await asyncio.sleep(0.06)
        writing.cancel()
        successor = await take(table, (await table.rows())[0], me="successor", chance=SeededChance(2))
        assert successor is not None
        assert table.land() == 0
        assert successor.progress == Progress()

    run_virtual(main)


def test_a_take_raises_the_epoch_and_returns_the_row_as_it_is_then() -> None:
    """Also where the row moved on since it was seen, and where the shard was mine before."""

    async def main() -> None:
        table = SpiedTable()
        lease, _ = await held(table)
        seen = (await table.rows())[0]
        await lease.write(progress=at(7))
        again = await take(table, seen, me="me", chance=SeededChance(3))
        assert again is not None
        assert (again.epoch, again.progress) == (2, at(7))
        assert await take(table, seen, me="other", chance=SeededChance(4)) is None
        with pytest.raises(LeaseLost):
            await lease.write(progress=at(8))

    run_virtual(main)


troubles = st.lists(st.sampled_from(["throttled", "lost", "late", "cancel", None]), max_size=8)


@given(plan=troubles, land=st.lists(st.booleans(), min_size=8, max_size=8), seed=st.integers(0, 2**16))
def test_whatever_happens_to_writes_the_row_is_the_last_one_known(
    plan: list[Literal["throttled", "lost", "late", "cancel"] | None], land: list[bool], seed: int
) -> None:
    """Lost and late answers, throttling and cancelled writers, in any order: the frontier never moves back."""

    async def main() -> None:
        table = SpiedTable()
        lease, _ = await held(table)
        reached = 0
        for number, (trouble, lands) in enumerate(zip(plan, land, strict=False), 1):
            if trouble is not None and trouble != "cancel":
                table.inject(trouble, on="write")
            writing = asyncio.get_running_loop().create_task(lease.write(progress=at(number)))
            if trouble == "cancel":
                await asyncio.sleep((seed % 11) / 100)
                writing.cancel()
                await asyncio.sleep(0.01)
            else:
                await writing
                assert lease.row.progress == at(number)
                assert table.shard_rows[SHARD] == lease.row
            if lands:
                table.land()
            frontier = table.shard_rows[SHARD].progress.frontier
            now = int(frontier.sequence_number) if frontier else 0
            assert now >= reached
            reached = now
        await lease.write(progress=at(99))
        table.land()
        assert table.shard_rows[SHARD] == lease.row

    run_virtual(main, seed=seed)


# The fence and the heart


class Ticking:
    """A clock a test moves."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def monotonic(self) -> float:
        """Return the seconds."""
        return self.seconds

    def now(self) -> object:
        """Nothing about ownership asks for the wall clock."""
        raise AssertionError


def fence() -> tuple[Fence, Ticking]:
    """Return a fence of ten seconds."""
    clock = Ticking()
    return Fence(lease=10, clock=clock), clock  # type: ignore[arg-type]


def test_the_fence_holds_for_nine_tenths_of_a_lease_after_a_beat_was_sent() -> None:
    """Sent, not answered: the others count from what they saw."""
    up, clock = fence()
    clock.seconds += 5
    up.confirm(sent=clock.seconds - 2)
    clock.seconds += FENCE * 10 - 2 - 0.001
    assert up.holds()
    clock.seconds += 0.001
    assert not up.holds()


def test_a_fence_that_is_down_stays_down() -> None:
    """Whoever slept may be dead to the others: a late confirmation changes nothing."""
    up, clock = fence()
    clock.seconds += 30
    assert not up.holds()
    up.confirm(sent=clock.seconds)
    assert not up.holds()


def test_an_older_confirmation_does_not_lower_the_fence() -> None:
    """Answers may come out of order."""
    up, clock = fence()
    up.confirm(sent=clock.seconds + 4)
    up.confirm(sent=clock.seconds)
    clock.seconds += 12
    assert up.holds()


def test_the_heart_beats_four_times_a_lease_and_tells_what_it_holds() -> None:
    """The counter grows by one a beat."""

    async def main() -> None:
        table, clock = MemoryTable(), VirtualClock()
        member = Member("me")
        await table.join(member)
        heart = Heart(member, lease=10, clock=clock, fence=Fence(lease=10, clock=clock), well=lambda: True)
        heart.held = ((SHARD, None),)
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(9.9, stop.set)
        await heart.beat(table, stop)
        assert table.worker_rows["me"] == replace(member, counter=4, holds=(SHARD,))

    run_virtual(main)


def test_the_heart_does_not_beat_while_the_worker_is_stuck() -> None:
    """It must not look alive; and the fence falls."""

    async def main() -> None:
        table, clock = MemoryTable(), VirtualClock()
        await table.join(Member("me"))
        guard = Fence(lease=10, clock=clock)
        heart = Heart(Member("me"), lease=10, clock=clock, fence=guard, well=lambda: False)
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(30, stop.set)
        await heart.beat(table, stop)
        assert table.requests["beat"] == 0
        assert not guard.holds()

    run_virtual(main)


def test_the_heart_of_a_worker_declared_dead_drops_the_fence() -> None:
    """At once, not when the lease runs out."""

    async def main() -> None:
        table, clock = MemoryTable(), VirtualClock()
        await table.join(Member("me"))
        guard = Fence(lease=10, clock=clock)
        heart = Heart(Member("me"), lease=10, clock=clock, fence=guard, well=lambda: True)
        assert await table.bury(Member("me"))
        await heart.beat(table, asyncio.Event())
        assert not guard.holds()

    run_virtual(main)


def test_beats_without_answer_do_not_hold_the_fence() -> None:
    """Only a confirmed beat counts, and the next one follows sooner."""

    async def main() -> None:
        table, clock = MemoryTable(), VirtualClock()
        await table.join(Member("me"))
        guard = Fence(lease=10, clock=clock)
        heart = Heart(Member("me"), lease=10, clock=clock, fence=guard, well=lambda: True)
        table.inject("throttled", on="beat", times=100)
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(9.5, stop.set)
        await heart.beat(table, stop)
        assert table.requests["beat"] > 10
        assert not guard.holds()

    run_virtual(main)
