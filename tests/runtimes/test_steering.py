"""Steering: shards are halted, moved and opened from outside, and no worker is robbed of one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from streamkit import Record
from streamkit.core.kpl import DECODING
from streamkit.core.leasing import ShardRow
from streamkit.core.positions import Position
from streamkit.errors import ConfigurationError, Refused
from streamkit.runtimes import places
from streamkit.runtimes.steering import PAUSED, Steering
from streamkit.testing import MemoryTable
from streamkit.testing.kinesis.errors import KinesisError
from tests.runtimes.cluster import LEASE, Cluster, simulate
from tests.runtimes.test_vitals import row_of, vitals_of


def steering(cluster: Cluster) -> Steering:
    """Steer from outside."""
    world = cluster.world
    return Steering(
        world.table,
        world.table,
        world.table,
        clock=world.clock,
        chance=world.chance,
        lease_seconds=LEASE.total_seconds(),
    )


async def moved(steer: Steering, row: ShardRow, wanted: ShardRow) -> ShardRow:
    """Write a new position and let the shard go on."""
    return await steer.amend(
        row,
        start=wanted.start,
        progress=wanted.progress,
        generation=wanted.generation,
        caught_up_at=wanted.caught_up_at,
        state="open",
        halted=None,
    )


@pytest.mark.parametrize("fate", ["lives", "was killed", "left", "is frozen"])
def test_a_shard_is_held_whatever_became_of_its_owner_and_goes_on_without_loss_or_repeat(fate: str) -> None:
    """A live owner drains; a dead one is declared so by whoever waits, as a worker would."""

    async def main(cluster: Cluster) -> None:
        worker = cluster.start()
        cluster.put(*range(10))
        await cluster.until(lambda: vitals_of(cluster).settled == 10)
        if fate in ("was killed", "is frozen"):
            worker.kill()
        elif fate == "left":
            worker.drain()
            await worker.task
        held = await steering(cluster).hold(row_of(cluster).id, PAUSED, within=60.0)
        assert (held.state, held.owner, held.revision) == ("halted", None, row_of(cluster).revision)
        if fate == "is frozen":
            worker.thaw()
        other = cluster.start()
        cluster.put(*range(10, 20))
        await asyncio.sleep(60)
        assert sorted(cluster.values) == list(range(10)), "it stands still"
        await steering(cluster).amend(held, state="open", halted=None)
        await cluster.until_handled(*range(20))
        assert cluster.repeated == []
        assert not other.task.done()

    simulate(main)


def test_a_shard_that_a_worker_owns_is_refused_and_left_alone() -> None:
    """By name of the worker, and with what to do."""

    async def main(cluster: Cluster) -> None:
        cluster.start()
        cluster.put(1)
        await cluster.until(lambda: vitals_of(cluster).settled == 1)
        before = row_of(cluster)
        with pytest.raises(
            ConfigurationError, match=r"expected no worker on it, got .*; stop the workers, or say --wait"
        ):
            await steering(cluster).free(before.id)
        assert row_of(cluster) == before

    simulate(main)


class HaltedMeanwhile(MemoryTable):
    """Between a worker's plan and the take that it planned, an operator halts the shard."""

    def __init__(self, halt: Callable[[], Awaitable[object]]) -> None:
        super().__init__()
        self._halt = halt
        self.late = False
        """Whether the next take is late."""
        self.refused: list[ShardRow] = []
        """The rows that takes were planned from, and refused for."""

    async def take(self, seen: ShardRow, wanted: ShardRow) -> ShardRow:
        """Come too late once."""
        if self.late:
            self.late = False
            await self._halt()
        try:
            return await super().take(seen, wanted)
        except Refused:
            self.refused.append(seen)
            raise


def test_a_worker_that_planned_to_take_a_shard_that_an_operator_halted_is_refused() -> None:
    """The operator's write is a new epoch: the take is refused, and nobody runs what stands still."""

    async def main(cluster: Cluster) -> None:
        async def halt() -> None:
            await steering(cluster).hold(row_of(cluster).id, PAUSED, within=1.0)

        cluster.world.table = table = HaltedMeanwhile(halt)
        worker = cluster.start()
        cluster.put(1)
        await cluster.until(lambda: vitals_of(cluster).settled == 1)
        worker.drain()
        await worker.task
        planned, table.late = row_of(cluster), True
        cluster.start()
        cluster.put(2)
        await cluster.until(lambda: bool(table.refused))
        await asyncio.sleep(60)
        assert [(row.state, row.owner, row.epoch) for row in table.refused] == [("open", None, planned.epoch)]
        found = row_of(cluster)
        assert (found.state, found.owner, found.epoch) == ("halted", None, planned.epoch + 1)
        assert cluster.values == [1]

    simulate(main)


def test_a_reset_reads_everything_again_in_a_new_generation() -> None:
    """From the oldest record, under a running worker that gives the shard back for it."""

    async def main(cluster: Cluster) -> None:
        cluster.start()
        cluster.put(*range(10))
        await cluster.until(lambda: vitals_of(cluster).settled == 10)
        steer = steering(cluster)
        held = await steer.hold(row_of(cluster).id, "reset", within=60.0)
        wanted = places.started_at(held, "TRIM_HORIZON")
        assert (wanted.generation, wanted.progress.frontier) == (1, None)
        await moved(steer, held, wanted)
        await cluster.until(lambda: len(cluster.values) == 20)
        assert sorted(cluster.values) == sorted([*range(10), *range(10)])
        assert not cluster.events("records.trimmed")

    simulate(main)


def test_a_position_is_set_after_a_record_that_the_stream_has_and_no_other() -> None:
    """No number is made up: a frontier beyond the shard would lose what is still to come."""

    async def main(cluster: Cluster) -> None:
        cluster.start()
        cluster.put(*range(10))
        await cluster.until(lambda: vitals_of(cluster).settled == 10)
        steer = steering(cluster)
        held = await steer.hold(row_of(cluster).id, "set", within=60.0)
        fifth = next(each.record for each in cluster.handled if each.value == 5)
        record = await places.the_record(cluster.world.source, held, fifth.sequence_number)
        await moved(steer, held, places.settled_up_to(held, record))
        await cluster.until(lambda: len(cluster.values) == 14)
        assert cluster.values[10:] == [6, 7, 8, 9]
        with pytest.raises((ConfigurationError, KinesisError)):
            await places.the_record(cluster.world.source, held, str(fifth.sequence + 1))

    simulate(main)


@pytest.mark.parametrize("ahead", [False, True], ids=["at the frontier", "with others done ahead of it"])
def test_a_skipped_record_is_a_letter_and_nothing_else_is_lost_or_repeated(*, ahead: bool) -> None:
    """Its letter is durable; the records around it are handled once."""

    async def main(cluster: Cluster) -> None:
        async def handle(record: Record) -> None:
            if record.json() == 3 and not cluster.world.letters.letters:
                await asyncio.sleep(10_000)

        made = cluster.consumer(handle, dedupe_key=Record.text)
        cluster.start(made, grace=1.0)
        cluster.put(*range(10))
        await cluster.until_handled(*[value for value in range(10) if value % 5 != 3])
        if not ahead:
            cluster.put(10)
        steer = steering(cluster)
        held = await steer.hold(row_of(cluster).id, "skip", within=60.0)
        source = cluster.world.source
        numbers = [each.record.sequence_number for each in cluster.handled]
        all_records = (await source.reader(held.shard, "TRIM_HORIZON").read()).records
        [third] = [each for each in all_records if each.json() == 3]
        assert third.sequence_number not in numbers
        wanted, records = await places.skipped(
            made, source, held, third.sequence_number, decoding=DECODING | made.max_record_bytes << 8, most=100
        )
        assert [each.json() for each in records] == [3]
        letters, ledger = cluster.world.letters, cluster.world.ledger
        assert "3" in ledger.held, "it had begun"
        wanted = await places.send_skipped(made, wanted, records, letters, ledger, stream_arn="arn", now=0.0)
        assert "3" not in ledger.held, "the event may be put again"
        await moved(steer, held, wanted)
        expected = set(range(11 - ahead)) - {3}
        await cluster.until_handled(*expected)
        await asyncio.sleep(30)
        assert cluster.repeated == []
        assert cluster.seen == expected
        [letter] = cluster.world.letters.letters
        assert (letter.record.json(), letter.verdict.condition) == (3, "Skipped")
        assert row_of(cluster).progress.frontier == Position(all_records[-1].sequence_number)

    simulate(main)
