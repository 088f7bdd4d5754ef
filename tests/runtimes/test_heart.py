"""The heartbeat tells at once what was given back (rule 2), and nothing any more once it is over."""

from __future__ import annotations

import asyncio

from streamkit.core.leasing import Member
from streamkit.runtimes.fence import Fence
from streamkit.runtimes.heart import Heart
from streamkit.testing import MemoryTable, VirtualClock
from streamkit.testing.time import run_virtual

LEASE = 10.0


def test_a_shard_given_back_is_told_at_once_while_it_beats_and_harms_nobody_afterwards() -> None:
    """A worker lets go of its shards while its heart may have been stopped already."""
    broken: list[object] = []

    async def main() -> float:
        loop, clock, stop = asyncio.get_running_loop(), VirtualClock(), asyncio.Event()
        loop.set_exception_handler(lambda _loop, context: broken.append(context))
        table = MemoryTable()
        heart = Heart(
            Member("worker"), lease=LEASE, clock=clock, fence=Fence(lease=LEASE, clock=clock), well=lambda: True
        )
        await table.join(heart.member)
        heart.held = (("shard-1", None), ("shard-2", None))
        async with asyncio.TaskGroup() as group:
            beating = group.create_task(heart.beat(table, stop))
            await asyncio.sleep(LEASE / 8)
            heart.held = (("shard-1", None),)
            since = loop.time()
            while table.worker_rows["worker"].holds != ("shard-1",):
                await asyncio.sleep(0.01)
            told = loop.time() - since
            stop.set()
            await beating
            heart.held = ()
            await asyncio.sleep(0)
            return told

    assert run_virtual(main) < LEASE / 100
    assert not broken
