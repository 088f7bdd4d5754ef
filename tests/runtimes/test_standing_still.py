"""Keys, shards and workers that stand still: what follows them, who is told, and how they go on."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from streamkit import Poison, Record
from streamkit.cli.resume import reopen
from streamkit.errors import Throttled
from tests.runtimes.cluster import Cluster, simulate
from tests.runtimes.test_resharding import open_shards

HOUR = 3600.0
LAST_HASH = 2**128 - 1


def dead(cluster: Cluster, condition: str) -> set[int]:
    """Return the payloads of the letters of this condition."""
    return {each.record.json() for each in cluster.world.letters.letters if each.verdict.condition == condition}


@pytest.mark.parametrize("crash", [False, True], ids=["calm", "crashes"])
def test_parked_keys_stay_parked_over_a_split_and_a_merge(*, crash: bool) -> None:
    """A key lives on in a child: of both parents of a merge, whoever owns it (rule 21)."""

    async def main(cluster: Cluster) -> None:
        async def handle(record: Record) -> None:
            if record.json() < 6:
                raise Poison("bad")

        made = cluster.consumer(handle, on_dead_letter="park")
        worker = cluster.start(made)
        cluster.put(*range(3), keys=20)
        await cluster.until(lambda: len(dead(cluster, "Poison")) == 3)
        cluster.world.stream.split(open_shards(cluster)[0])
        cluster.put(*range(20, 40), keys=20)
        await cluster.until(lambda: len(dead(cluster, "Parked")) == 3)
        cluster.put(*range(3, 6), keys=20)
        await cluster.until(lambda: len(dead(cluster, "Poison")) == 6)
        await asyncio.sleep(10)
        if crash:
            worker.kill()
            cluster.start(made)
        cluster.world.stream.merge(*open_shards(cluster))
        cluster.put(*range(40, 60), keys=20)
        await cluster.until(lambda: len(cluster.seen) + len(cluster.world.letters.letters) == 46)
        assert dead(cluster, "Parked") == {20, 21, 22, 40, 41, 42, 43, 44, 45}
        assert cluster.seen == {*range(23, 40), *range(46, 60)}

    simulate(main)


def test_a_shard_halted_by_a_gap_goes_on_after_resume() -> None:
    """Who resumes has taken note of the gap: the same one does not halt the shard again."""

    async def main(cluster: Cluster) -> None:
        made = cluster.consumer(on_gap="halt")
        first = cluster.start(made)
        cluster.put(1)
        await cluster.until_handled(1)
        await asyncio.sleep(5)
        first.drain()
        await first.task
        cluster.put(2)
        await asyncio.sleep(26 * HOUR)
        cluster.put(3, 4)
        cluster.start(made)
        (row,) = cluster.world.table.shard_rows.values()
        await cluster.until(lambda: cluster.world.table.shard_rows[row.id].state == "halted")
        await asyncio.sleep(60)
        assert cluster.seen == {1}
        row = cluster.world.table.shard_rows[row.id]
        await reopen(row, cluster.world.table, cluster.world.chance, cluster.world.clock)
        await cluster.until_handled(3, 4, within=30)
        await asyncio.sleep(600)
        cluster.put(5)
        await cluster.until_handled(5)
        assert len(cluster.events("shard.halted")) == 1
        assert len(cluster.events("records.trimmed")) == 1

    simulate(main)


def test_a_shard_that_stands_still_with_much_in_memory_does_not_starve_another() -> None:
    """The budget is for reading ahead: whoever holds nothing may read an answer."""

    async def main(cluster: Cluster) -> None:
        gate = asyncio.Event()

        async def handle(record: Record) -> None:
            if record.key == "large":
                await gate.wait()

        stream = cluster.world.stream
        for _ in range(3):
            stream.put("large", "x" * 700_000, hash_key=0)
        made = cluster.consumer(handle, read_ahead_bytes=2**20, handler_timeout=timedelta(hours=1))
        cluster.start(made)
        await asyncio.sleep(5)
        for value in range(20):
            stream.put("small", value, hash_key=LAST_HASH)
            await cluster.until_handled(value, within=5)
        gate.set()
        await cluster.until(lambda: len(cluster.handled) == 23)
        for _ in range(3):
            stream.put("more", "y" * 700_000, hash_key=0)
        await cluster.until(lambda: len(cluster.handled) == 26, within=20)

    simulate(main, shards=2)


def test_a_head_that_is_held_up_is_told_of_once_a_minute_until_it_moves() -> None:
    """Records of other keys go on meanwhile; the frontier does not, and somebody should know why (rule 17)."""

    async def main(cluster: Cluster) -> None:
        gate = asyncio.Event()

        async def handle(record: Record) -> None:
            if record.json() == 1:
                await gate.wait()

        cluster.put(0, 1)
        cluster.start(cluster.consumer(handle, handler_timeout=timedelta(hours=1)))
        for value in range(2, 40):
            if value % 5 != 1:
                cluster.put(value)
            await asyncio.sleep(5)
        told = cluster.events("shard.held_up")
        assert [round(each.held_up_seconds / 60) for each in told] == [1, 2, 3]
        assert len({each.sequence for each in told}) == 1
        assert [each.waiting for each in told] == sorted(each.waiting for each in told)
        gate.set()
        await asyncio.sleep(300)
        assert len(cluster.events("shard.held_up")) == 3

    simulate(main)


def test_a_head_that_is_held_up_is_told_of_while_the_table_is_down_too() -> None:
    """Two troubles at once must not hide each other."""

    async def main(cluster: Cluster) -> None:
        async def handle(record: Record) -> None:
            await asyncio.sleep(1e6)

        cluster.put(1)
        cluster.start(cluster.consumer(handle, handler_timeout=timedelta(days=30)))
        await asyncio.sleep(5)

        async def throttled() -> None:
            raise Throttled("too fast")

        cluster.world.table.members = throttled  # type: ignore[assignment,method-assign]
        await asyncio.sleep(130)
        assert len(cluster.events("shard.held_up")) == 2

    simulate(main)
