"""Several consumers in one worker: each has a stream and a table of its own; the process, and its drain, are one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from streamkit import Consumer, Kinesis, Record, Sqs, Unavailable, consumer
from streamkit.errors import Missing
from streamkit.runtimes.worker import Options, Worker
from streamkit.testing import World, run_virtual
from streamkit.testing.time import SeededChance, VirtualClock

if TYPE_CHECKING:
    from streamkit.ports import Ports, Registration, Report, Rows

Handler = Callable[[Record], Awaitable[None]]


class Worlds:
    """A world for each consumer, by the name of its stream: a `runtimes.world.World`."""

    threaded = False

    def __init__(self, *names: str, shards: int = 2) -> None:
        self._worlds = {name: World(name=name, shards=shards) for name in names}

    def __getitem__(self, name: str) -> World:
        return self._worlds[name]

    def open(self, consumer: Consumer, report: Report) -> AbstractAsyncContextManager[Ports]:
        """Open what the consumer asks for. Raises `Missing` where there is no such stream."""
        return self._of(consumer).open(consumer, report)

    def rows(self, consumer: Consumer, registration: Registration) -> AbstractAsyncContextManager[Rows]:
        """Open the consumer's own table."""
        return self._of(consumer).rows(consumer, registration)

    def _of(self, consumer: Consumer) -> World:
        return self._worlds.get(consumer.source.stream, next(iter(self._worlds.values())))


def noting(name: str, into: list[tuple[str, int]], handler: Handler | None = None) -> Consumer:
    """Return a consumer of the stream of its name, that notes what it handles."""

    @consumer(name, source=Kinesis(name), dead_letters=Sqs("dead"))
    async def note(record: Record) -> None:
        if handler is not None:
            await handler(record)
        into.append((name, record.json(int)))

    return note


def worker(worlds: Worlds, consumers: Sequence[Consumer], *, name: str, idle: timedelta | None = None) -> Worker:
    """Return a worker as `streamkit run A B` builds it."""
    return Worker(
        consumers,
        worlds,
        clock=VirtualClock(),
        chance=SeededChance().fork(name),
        report=worlds[consumers[0].name].report,
        options=Options(until_idle=idle),
    )


def test_each_is_shared_evenly_and_all_are_handed_over() -> None:
    """Two workers halve the shards of every consumer; one that drains gives back all; nothing is lost or repeated."""
    handled: list[tuple[str, int]] = []
    names = ("orders", "users", "visits")
    wanted = [(name, number) for name in names for number in range(40)]

    async def main() -> None:
        worlds = Worlds(*names)
        consumers = [noting(name, handled) for name in names]

        def put(*numbers: int) -> None:
            for name in names:
                for number in numbers:
                    worlds[name].stream.put(f"key-{number}", number)

        def shared(among: int) -> bool:
            rows = [row for name in names for row in worlds[name].table.shard_rows.values()]
            held = {name: {row.owner for row in worlds[name].table.shard_rows.values()} for name in names}
            return bool(rows) and all(len(each) == among and None not in each for each in held.values())

        async with asyncio.timeout(300), asyncio.TaskGroup() as group:
            first = worker(worlds, consumers, name="first")
            group.create_task(first.run())
            put(*range(20))
            await until(lambda: shared(1))
            second = worker(worlds, consumers, name="second")
            group.create_task(second.run())
            await until(lambda: shared(2))
            put(*range(20, 30))
            first.drain("SIGTERM")
            await until(lambda: shared(1))
            put(*range(30, 40))
            await until(lambda: len(handled) >= len(wanted))
            second.drain("SIGTERM")
        assert first.tally.handled + second.tally.handled == len(wanted)

    run_virtual(main)
    assert sorted(handled) == wanted


def test_one_that_stands_still_holds_up_no_other() -> None:
    """The worker's loop, heart and memory are shared; the standstill of a sink is its consumer's own."""
    handled: list[tuple[str, int]] = []

    async def down(record: Record) -> None:
        raise Unavailable("the sink is down")

    async def main() -> None:
        worlds = Worlds("orders", "users")
        for name in ("orders", "users"):
            for number in range(20):
                worlds[name].stream.put(f"key-{number}", number)
        both = worker(worlds, [noting("orders", handled, down), noting("users", handled)], name="both")
        async with asyncio.timeout(300), asyncio.TaskGroup() as group:
            group.create_task(both.run())
            await until(lambda: len(handled) == 20)
            both.drain("SIGTERM")
        assert worlds["orders"].letters.letters == []
        assert all(row.owner is None for name in ("orders", "users") for row in worlds[name].table.shard_rows.values())

    run_virtual(main)
    assert {name for name, _ in handled} == {"users"}


def test_the_worker_is_idle_when_all_of_them_are() -> None:
    """`--until-idle` waits for the last of them."""
    handled: list[tuple[str, int]] = []

    async def slowly(record: Record) -> None:
        await asyncio.sleep(10)

    async def main() -> None:
        worlds = Worlds("orders", "users", shards=1)
        for number in range(5):
            worlds["orders"].stream.put("one key", number)
        consumers = [noting("orders", handled, slowly), noting("users", handled)]
        await worker(worlds, consumers, name="both", idle=timedelta(seconds=5)).run()

    run_virtual(main)
    assert [number for _, number in handled] == list(range(5))


def test_one_that_cannot_run_ends_them_all() -> None:
    """With its error: a process that runs half of what it was told to would look well."""

    async def main() -> None:
        worlds = Worlds("orders")
        await worker(worlds, [noting("orders", []), noting("nowhere", [])], name="both").run()

    with pytest.RaisesGroup(Missing):
        run_virtual(main)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until it is so; the caller sets the limit."""
    while not condition():
        await asyncio.sleep(0.1)
