"""A bug, dead letters, kills, a redrive and a replay, each cut off and said again: effects as if nothing had failed."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from itertools import pairwise

import pytest

from streamkit import Consumer, Poison, Record
from streamkit.runtimes.redrive import Redrive
from streamkit.runtimes.redrive_terms import Options, Result, Tools
from streamkit.testing import MemoryLedger, MemoryMailbox, MemoryRedriven
from tests.runtimes.cluster import Cluster, simulate
from tests.runtimes.test_replay import Scene

NUMBERS = range(40)


class Shop:
    """What the consumer does: sums by key, each record counted once, by its id."""

    def __init__(self, *, broken: bool) -> None:
        self.broken = broken
        self.seen: set[str] = set()
        self.sums: Counter[str] = Counter()
        self.first: defaultdict[str, list[int]] = defaultdict(list)
        """Numbers in the order of their first effects, by key."""

    async def handle(self, record: Record) -> None:
        """Take a while; then count the record, unless it is counted."""
        await asyncio.sleep(0.1)
        number = record.json()
        if self.broken and number % 7 == 3:
            raise Poison("a bug")
        if record.id not in self.seen:
            self.seen.add(record.id)
            self.sums[record.key] += number
            self.first[record.key].append(number)


def undisturbed() -> Counter[str]:
    """The sums of a handler without the bug, of one worker that nobody kills."""
    shop = Shop(broken=False)

    async def main(cluster: Cluster) -> None:
        cluster.put(*NUMBERS)
        cluster.start(cluster.consumer(shop.handle))
        await cluster.until_handled(*NUMBERS)

    simulate(main, shards=2)
    return shop.sums


class Letters:
    """The dead letters of a world, to be redriven by one process after the other."""

    def __init__(self, cluster: Cluster, made: Consumer) -> None:
        self.cluster, self.made = cluster, made
        self.clock = cluster.world.clock
        self.mailbox, self.redriven = MemoryMailbox(self.clock), MemoryRedriven(self.clock)
        self.mailbox.put(*cluster.world.letters.letters, *cluster.world.letters.letters[:2])  # two came twice

    def process(self, name: str) -> asyncio.Task[Result]:
        """Start `streamkit dlq redrive` in a process that can be killed."""
        tools = Tools(
            mailbox=self.mailbox,
            redriven=self.redriven,
            ledger=MemoryLedger(self.clock),
            clock=self.clock,
            chance=self.cluster.world.chance.fork(name),  # type: ignore[attr-defined]
            report=lambda _: None,
            on_stuck=lambda: None,
        )
        return self.cluster.spawn(name, Redrive(self.made, tools, Options()).run())


@pytest.mark.parametrize("moment", [0.05, 0.15, 0.35, 0.8, 1.6])
def test_redrive_and_replay_under_crash_and_repetition_leave_the_effects_of_a_run_without_failures(
    moment: float,
) -> None:
    """Two workers, two redrives and two replays, the first of each killed or frozen in the midst of it."""
    shop = Shop(broken=True)

    async def main(cluster: Cluster) -> None:
        scene, made = Scene(cluster), cluster.consumer(shop.handle, concurrency=2)
        worker = cluster.start(made)
        for number in NUMBERS:
            scene.arrivals[number] = cluster.world.stream.put(f"key-{number % 5}", number)
        await asyncio.sleep(2 + moment)
        worker.kill()
        cluster.start(made)
        good = [number for number in NUMBERS if number % 7 != 3]
        await cluster.until_handled(*good)
        await cluster.until(
            lambda: {each.record.json() for each in cluster.world.letters.letters} >= {3, 10, 17, 24, 31, 38}
        )

        shop.broken = False
        letters = Letters(cluster, made)
        zombie = letters.process("redrive 1")
        await asyncio.sleep(moment / 2)
        cluster.loop.freeze("redrive 1")
        await asyncio.sleep(200)
        again = await letters.process("redrive 2")
        assert letters.mailbox.bodies == {}
        assert again.stopped is None

        scene.arrivals[len(NUMBERS)] = cluster.world.stream.put("end", 0)
        first = await scene.start(scene.wanted(0, len(NUMBERS)), made=made)
        await asyncio.sleep(1 + moment)
        first.kill()
        second = await scene.start(scene.wanted(0, len(NUMBERS)), made=made)
        await second.end()
        assert set(scene.values()) == set(NUMBERS)
        cluster.loop.thaw("redrive 1")
        await zombie
        assert letters.mailbox.bodies == {}

    simulate(main, shards=2)
    assert shop.sums == undisturbed()
    for line in shop.first.values():
        in_time = [number for number in line if number % 7 != 3]
        assert all(a < b for a, b in pairwise(in_time)), "what failed for its own sake is late, nothing else"
