"""What a shard's row tells an operator, and what an operator may ask through it."""

from __future__ import annotations

import asyncio
from functools import partial

from streamkit import Poison, Record
from streamkit.core.leasing import ShardRow, Vitals
from tests.runtimes.cluster import Cluster, simulate


def row_of(cluster: Cluster) -> ShardRow:
    """Return the one row."""
    [row] = cluster.world.table.shard_rows.values()
    return row


def vitals_of(cluster: Cluster) -> Vitals:
    """Return its vital signs, as far as there are any."""
    rows = [*cluster.world.table.shard_rows.values()]
    return (rows[0].vitals if rows else None) or Vitals()


def has_settled(cluster: Cluster, records: int) -> bool:
    """Whether so many records are settled, as far as is told."""
    return vitals_of(cluster).settled == records


def test_an_outage_and_its_end_are_told_in_the_row() -> None:
    """Although no checkpoint is due: nothing settles while everything fails."""

    async def main(cluster: Cluster) -> None:
        down = True

        async def handle(_: Record) -> None:
            if down:
                raise OSError

        cluster.start(cluster.consumer(handle))
        cluster.put(*range(20))
        await cluster.until(lambda: vitals_of(cluster).paused is not None, within=10.0)
        paused = vitals_of(cluster)
        assert (paused.paused or "").startswith("OSError at test_vitals.py:")
        assert paused.oldest is not None
        assert paused.waiting == 20
        down = False
        await cluster.until(lambda: vitals_of(cluster).paused is None, within=120.0)
        assert vitals_of(cluster).settled == 20
        assert vitals_of(cluster).oldest is None

    simulate(main)


def test_retries_and_dead_letters_are_counted_over_owners() -> None:
    """A successor goes on counting."""

    async def main(cluster: Cluster) -> None:
        async def handle(record: Record) -> None:
            if record.json() % 10 == 7:
                raise Poison("seven")

        for values in (range(20), range(20, 40)):
            cluster.put(*values)
            worker = cluster.start(cluster.consumer(handle))
            await cluster.until(partial(has_settled, cluster, values.stop))
            worker.drain()
            await worker.task
        assert (vitals_of(cluster).settled, vitals_of(cluster).dead) == (40, 4)

    simulate(main)


def test_a_shard_that_is_held_up_says_so_without_a_checkpoint_being_due() -> None:
    """One record that does not end is worth one write; then it is quiet."""

    async def main(cluster: Cluster) -> None:
        gate = asyncio.Event()

        async def handle(_: Record) -> None:
            await gate.wait()

        cluster.start(cluster.consumer(handle))
        cluster.put(1)
        await cluster.until(lambda: vitals_of(cluster).held_up is not None, within=20.0)
        before = cluster.world.table.requests["write"]
        await asyncio.sleep(25)
        assert cluster.world.table.requests["write"] == before
        gate.set()
        await cluster.until(lambda: vitals_of(cluster).settled == 1)
        assert vitals_of(cluster).held_up is None

    simulate(main)


def test_the_owner_drains_and_halts_a_shard_that_an_operator_asks_for() -> None:
    """Within a lease, whatever was under way settled; nobody takes it, and nothing is lost or repeated after."""

    async def main(cluster: Cluster) -> None:
        first, second = cluster.start(), cluster.start()
        cluster.put(*range(10))
        await cluster.until(lambda: vitals_of(cluster).settled == 10)
        await cluster.world.table.ask(row_of(cluster), "paused by an operator")
        took = await cluster.until(lambda: row_of(cluster).state == "halted")
        assert took <= 12.0
        assert (row_of(cluster).halted, row_of(cluster).owner) == ("paused by an operator", None)
        cluster.put(*range(10, 20))
        await asyncio.sleep(30)
        assert sorted(cluster.values) == list(range(10))
        assert not cluster.events("shard.lost", of=first) + cluster.events("shard.lost", of=second)

    simulate(main)


def test_a_request_lapses_with_the_owner_it_was_made_to() -> None:
    """A successor is not bound by what was asked of another."""

    async def main(cluster: Cluster) -> None:
        worker = cluster.start()
        cluster.put(1)
        await cluster.until(lambda: vitals_of(cluster).settled == 1)
        await cluster.world.table.ask(row_of(cluster), "paused by an operator")
        worker.kill()
        cluster.start()
        await cluster.until(lambda: row_of(cluster).epoch == 2)
        await asyncio.sleep(30)
        assert row_of(cluster).state == "open"

    simulate(main)
