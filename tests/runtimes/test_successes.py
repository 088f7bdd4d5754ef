"""A worker tells of what it handled before a checkpoint passes it: at least once, whatever interrupts."""

from __future__ import annotations

import asyncio

from streamkit import Sqs
from tests.runtimes.cluster import Cluster, simulate


def told(cluster: Cluster) -> list[int]:
    """Which payloads were told to be handled, in order, repeats included."""
    return [success.record.json() for success in cluster.world.successes.successes]


async def covered(cluster: Cluster) -> set[int]:
    """Which payloads the checkpoints have passed."""
    found = {row.id: row.progress.frontier for row in await cluster.world.table.rows()}
    frontiers = {shard: int(frontier.sequence_number) for shard, frontier in found.items() if frontier}
    return {each.value for each in cluster.handled if each.record.sequence <= frontiers.get(each.record.shard, -1)}


def test_a_kill_in_any_moment_leaves_no_success_untold() -> None:
    """What a checkpoint covers was told; what it does not is handled and told again."""

    async def main(cluster: Cluster) -> None:
        made = cluster.consumer(on_success=Sqs("done"))
        cluster.put(*range(200), keys=7)
        for kill in range(6):
            worker = cluster.start(made)
            await asyncio.sleep(0.4 + 0.7 * kill)
            worker.kill()
            assert await covered(cluster) <= set(told(cluster))
            await asyncio.sleep(12)
        cluster.start(made)
        await cluster.until(lambda: set(told(cluster)) == set(range(200)))

    simulate(main, shards=2)


def test_an_outage_of_its_queue_stops_checkpoints_and_repeats_nothing() -> None:
    """Nothing is passed meanwhile; a drain within it gives the records back, untold."""

    async def main(cluster: Cluster) -> None:
        made = cluster.consumer(on_success=Sqs("done"))
        cluster.world.successes.outage = True
        cluster.put(*range(20))
        first = cluster.start(made)
        await asyncio.sleep(120)
        assert await covered(cluster) == set()
        first.drain()
        await cluster.until(first.task.done)
        assert await covered(cluster) == set()
        cluster.world.successes.outage = False
        cluster.start(made)
        await cluster.until(lambda: sorted(told(cluster)) == list(range(20)))
        assert cluster.disorder == []

    simulate(main)
