"""Real workers over the world in memory, in virtual time."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import timedelta
from itertools import chain
from typing import TYPE_CHECKING

import pytest

from streamkit import Consumer, Kinesis, Poison, Record, Sqs, consumer
from streamkit.errors import Missing
from streamkit.runtimes.worker import Options, Worker
from streamkit.runtimes.world import World as WorldPort
from streamkit.testing import World, run_virtual
from streamkit.testing.time import SeededChance, VirtualClock, VirtualLoop

if TYPE_CHECKING:
    from streamkit.core.settlement import Tally

KEYS = 20


def a_worker(world: World, of: Consumer, *, name: str = "a") -> Worker:
    """A worker as `streamkit run` makes it, with a clock and chance of its own, until the stream is idle."""
    return Worker(
        [of],
        world,
        clock=VirtualClock(),
        chance=SeededChance().fork(name),
        report=world.report,
        options=Options(until_idle=timedelta(seconds=30)),
    )


def collecting(into: dict[str, list[int]]) -> Consumer:
    """A consumer that keeps the numbers of each key, and takes one in fifty for poison."""

    @consumer("flights", source=Kinesis("stream"), dead_letters=Sqs("dlq"))
    async def flights(record: Record) -> None:
        number = record.json(int)
        if number % 50 == 49:
            raise Poison("no arrival delay")
        await asyncio.sleep(0.05)
        into[record.key].append(number)

    return flights


def test_a_worker_settles_a_stream_in_virtual_time() -> None:
    """Everything put is handled in order per key, or dead-lettered; minutes cost a moment."""
    handled: dict[str, list[int]] = defaultdict(list)

    async def main() -> tuple[Tally, World]:
        world = World(shards=4)
        for number in range(1000):
            world.stream.put(f"key-{number % KEYS}", number)
        return await a_worker(world, collecting(handled)).run(), world

    tally, world = run_virtual(main)
    assert (tally.handled, tally.dead) == (980, 20)
    assert all(numbers == sorted(numbers) for numbers in handled.values())
    poisoned = sorted(letter.record.json(int) for letter in world.letters.letters)
    assert sorted([*chain(*handled.values()), *poisoned]) == list(range(1000))
    assert all(row.owner is None for row in world.table.shard_rows.values())


def test_a_run_repeats_itself() -> None:
    """The same seed, the same events in the same order."""

    async def main() -> list[str]:
        world = World(shards=3)
        for number in range(200):
            world.stream.put(f"key-{number % KEYS}", number)
        async with asyncio.TaskGroup() as group:
            for name in "ab":
                group.create_task(a_worker(world, collecting(defaultdict(list)), name=name).run())
        return world.report.names

    assert run_virtual(main, seed=3) == run_virtual(main, seed=3)


def test_children_follow_their_parents() -> None:
    """A stream that is split and merged under a worker is read to the end, in order per key."""
    handled: dict[str, list[int]] = defaultdict(list)

    async def main() -> World:
        world = World(shards=2)

        async def produce() -> None:
            for number in range(400):
                world.stream.put(f"key-{number % KEYS}", number)
                await asyncio.sleep(0.1)
                if number == 100:
                    world.stream.split("shardId-000000000000")
                if number == 250:
                    world.stream.merge("shardId-000000000003", "shardId-000000000001")

        async with asyncio.TaskGroup() as group:
            group.create_task(produce())
            group.create_task(a_worker(world, collecting(handled)).run())
        return world

    world = run_virtual(main)
    ended = {row.id for row in world.table.shard_rows.values() if row.state == "ended"}
    assert ended == {f"shardId-00000000000{index}" for index in (0, 1, 3)}
    assert sum(map(len, handled.values())) + len(world.letters.letters) == 400
    assert all(numbers == sorted(numbers) for numbers in handled.values())


def test_a_plain_function_blocks_in_virtual_time() -> None:
    """A sync handler runs in a thread; what it waits for is virtual time."""

    async def main() -> tuple[Tally, float]:
        world, loop = World(), asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)

        @consumer("flights", source=Kinesis("stream"))
        def flights(record: Record) -> None:
            loop.block(record.json(float))

        for seconds in (5.0, 10.0, 20.0):
            world.stream.put("k", seconds)
        return await a_worker(world, flights).run(), loop.time()

    tally, took = run_virtual(main)
    assert tally.handled == 3
    assert took == pytest.approx(35 + 30, abs=5)


def test_a_world_has_one_stream() -> None:
    """A consumer of another one is told so."""

    @consumer("flights", source=Kinesis("departures"))
    async def flights(record: Record) -> None: ...

    async def main() -> None:
        async with World(name="arrivals").open(flights, print):
            pass

    with pytest.raises(Missing, match="expected the stream 'arrivals' of this world, got 'departures'"):
        run_virtual(main)


_: type[WorldPort] = World
