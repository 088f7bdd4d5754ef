"""Parked keys go on once their letters are settled, in order, beside workers that run (rules 21, 30)."""

from __future__ import annotations

import asyncio

from streamkit import Poison, Record
from streamkit.core.settlement import digest
from streamkit.runtimes.unparking import hold_parked, let_go, parked_keys
from tests.runtimes.cluster import Cluster, simulate
from tests.runtimes.test_resharding import open_shards
from tests.runtimes.test_steering import steering


def test_a_key_let_go_is_handled_again_also_after_a_split() -> None:
    """In the parent that parked it and in its children, however often they change hands."""

    async def main(cluster: Cluster) -> None:
        async def handle(record: Record) -> None:
            if record.json() < 2:
                raise Poison("bad")

        made = cluster.consumer(handle, on_dead_letter="park")
        worker = cluster.start(made)
        cluster.put(*range(10), keys=10)
        await cluster.until(lambda: len(cluster.world.letters.letters) == 2)
        cluster.world.stream.split(open_shards(cluster)[0])
        cluster.put(*range(10, 20), keys=10)
        await cluster.until(lambda: len(cluster.world.letters.letters) == 4)
        await asyncio.sleep(10)
        table, steer = cluster.world.table, steering(cluster)
        assert parked_keys(await table.rows()) == {digest("key-0"), digest("key-1")}
        held = await hold_parked(table, steer, {digest("key-0")}, within=60.0)
        cluster.put(*range(20, 30), keys=10)
        await let_go(steer, held, {digest("key-0")})
        await cluster.until(lambda: 20 in cluster.seen)
        await cluster.until(lambda: len(cluster.world.letters.letters) == 5)
        assert parked_keys(await table.rows()) == {digest("key-1")}
        worker.drain()
        await worker.task
        cluster.start(made)
        cluster.put(*range(30, 40), keys=10)
        await cluster.until_handled(30, *range(32, 40))
        await cluster.until(lambda: len(cluster.world.letters.letters) == 6)
        assert cluster.repeated == []

    simulate(main)
