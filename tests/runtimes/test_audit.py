"""Rows that are gone are found missing and made again: no hash key stays without a reader (rule 11)."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from streamkit import Checkpoint
from streamkit.core.leasing import ShardRow
from streamkit.core.lineage import HASH_KEYS, Shard
from streamkit.runtimes.audit import Audit
from streamkit.testing import ManualClock, Recorder
from tests.runtimes.cluster import LEASE, Cluster, simulate
from tests.runtimes.test_resharding import children_waited, open_shards

SOON = 2 * LEASE.total_seconds() + 5.0
"""The rows are read once a lease; the second listing comes a lease after the first."""


class CountedListings:
    """Counts how often the stream is listed from now on."""

    def __init__(self, cluster: Cluster) -> None:
        self.count = 0
        stream, listed = cluster.world.stream, cluster.world.stream.listed

        def counted() -> list[Shard]:
            self.count += 1
            return listed()

        stream.listed = counted  # type: ignore[method-assign]


async def settled(cluster: Cluster, *values: int) -> None:
    """Wait until these were handled and a checkpoint has passed them."""
    await cluster.until_handled(*values)
    await asyncio.sleep(5.0)


def forget(cluster: Cluster, shard: str) -> ShardRow:
    """Delete a row, as an operator's slip of the hand would."""
    return cluster.world.table.shard_rows.pop(shard)


def test_a_row_deleted_under_its_owner_is_made_again_where_it_was() -> None:
    """Nothing is lost; somebody remembers how far the shard was settled, so nothing is repeated either."""

    async def main(cluster: Cluster) -> None:
        cluster.put(*range(100), keys=20)
        for _ in range(2):
            cluster.start()
        await settled(cluster, *range(100))
        await asyncio.sleep(LEASE.total_seconds())
        deleted = forget(cluster, open_shards(cluster)[1])
        cluster.put(*range(100, 200), keys=20)
        assert await cluster.until(lambda: bool(cluster.events("hole.noticed")), within=SOON) >= LEASE.total_seconds()
        await cluster.until_handled(*range(200))
        assert not set(cluster.repeated) & set(range(100))
        assert cluster.disorder == []
        (hole, *_) = cluster.events("hole.noticed")
        assert (int(hole.first), int(hole.last)) == deleted.shard.hash_range
        assert hole.shards == (deleted.id,)
        assert cluster.world.table.shard_rows[deleted.id].epoch > deleted.epoch

    simulate(main, shards=3)


def test_a_row_that_nobody_remembers_is_read_from_the_beginning() -> None:
    """Deleted while all were down: records repeat, none is lost, and nobody claims that none was trimmed."""

    async def main(cluster: Cluster) -> None:
        cluster.put(*range(100), keys=20)
        first = cluster.start()
        await settled(cluster, *range(100))
        first.drain()
        await cluster.until(first.task.done)
        deleted = forget(cluster, open_shards(cluster)[0])
        cluster.put(*range(100, 120), keys=20)
        before = len(cluster.handled)
        cluster.start()
        await cluster.until_handled(*range(120))
        again = {each.value for each in cluster.handled[before:]}
        assert again >= {each.value for each in cluster.handled[:before] if each.record.shard == deleted.id}
        assert [event.shards for event in cluster.events("hole.noticed")] == [(deleted.id,)]
        assert [event.shard for event in cluster.events("records.trimmed")] == [deleted.id]

    simulate(main, shards=2)


def test_a_lost_generation_is_found_by_its_descendants() -> None:
    """Parent ended, children's rows gone, children split again: all is read, parents before children."""

    async def main(cluster: Cluster) -> None:
        stream = cluster.world.stream
        cluster.put(*range(50), keys=20)
        worker = cluster.start()
        stream.split(open_shards(cluster)[0])
        await settled(cluster, *range(50))
        worker.drain()
        await cluster.until(worker.task.done)
        for shard in open_shards(cluster):
            forget(cluster, shard)
        cluster.put(*range(50, 100), keys=20)
        stream.split(open_shards(cluster)[0])
        cluster.put(*range(100, 150), keys=20)
        cluster.start()
        cluster.start()
        await cluster.until_handled(*range(150))
        assert cluster.disorder == []
        children_waited(cluster)

    simulate(main)


def test_an_ended_row_that_was_deleted_is_not_read_again() -> None:
    """A child of it was taken once, so it had ended (rule 11): no repeats, no order broken, whoever remembers it."""

    async def main(cluster: Cluster) -> None:
        cluster.put(*range(50), keys=20)
        worker = cluster.start()
        parent = open_shards(cluster)[0]
        cluster.world.stream.split(parent)
        cluster.put(*range(50, 60), keys=20)
        await settled(cluster, *range(60))
        worker.drain()
        await cluster.until(worker.task.done)
        forget(cluster, parent)
        cluster.put(*range(60, 80), keys=20)
        cluster.start()
        await cluster.until_handled(*range(60, 80))
        assert cluster.repeated == []
        assert cluster.world.table.shard_rows[parent].state == "ended"
        assert cluster.events("hole.noticed") == []

    simulate(main)


def test_a_reshard_in_flight_is_no_hole_and_costs_no_listing() -> None:
    """A healthy fleet lists as often as before: once a minute, and when a shard has ended."""

    async def main(cluster: Cluster) -> None:
        for _ in range(3):
            cluster.start(cluster.consumer(checkpoint=Checkpoint(lease=LEASE)))
        cluster.put(*range(20), keys=10)
        await settled(cluster, *range(20))
        listings = CountedListings(cluster)
        await asyncio.sleep(600)
        assert listings.count <= 3 * 10 + 3
        for _ in range(3):
            cluster.world.stream.split(open_shards(cluster)[0])
            cluster.put(*range(20, 60), keys=10)
            await asyncio.sleep(30)
        assert cluster.events("hole.noticed") == []

    simulate(main, shards=2)


def test_a_hole_that_no_listing_can_fill_is_reported_again_and_again() -> None:
    """The service lists no shard with these keys: nothing to make, and nobody is told that all is well."""
    clock, recorder = ManualClock(), Recorder()
    audit = Audit("TRIM_HORIZON", lease=10.0, worker="me", clock=clock, report=recorder)
    half = Shard("s", (), (0, HASH_KEYS // 2 - 1))
    audit.note([ShardRow(half, "TRIM_HORIZON")])
    for seconds in range(31):
        if audit.wants_listing():
            assert audit.rows_to_make([half]) == []
        assert recorder.counts["hole.noticed"] == seconds // 10
        clock.advance(timedelta(seconds=1))
