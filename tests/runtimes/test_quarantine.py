"""A record that kills whoever handles it ends as a dead letter, alone (rule 22)."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from math import log2
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from streamkit import Checkpoint, Record, Transaction
from streamkit.core.quarantine import Death
from streamkit.core.records import Batch
from streamkit.engine.transaction import writes_of
from streamkit.runtimes.apart.ward import NoWard
from streamkit.runtimes.trial import WARDS, Means, Quarters
from streamkit.testing.memory import world
from streamkit.testing.memory.stream import MemorySource
from tests.runtimes.cluster import LEASE, Cluster, running, simulate
from tests.runtimes.test_transactions import count, seen, transactional

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from streamkit import Consumer
    from streamkit.core.transactions import Write
    from streamkit.ports import Tables


@dataclass
class Killing:
    """A handler whose process does not survive some records, and somebody who starts another each time."""

    cluster: Cluster
    killers: frozenset[int]
    deaths: list[int] = field(default_factory=list[int])
    killed: set[str] = field(default_factory=set[str])
    made: Consumer | None = None
    slow: bool = False
    patience: float = 0.0
    """Seconds that a process takes to die in."""

    async def handle(self, record: Record) -> None:
        """Handle a record, or die of it."""
        await asyncio.sleep(1.5 if self.slow else 0.001)
        await self.die_of(record)

    async def die_of(self, record: Record) -> None:
        """Let the process die, if the record is one that kills."""
        process = running(self.cluster)
        if record.json() in self.killers and self.patience:
            await asyncio.sleep(self.patience)
        if record.json() in self.killers and process.name not in self.killed:
            self.killed.add(process.name)
            self.deaths.append(record.json())
            process.kill()
            self.cluster.start(self.made)
            await asyncio.sleep(0)

    def start(self, **settings: object) -> None:
        """Start the first worker."""
        self.made = self.cluster.consumer(self.handle, checkpoint=Checkpoint(lease=LEASE), **settings)  # type: ignore[arg-type]
        self.cluster.start(self.made)

    async def until_settled(self, *values: int) -> None:
        """Wait until all of these were handled, or are dead letters."""
        await self.cluster.until(lambda: set(values) <= self.cluster.seen | set(self.dead), within=900)

    @property
    def dead(self) -> list[int]:
        """The payloads of the dead letters."""
        return sorted(each.record.json() for each in self.cluster.world.letters.letters)


class SimulatedWard:
    """A process apart of the virtual world: what kills it leaves the worker alone."""

    busy = True
    """Whether an attempt is under way when it dies."""

    def __init__(self, killing: Killing, consumer: Consumer) -> None:
        self._killing = killing
        self._consumer = consumer
        self._fell: Callable[[str, bool], None] | None = None

    @asynccontextmanager
    async def opened(self, fell: Callable[[str, bool], None]) -> AsyncGenerator[None]:
        """Open it, after as long as a process takes."""
        await asyncio.sleep(0.5)
        self._fell = fell
        yield
        self._fell = None

    async def call(self, subject: Record | Batch, *, until: Callable[[], float] | None = None) -> None:
        """Handle a record, or die of it."""
        assert isinstance(subject, Record)
        await self._die_of(subject)
        await self._consumer.handler(subject)  # type: ignore[misc] # a coroutine function

    async def collect(
        self, record: Record, tables: Tables, *, until: Callable[[], float] | None = None
    ) -> tuple[Write, ...]:
        """Run a transactional handler, or die of the record."""
        await self._die_of(record)
        return await writes_of(self._consumer.handler, record, tables)  # type: ignore[arg-type] # a coroutine function

    async def _die_of(self, record: Record) -> None:
        if record.json() in self._killing.killers:
            self._killing.deaths.append(record.json())
            self.kill("signal 9 (SIGKILL)")
            await asyncio.sleep(1e9)

    def kill(self, why: str) -> None:
        """End it."""
        if self._fell is not None:
            asyncio.get_running_loop().call_soon(self._fell, why, self.busy)
            self._fell = None


class StubbornWard(SimulatedWard):
    """One in which the killer only stands in the way of everything, as an endless loop does."""

    async def call(self, subject: Record | Batch, *, until: Callable[[], float] | None = None) -> None:
        """Handle a record, or never end."""
        assert isinstance(subject, Record)
        while subject.json() in self._killing.killers:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(1e9)
            if self._fell is None:
                raise asyncio.CancelledError
        await self._consumer.handler(subject)  # type: ignore[misc] # a coroutine function


class FaintingWard(SimulatedWard):
    """One that the kernel takes a few times for want of memory, while its records wait to be repeated."""

    busy = False
    times = 4

    async def call(self, subject: Record | Batch, *, until: Callable[[], float] | None = None) -> None:
        """Fail, before it dies; or handle a record."""
        if FaintingWard.times:
            FaintingWard.times -= 1
            self.kill("signal 9 (SIGKILL)")
            raise ConnectionError(subject)
        await super().call(subject)


class NotToBeHad:
    """A ward that never opens."""

    @asynccontextmanager
    async def opened(self, fell: Callable[[str, bool], None]) -> AsyncGenerator[None]:
        """Fail."""
        del fell
        raise NoWard("exit status 2")
        yield

    async def call(self, subject: Record | Batch, *, until: Callable[[], float] | None = None) -> None:
        """Nobody comes here."""
        raise AssertionError(subject)

    async def collect(
        self, record: Record, tables: Tables, *, until: Callable[[], float] | None = None
    ) -> tuple[Write, ...]:
        """Nobody comes here."""
        raise AssertionError(record, tables)

    def kill(self, why: str) -> None:
        """Nothing is there."""


class LateWard(SimulatedWard):
    """One that takes a minute to begin, and is no more if it is killed in it."""

    @asynccontextmanager
    async def opened(self, fell: Callable[[str, bool], None]) -> AsyncGenerator[None]:
        """Open it, unless it is killed before."""
        self._killed = asyncio.Event()
        with suppress(TimeoutError):
            async with asyncio.timeout(60):
                await self._killed.wait()
            raise NoWard("signal 9 (SIGKILL)")
        async with super().opened(fell):
            yield

    def kill(self, why: str) -> None:
        """End it."""
        self._killed.set()
        super().kill(why)


class UnreachableWard(SimulatedWard):
    """One whose process takes a minute to begin, and cannot be killed before it has."""

    @asynccontextmanager
    async def opened(self, fell: Callable[[str, bool], None]) -> AsyncGenerator[None]:
        """Open it."""
        await asyncio.sleep(60)
        async with super().opened(fell):
            yield


class DeafWard(SimulatedWard):
    """One whose handlers end with its process, whoever cancels them: only number 0 returns, after two seconds."""

    def __init__(self, killing: Killing, consumer: Consumer) -> None:
        super().__init__(killing, consumer)
        self.ended = asyncio.Event()

    async def _die_of(self, record: Record) -> None:
        if record.json() == 0:
            await asyncio.sleep(2)
            return
        while not self.ended.is_set():
            with suppress(asyncio.CancelledError):
                await self.ended.wait()
        raise asyncio.CancelledError

    def kill(self, why: str) -> None:
        """End it, and what runs there."""
        self.ended.set()
        super().kill(why)


@pytest.mark.parametrize("killer", [0, 517, 999])
def test_a_killer_among_a_thousand_is_dead_lettered_alone(killer: int) -> None:
    """One record kills each worker that handles it: the 999 others and the other shards go on as if it were not there.

    It takes 2 log2(n) + 4 deaths at most.
    """

    async def main(cluster: Cluster) -> None:
        killing = Killing(cluster, frozenset({killer}))
        cluster.put(*range(1000), keys=100)
        killing.start()
        await killing.until_settled(*range(1000))
        assert killing.dead == [killer]
        assert cluster.seen == {*range(1000)} - {killer}
        assert len(killing.deaths) <= 2 * log2(1000) + 4
        [letter] = cluster.world.letters.letters
        assert letter.verdict.condition == "ProcessDied"
        assert letter.reason.count("was declared dead") == 3
        assert cluster.disorder == []
        await cluster.until(lambda: bool(cluster.events("quarantine.ended")))
        cluster.put(*range(1000, 1100))
        assert await cluster.until_handled(*range(1000, 1100)) < 5
        await asyncio.sleep(10)
        assert all(row.quarantine is None and not row.deaths for row in cluster.world.table.shard_rows.values())

    simulate(main, shards=3)


@pytest.mark.parametrize("killer", [0, 517, 999])
def test_no_worker_dies_any_more_once_suspects_have_a_process_of_their_own(killer: int) -> None:
    """Two workers die; then it is only ever the ward, and other shards of the worker notice nothing."""

    async def main(cluster: Cluster) -> None:
        killing = Killing(cluster, frozenset({killer}))
        cluster.ward = partial(SimulatedWard, killing)
        cluster.put(*range(1000), keys=100)
        killing.start()
        await killing.until_settled(*range(1000))
        assert killing.dead == [killer]
        assert cluster.seen == {*range(1000)} - {killer}
        assert len(killing.deaths) <= 2 * log2(1000) + 4
        assert len(cluster.processes) == 3
        [letter] = cluster.world.letters.letters
        assert letter.reason.count("signal 9 (SIGKILL)") == 2
        assert cluster.disorder == []
        lost = {event.shard for event in cluster.events("ward.died")}
        assert len(lost) == 1
        taken = Counter(event.shard for event in cluster.events("shard.taken", of=cluster.processes[2]))
        assert [shard for shard, times in taken.items() if times > 2] == [*lost]

    simulate(main, shards=3)


@pytest.mark.parametrize("killer", [0, 57, 99])
def test_transactional_suspects_have_a_process_of_their_own_too(killer: int) -> None:
    """What innocent records want written is committed once, by the worker, which lives; the killer's never is."""

    async def main(cluster: Cluster) -> None:
        killing = Killing(cluster, frozenset({killer}))

        async def counted(record: Record, tx: Transaction) -> None:
            await count(record, tx)
            cluster.seen.add(record.json())

        async def handle(record: Record, tx: Transaction) -> None:
            await killing.die_of(record)
            await counted(record, tx)

        ours, theirs = transactional(handle), transactional(counted)
        cluster.ward = lambda _: SimulatedWard(killing, theirs)
        killing.made = ours
        cluster.put(*range(100), keys=100)
        cluster.start(ours)
        await killing.until_settled(*range(100))
        assert killing.dead == [killer]
        assert seen(cluster) == {number: 1 for number in range(100) if number != killer}
        assert sum(int(str(item["total"])) for item in cluster.world.table.items["sums"]) == 99
        assert len(cluster.processes) == 3
        assert cluster.world.letters.letters[0].reason.count("signal 9 (SIGKILL)") == 2

    simulate(main, latency=lambda: 0.01)


def test_what_a_suspect_read_must_not_have_changed() -> None:
    """It is handled anew, in the ward, as often as others come in between; a condition that fails is its own fault."""
    handled: list[int] = []

    async def main(cluster: Cluster) -> None:
        items = cluster.world.table.items

        async def handle(record: Record, tx: Transaction) -> None:
            handled.append(record.json())
            before = await tx.get("stock", {"sku": "a"}) or {"left": 100}
            if len(handled) < 4:
                items.seed("stock", {"sku": "a", "left": 50 - len(handled)})
            left = int(str(before["left"]))
            tx.update("stock", {"sku": "a"}, "SET #l = :n", names={"#l": "left"}, values={":n": left - 1})
            if record.json() == 2:
                tx.check("stock", {"sku": "none"}, "attribute_exists(sku)")

        async def nowhere_else(record: Record, tx: Transaction) -> None:
            raise AssertionError(record, tx)

        made = transactional(nowhere_else)
        cluster.ward = lambda _: SimulatedWard(Killing(cluster, frozenset()), transactional(handle))
        cluster.start(made, until_idle=1)
        await cluster.until(cluster.processes[0].task.done)
        [(shard, row)] = cluster.world.table.shard_rows.items()
        deaths = (Death(0.0, "seen dead", 1), Death(0.0, "seen dead", 2))
        cluster.world.table.shard_rows[shard] = replace(row, deaths=deaths)
        cluster.put(*range(5), keys=1)
        cluster.start(made, until_idle=3)
        await cluster.until(cluster.processes[1].task.done)
        assert cluster.events("quarantine.ended")
        (item,) = items["stock"]
        assert item["left"] == 47 - 4
        assert handled[:4] == [0, 0, 0, 0]
        [letter] = cluster.world.letters.letters
        assert letter.record.json() == 2
        assert "ConditionalCheckFailed" in letter.reason
        assert not cluster.events("ward.died")

    simulate(main, latency=lambda: 0.01)


def test_killers_on_several_shards_are_found_at_the_same_time() -> None:
    """Each has a process of its own, and nobody waits for another's."""

    async def main(cluster: Cluster) -> None:
        killing = Killing(cluster, frozenset({3, 40, 41, 90}))
        cluster.ward = partial(SimulatedWard, killing)
        cluster.put(*range(120), keys=30)
        killing.start()
        await killing.until_settled(*range(120))
        assert killing.dead == [3, 40, 41, 90]
        assert len(killing.killed) <= 2 * len(cluster.world.table.shard_rows)

    simulate(main, shards=4)


def test_an_attempt_that_cannot_be_stopped_ends_its_ward() -> None:
    """It neither ends nor heeds its cancellation: the ward is killed for it, not the worker."""

    async def main(cluster: Cluster) -> None:
        killing = Killing(cluster, frozenset({4}))
        cluster.ward = partial(StubbornWard, killing)
        cluster.put(*range(20))
        killing.start(handler_timeout=timedelta(seconds=5))
        await killing.until_settled(*range(20))
        assert killing.dead == [4]
        assert len(cluster.processes) == 3
        assert "neither ended nor could be stopped" in cluster.world.letters.letters[0].reason

    simulate(main)


def test_a_ward_that_dies_while_nothing_runs_in_it_condemns_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two processes the kernel takes the ward first, and that may be at any time: the shard is tried once more."""
    monkeypatch.setattr(FaintingWard, "times", 4)

    async def main(cluster: Cluster) -> None:
        killing = Killing(cluster, frozenset())
        cluster.ward = partial(FaintingWard, killing)
        killing.start()
        await cluster.until(lambda: bool(cluster.world.table.shard_rows))
        cluster.processes[0].drain()
        await cluster.processes[0].task
        [(shard, row)] = cluster.world.table.shard_rows.items()
        deaths = (Death(0.0, "seen dead", 1), Death(0.0, "seen dead", 2))
        cluster.world.table.shard_rows[shard] = replace(row, deaths=deaths)
        cluster.put(7, keys=1)
        cluster.start(killing.made)
        await killing.until_settled(7)
        assert killing.dead == []
        assert [(event.how, event.tried) for event in cluster.events("ward.died")] == [("signal 9 (SIGKILL)", 0)] * 4

    simulate(main)


def test_where_no_ward_is_to_be_had_the_worker_tries_suspects_itself() -> None:
    """It says so, once."""

    async def main(cluster: Cluster) -> None:
        killing = Killing(cluster, frozenset({5}))
        cluster.ward = lambda _: NotToBeHad()
        cluster.put(*range(20))
        killing.start()
        await killing.until_settled(*range(20))
        assert killing.dead == [5]
        assert all(len(cluster.events("ward.missed", of=each)) <= 1 for each in cluster.processes)
        assert cluster.events("ward.missed")

    simulate(main)


def test_a_ward_that_is_let_go_of_while_it_begins_is_not_missed() -> None:
    """Others can be had: the worker tries no suspect itself because a shard was handed over."""

    async def main(cluster: Cluster) -> None:
        killing = Killing(cluster, frozenset({5}))
        cluster.ward = lambda consumer: LateWard(killing, consumer)
        cluster.put(*range(20))
        killing.start()
        await cluster.until(lambda: bool(cluster.events("shard.quarantined")))
        cluster.processes[-1].drain()
        await cluster.until(cluster.processes[-1].task.done)
        assert cluster.events("shard.released")
        assert not cluster.events("ward.missed")

    simulate(main)


def test_a_drain_in_the_middle_of_a_step_is_no_death() -> None:
    """The ward is ended, and the records that were under way have nothing to answer for."""

    async def main(cluster: Cluster) -> None:
        killing = Killing(cluster, frozenset({5}))
        cluster.ward = partial(SimulatedWard, killing)
        killing.slow = True
        cluster.put(*range(40), keys=40)
        killing.start(concurrency=2)
        await cluster.until(lambda: bool(cluster.events("shard.quarantined")))
        for _ in range(6):
            await asyncio.sleep(2)
            cluster.processes[-1].drain()
            await cluster.processes[-1].task
            cluster.start(killing.made, grace=0.1)
        killing.slow = False
        await killing.until_settled(*range(40))
        assert killing.dead == [5]

    simulate(main)


def test_what_was_settled_before_a_killer_is_not_tried_in_its_place() -> None:
    """A shard whose later records are done is read from one record before its suspects on: that one is none of them."""

    async def main(cluster: Cluster) -> None:
        killing = Killing(cluster, frozenset({3}))
        plainly = killing.handle

        async def late(record: Record) -> None:
            seconds = {2: 0.2, 3: 0.1} if killing.deaths else {2: 6.0, 3: 5.0}
            await asyncio.sleep(seconds.get(record.json(), 0.0))
            await plainly(record)

        killing.handle = late  # type: ignore[method-assign]
        cluster.put(*range(20), keys=20)
        killing.start()
        await killing.until_settled(*range(20))
        assert killing.dead == [3]
        assert len(killing.deaths) <= 2 * log2(20) + 4

    simulate(main)


def test_killers_on_several_shards_of_a_worker_are_told_apart() -> None:
    """Each killer takes other shards' records into death with it: none of those is held to be one."""

    async def main(cluster: Cluster) -> None:
        killing = Killing(cluster, frozenset({3, 40, 41, 90}))
        cluster.put(*range(120), keys=30)
        killing.start(concurrency=2)
        await killing.until_settled(*range(120))
        assert killing.dead == [3, 40, 41, 90]
        assert cluster.seen == {*range(120)} - killing.killers

    simulate(main, shards=4)


def test_a_killer_that_is_all_there_is_needs_the_fewest_deaths() -> None:
    """Two owners die before anything is suspected; then it takes three deaths of workers, which have other shards."""

    async def main(cluster: Cluster) -> None:
        killing = Killing(cluster, frozenset({0}))
        cluster.put(0)
        killing.start()
        await killing.until_settled(0)
        assert killing.dead == [0]
        assert len(killing.deaths) == 5

    simulate(main)


def test_kills_from_outside_condemn_nobody() -> None:
    """Workers that are killed again and again, whatever they do, bring records into quarantine and out again."""

    async def main(cluster: Cluster) -> None:
        killing = Killing(cluster, frozenset())
        cluster.put(*range(300), keys=30)
        killing.start(concurrency=1)
        for _ in range(8):
            await asyncio.sleep(12.3)
            cluster.processes[-1].kill()
            cluster.put(*range(300, 330))
            cluster.start(killing.made)
        await killing.until_settled(*range(330))
        assert killing.dead == []

    simulate(main)


def test_what_follows_the_suspects_of_a_closed_shard_is_read_as_ever() -> None:
    """One answer has the suspects, others behind them, and the end of the shard: it ends when all are settled."""

    async def main(cluster: Cluster) -> None:
        slow = True

        async def handle(record: Record) -> None:
            await asyncio.sleep(60 if slow else 0)

        made = cluster.consumer(handle, checkpoint=Checkpoint(lease=LEASE, records=5, window=20))
        cluster.put(*range(100))
        [shard] = cluster.world.stream.listed()
        cluster.world.stream.split(shard.id)
        for _ in range(2):
            killed = cluster.start(made)
            await asyncio.sleep(20)
            killed.kill()
        slow = False
        cluster.start(made)
        await cluster.until_handled(*range(100))
        assert cluster.events("shard.quarantined")
        assert cluster.disorder == []

    simulate(main)


def test_stops_that_let_go_count_for_nothing() -> None:
    """A worker that leaves, or hands its shard over, in the middle of a record that takes long is no death."""

    async def main(cluster: Cluster) -> None:
        async def handle(record: Record) -> None:
            await asyncio.sleep(30 if record.json() == 0 else 0)

        made = cluster.consumer(handle)
        cluster.put(*range(10))
        for _ in range(4):
            process = cluster.start(made, grace=1.0)
            await asyncio.sleep(5)
            process.drain()
            await process.task
        cluster.start(made)
        await cluster.until_handled(*range(10))
        assert not cluster.events("shard.quarantined")

    simulate(main)


def test_a_drain_in_quarantine_leaves_the_suspects_to_the_next_worker() -> None:
    """What a step was about is not held against its records when nobody died of it."""

    async def main(cluster: Cluster) -> None:
        killing = Killing(cluster, frozenset({5}))
        cluster.put(*range(50), keys=10)
        killing.start()
        await cluster.until(lambda: bool(cluster.events("shard.quarantined")))
        while not killing.dead:
            await asyncio.sleep(17)
            cluster.processes[-1].drain()
            cluster.start(killing.made)
        await killing.until_settled(*range(50))
        assert killing.dead == [5]
        assert cluster.seen == {*range(50)} - {5}

    simulate(main)


def test_a_shard_that_is_closed_ends_when_all_of_it_is_settled() -> None:
    """What a trial has left over of the last answer is read again, as ever, before the children begin."""

    async def main(cluster: Cluster) -> None:
        killing = Killing(cluster, frozenset({5}))
        cluster.ward = partial(SimulatedWard, killing)
        cluster.put(*range(40), keys=40)
        cluster.world.stream.split(cluster.world.stream.listed()[0].id)
        killing.start()
        await cluster.until(lambda: len(cluster.events("shard.ended")) == 1)
        assert cluster.seen == {*range(40)} - {5}
        assert killing.dead == [5]

    simulate(main)


def test_what_ran_ahead_is_no_suspect() -> None:
    """Other keys are done far beyond the killer: they take neither steps nor deaths."""

    async def main(cluster: Cluster) -> None:
        killing = Killing(cluster, frozenset({0}))
        killing.patience = 8.0
        cluster.ward = partial(SimulatedWard, killing)
        cluster.put(*range(1000), keys=500)
        killing.start()
        await killing.until_settled(*range(1000))
        assert killing.dead == [0]
        assert cluster.repeated == []
        assert len(killing.deaths) <= 2 * log2(1000) + 4

    simulate(main)


async def suspect_all(cluster: Cluster, made: Consumer) -> None:
    """Have the rows tell of two deaths, so that whoever takes the shards next tries what it reads."""
    cluster.start(made, until_idle=1)
    await cluster.until(cluster.processes[0].task.done)
    rows = cluster.world.table.shard_rows
    deaths = (Death(0.0, "seen dead", 1), Death(0.0, "seen dead", 2))
    rows.update({shard: replace(row, deaths=deaths) for shard, row in rows.items()})


def test_suspects_that_take_more_memory_than_there_is_are_tried_like_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was tried gives its memory back, answer after answer."""
    monkeypatch.setattr(world, "MemorySource", partial(MemorySource, page=2))

    async def main(cluster: Cluster) -> None:
        made = cluster.consumer(read_ahead_bytes=2**20)
        await suspect_all(cluster, made)
        for number in range(8):
            cluster.world.stream.put("large", f"{number}".rjust(400_000).encode())
        cluster.start(made)
        await cluster.until_handled(*range(8), within=60)
        await cluster.until(lambda: bool(cluster.events("quarantine.ended")), within=60)

    simulate(main)


@pytest.mark.parametrize(("mode", "within"), [("plain", 20.0), ("transactional", 3.0)])
def test_a_lost_lease_ends_what_runs_in_the_ward(mode: str, within: float) -> None:
    """No handler there goes on, heeding nothing, while the next owner tries the same suspects."""
    wards: list[DeafWard] = []

    async def main(cluster: Cluster) -> None:
        made = transactional() if mode == "transactional" else cluster.consumer()

        def ward(consumer: Consumer) -> DeafWard:
            wards.append(DeafWard(Killing(cluster, frozenset()), transactional() if mode != "plain" else consumer))
            return wards[-1]

        cluster.ward = ward
        await suspect_all(cluster, made)
        cluster.put(0, 1)
        cluster.start(made)
        await cluster.until(lambda: bool(cluster.events("shard.quarantined")))
        await asyncio.sleep(1)
        [(shard, row)] = cluster.world.table.shard_rows.items()
        cluster.world.table.shard_rows[shard] = replace(row, epoch=row.epoch + 1, owner=None)
        await cluster.until(lambda: bool(cluster.events("shard.lost")), within=within)
        assert wards[0].ended.is_set()
        assert not cluster.events("ward.died")

    simulate(main)


def test_a_shard_that_waits_for_a_place_for_its_ward_can_be_handed_over() -> None:
    """It has not begun: it is let go of at once, and its place is another's."""

    async def main(cluster: Cluster) -> None:
        async def handle(record: Record) -> None:
            await asyncio.sleep(50)

        made = cluster.consumer(handle)
        killing = Killing(cluster, frozenset())
        cluster.ward = partial(SimulatedWard, killing)
        await suspect_all(cluster, made)
        cluster.put(*range(60), keys=60)
        last = cluster.start(made, grace=20.0)
        await cluster.until(lambda: len(cluster.events("shard.quarantined")) == WARDS + 2)
        await asyncio.sleep(2)
        before = len(cluster.events("shard.released"))
        last.drain()
        await cluster.until(lambda: len(cluster.events("shard.released")) == before + 2, within=5)
        await cluster.until(last.task.done, within=30)
        assert not cluster.events("ward.missed")
        assert all(row.owner is None for row in cluster.world.table.shard_rows.values())

    simulate(main, shards=WARDS + 2)


def test_a_drain_waits_for_no_ward_to_begin() -> None:
    """Its process may not be there yet, to be killed."""

    async def main(cluster: Cluster) -> None:
        made = cluster.consumer()
        cluster.ward = partial(UnreachableWard, Killing(cluster, frozenset()))
        await suspect_all(cluster, made)
        cluster.put(*range(5))
        last = cluster.start(made)
        await cluster.until(lambda: bool(cluster.events("shard.quarantined")))
        await asyncio.sleep(2)
        last.drain()
        await cluster.until(last.task.done, within=5)
        assert not cluster.events("ward.missed")

    simulate(main)


def test_a_ward_that_could_not_be_had_is_asked_for_again_later() -> None:
    """A node that was busy once is no reason to try suspects in the worker for ever: it is for five minutes."""

    async def main(cluster: Cluster) -> None:
        means = Means(
            quarters=Quarters(ward=lambda _: NotToBeHad()),
            consumer=cluster.consumer(),
            clock=cluster.world.clock,
            report=cluster.world.report,
        )
        assert means.ward() is not None
        means.miss("shard", why="expected a process for suspects, got none")
        await asyncio.sleep(299)
        assert means.ward() is None
        await asyncio.sleep(2)
        assert means.ward() is not None

    simulate(main)
