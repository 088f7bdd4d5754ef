"""Splits and merges under way: children after parents, both parents of a merge, nobody's end missed (rules 11, 12)."""

from __future__ import annotations

import asyncio
import random

import pytest

from streamkit import Record
from streamkit.events import ShardEnded
from tests.runtimes.cluster import TICK, Cluster, simulate


def order_of_ends(cluster: Cluster) -> dict[str, float]:
    """Return when each shard was settled to its end."""
    return {event.shard: at for at, _, event in cluster.log if isinstance(event, ShardEnded)}


def children_waited(cluster: Cluster) -> None:
    """Check that no record of a child was handled before all its parents' were."""
    ends = order_of_ends(cluster)
    rows = cluster.world.table.shard_rows
    for each in cluster.handled:
        for parent in rows[each.record.shard].shard.parents:
            assert each.at >= ends[parent], f"{each.record.shard} started before {parent} ended"


@pytest.mark.parametrize("seed", range(3))
def test_order_per_key_holds_over_splits_and_merges(seed: int) -> None:
    """With slow handlers, several workers and a crash: a key moves to its child only when its parent is settled."""

    async def main(cluster: Cluster) -> None:
        chance = random.Random(seed)
        stream = cluster.world.stream

        async def handle(record: Record) -> None:
            await asyncio.sleep(chance.random() * 0.3)

        made = cluster.consumer(handle, concurrency=5)
        workers = [cluster.start(made) for _ in range(3)]
        number = 0
        for step in range(5):
            cluster.put(*range(number, number + 60), keys=30)
            number += 60
            leaves = open_shards(cluster)
            if step % 2:
                stream.merge(*leaves[:2])
            else:
                stream.split(leaves[step % len(leaves)])
            await asyncio.sleep(chance.random() * 4)
            if step == 3:
                workers[seed % 3].kill()
        await cluster.until_handled(*range(number))
        assert cluster.disorder == []
        children_waited(cluster)

    simulate(main, shards=1, seed=seed)


def open_shards(cluster: Cluster) -> list[str]:
    """Return the shards that take records, in the order of their hash keys: neighbours are adjacent."""
    listed = cluster.world.stream.listed()
    parents = {parent for shard in listed for parent in shard.parents}
    return [
        shard.id for shard in sorted(listed, key=lambda shard: shard.hash_range or (0, 0)) if shard.id not in parents
    ]


def test_a_merge_waits_for_both_parents() -> None:
    """Whichever ends first makes the child's row; nobody takes it before the other has ended."""

    async def main(cluster: Cluster) -> None:
        gate = asyncio.Event()
        blocked: set[str] = set()

        async def handle(record: Record) -> None:
            if not blocked:
                blocked.add(record.shard)
            if record.shard in blocked:
                await gate.wait()

        cluster.put(*range(40), keys=40)
        first, second = (shard.id for shard in cluster.world.stream.listed())
        cluster.world.stream.merge(first, second)
        cluster.put(*range(40, 60), keys=40)
        cluster.start(cluster.consumer(handle))
        cluster.start(cluster.consumer(handle))
        await asyncio.sleep(20)
        assert len(order_of_ends(cluster)) == 1
        assert not cluster.seen & set(range(40, 60))
        gate.set()
        await cluster.until_handled(*range(60))
        children_waited(cluster)

    simulate(main, shards=2)


def test_children_are_found_and_read_within_seconds_of_their_parents_end() -> None:
    """Generation after generation, by splits and by a merge: a poll until the end is seen, a look until it is taken."""

    async def main(cluster: Cluster) -> None:
        stream = cluster.world.stream
        cluster.start()
        cluster.start()
        for change in ("split", "split", "merge", "split"):
            await asyncio.sleep(60)
            leaves, before = open_shards(cluster), {each.id for each in stream.listed()}
            if change == "merge":
                stream.merge(*leaves[:2])
            else:
                stream.split(leaves[-1])
            young = {each.id for each in stream.listed()} - before
            await soon_taken(cluster, young)
        assert len(cluster.events("shard.ended")) == 5

    simulate(main)


async def soon_taken(cluster: Cluster, shards: set[str]) -> None:
    """Wait until each of these shards was taken by somebody."""
    await cluster.until(lambda: shards <= {event.shard for event in cluster.events("shard.taken")}, within=3 * TICK)


def test_parents_trimmed_long_ago_count_as_finished() -> None:
    """Neither in the listing nor in a row: their records are gone, their children start."""

    async def main(cluster: Cluster) -> None:
        cluster.put(*range(10))
        cluster.world.stream.split(cluster.world.stream.listed()[0].id)
        await asyncio.sleep(25 * 3600)
        assert len(cluster.world.stream.listed()) == 2
        cluster.put(*range(10, 30), keys=10)
        cluster.start()
        await cluster.until_handled(*range(10, 30))
        assert not cluster.seen & set(range(10))

    simulate(main)


def test_a_shard_closed_long_ago_is_read_to_its_end_before_its_children() -> None:
    """A first start in the middle of a lineage."""

    async def main(cluster: Cluster) -> None:
        async def handle(record: Record) -> None:
            await asyncio.sleep(0.2)

        cluster.put(*range(50), keys=10)
        cluster.world.stream.split(cluster.world.stream.listed()[0].id)
        cluster.put(*range(50, 100), keys=10)
        cluster.start(cluster.consumer(handle))
        cluster.start(cluster.consumer(handle))
        await cluster.until_handled(*range(100))
        assert cluster.disorder == []
        assert cluster.repeated == []
        children_waited(cluster)

    simulate(main)


def test_an_end_whose_answer_was_lost_is_written_once() -> None:
    """Making children is idempotent; the end is recognised by its token."""

    async def main(cluster: Cluster) -> None:
        cluster.put(*range(10), keys=10)
        cluster.world.stream.split(cluster.world.stream.listed()[0].id)
        cluster.put(*range(10, 20), keys=10)
        cluster.start()
        cluster.world.table.inject("lost", on="write", times=3)
        await cluster.until_handled(*range(20))
        assert cluster.repeated == []
        assert len(cluster.world.table.shard_rows) == 3

    simulate(main)
