"""Fleets of real coordinators, hearts and leases, in virtual time, on the table in memory with a bill."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from types import SimpleNamespace
from typing import Any, cast

from benchmarks.scale.costs import (
    DEFAULTS,
    INTERVAL,
    LATENCY,
    LEASE,
    WINDOW,
    WRITE_UNIT,
    Load,
    buckets,
    member_bytes,
    shard,
    shard_bytes,
    spread,
    units,
    worker_buckets,
)
from streamkit.consumer import Kinesis
from streamkit.core.leasing import Member, ShardRow
from streamkit.core.lineage import Shard, Stream
from streamkit.core.positions import Position, Progress
from streamkit.engine.retry import FullJitter
from streamkit.runtimes.coordinator import Coordinator
from streamkit.runtimes.fence import Fence
from streamkit.runtimes.heart import Heart
from streamkit.runtimes.incarnation import tick_seconds
from streamkit.runtimes.lease import Lease
from streamkit.runtimes.shard import ShardRun
from streamkit.testing import MemoryTable, SeededChance, VirtualClock


class BilledTable(MemoryTable):
    """Counts units as DynamoDB bills them; one bucket of each kind of row, as is the default."""

    def __init__(self) -> None:
        super().__init__(latency=lambda: LATENCY)
        self.units: Counter[str] = Counter()

    async def rows(self) -> Sequence[ShardRow]:
        """Bill a query of the shard rows."""
        shards = len(self.shard_rows)
        self.units["rows"] += spread(shards * shard_bytes(), max(1, buckets(shards)))
        return await super().rows()

    async def members(self) -> Sequence[Member]:
        """Bill a query of the worker rows."""
        found = sum(_member_bytes(len(row.holds)) for row in self.worker_rows.values())
        self.units["members"] += spread(found, max(1, worker_buckets(len(self.shard_rows))))
        return await super().members()

    async def beat(self, member: Member) -> None:
        """Bill a heartbeat."""
        self.units["beat"] += units(_member_bytes(len(member.holds)), WRITE_UNIT)
        await super().beat(member)

    def bill(self) -> Load:
        """Return requests and units so far; a shard's row is smaller than a unit."""
        return Load(
            requests=sum(self.requests.values()),
            checkpoints=self.requests["write"] + self.requests["take"],
            beats=self.requests["bury"] + self.requests["join"] + self.units["beat"],
            reads=self.units["rows"] + self.units["members"],
            look_reads=self.units["members"],
        )


STREAM = Stream("scale", "arn:aws:kinesis:eu-west-1:000000000000:stream/scale", "1", timedelta(days=1))
EMPTY, FULL = member_bytes(0), member_bytes(1000)


def _member_bytes(holds: int) -> float:
    return EMPTY + holds * (FULL - EMPTY) / 1000


class Work:
    """Stands in for a `ShardRun` whose records never end: a checkpoint every interval, and a release when asked."""

    idle_since = float("inf")
    level = None

    def __init__(self, lease: Lease, *, busy: bool) -> None:
        self._lease = lease
        self._interval = INTERVAL if busy else None
        self._settled = 0
        self._stop = asyncio.Event()
        self._prefers: str | None = None

    @property
    def id(self) -> str:
        """Id of the shard."""
        return self._lease.row.id

    def watch(self) -> None:
        """Nothing is held up here."""

    @property
    def draining(self) -> bool:
        """Say whether it was asked to let go."""
        return self._stop.is_set()

    def drain(self, *, grace: float, prefers: str | None = None) -> None:  # noqa: ARG002 - as ShardRun's
        """Let go after the next checkpoint."""
        self._prefers = prefers
        self._stop.set()

    async def run(self) -> None:
        """Write a checkpoint every interval until told to let go."""
        while not self._stop.is_set():
            try:
                async with asyncio.timeout(self._interval):
                    await self._stop.wait()
            except TimeoutError:
                self._settled += 1
                await self._lease.write(progress=Progress(Position(str(self._settled))))
        await self._lease.write(owner=None, prefers=self._prefers)


@dataclass(slots=True)
class Fleet:
    """Workers of one consumer, on one table."""

    group: asyncio.TaskGroup
    shards: int
    table: BilledTable = field(default_factory=BilledTable)
    busy: bool = True
    """Whether records flow: with none, nothing is checkpointed."""
    workers: dict[str, asyncio.Task[None]] = field(default_factory=dict[str, "asyncio.Task[None]"])
    _numbers: Iterator[int] = field(default_factory=count)

    async def listed(self) -> Sequence[Shard]:
        """Return the shards of the stream."""
        return [shard(number, of=self.shards) for number in range(self.shards)]

    async def identified(self) -> Stream:
        """Return the stream: never made again here."""
        return STREAM

    def start(self) -> None:
        """Start one more worker."""
        name = f"worker-{next(self._numbers):03d}"
        self.workers[name] = self.group.create_task(self._live(name), name=name)

    def kill(self, name: str) -> None:
        """Let a worker vanish: it releases nothing."""
        self.workers.pop(name).cancel()

    async def until(self, holds: Callable[[], bool], *, within: float = 3600.0) -> float:
        """Wait for it; return the seconds it took."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not holds():
            if loop.time() - began > within:
                raise TimeoutError(f"expected the fleet to converge within {within} s")
            await asyncio.sleep(0.25)
        return loop.time() - began

    def loads(self) -> dict[str, int]:
        """Return how many shards each living worker owns."""
        owned = Counter(row.owner for row in self.table.shard_rows.values())
        return {name: owned[name] for name in self.workers}

    def served(self) -> bool:
        """Say whether every shard has a living owner."""
        return sum(self.loads().values()) == self.shards

    def balanced(self) -> bool:
        """Say whether every shard has an owner, and no worker two more than another."""
        loads = self.loads().values()
        return self.served() and max(loads) - min(loads) <= 1

    async def _live(self, name: str) -> None:
        """Live as an `Incarnation` does: join, beat, tick."""
        chance, clock, table = SeededChance(name), VirtualClock(), self.table
        await asyncio.sleep(chance.fraction())  # nobody starts at the same moment
        heart = Heart(Member(name), lease=LEASE, clock=clock, fence=Fence(lease=LEASE, clock=clock), well=lambda: True)
        span = timedelta(seconds=1)

        def open_run(row: ShardRow) -> ShardRun:
            wait = FullJitter(initial=span, maximum=span, chance=chance)
            lease = Lease(row, table, chance=chance, wait=wait, report=_ignore)
            return cast("ShardRun", Work(lease, busy=self.busy))

        opened = SimpleNamespace(
            ports=SimpleNamespace(source=SimpleNamespace(shards=self.listed, identify=self.identified)),
            rows=SimpleNamespace(leases=table, members=table),
            registration=SimpleNamespace(start="TRIM_HORIZON", stream=STREAM, replay=None),
            consumer=SimpleNamespace(checkpoint=DEFAULTS, source=Kinesis("scale"), table="scale"),
        )
        process = SimpleNamespace(clock=clock, chance=chance, report=_ignore, grace=timedelta(seconds=25))
        coordinator = Coordinator(cast("Any", opened), heart, process=cast("Any", process), open_run=open_run)
        await table.join(heart.member)
        async with asyncio.TaskGroup() as group:
            group.create_task(heart.beat(table, asyncio.Event()))
            while True:
                await coordinator.tick(group)
                await asyncio.sleep(tick_seconds(coordinator.fleet, lease=LEASE, chance=chance))


def _ignore(_event: object) -> None:
    return


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A worker less, or more: seconds until all is well again, and read units spent meanwhile."""

    seconds: float
    reads: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one fleet showed."""

    load: Load
    started: float
    """Seconds until every shard had an owner."""
    crash: Change
    join: Change


async def measure(shards: int, workers: int, *, busy: bool) -> Measured:
    """Start a fleet, let it work, kill one worker, start another."""
    async with asyncio.TaskGroup() as group:
        fleet = Fleet(group, shards, busy=busy)
        for _ in range(workers):
            fleet.start()
        started = await fleet.until(fleet.served)
        await _settle(fleet)
        before = fleet.table.bill()
        await asyncio.sleep(WINDOW)
        load = fleet.table.bill().since(before, seconds=WINDOW)
        crash = await _change(fleet, lambda: fleet.kill("worker-000"), fleet.served)
        await _settle(fleet)
        join = await _change(fleet, fleet.start, fleet.balanced)
        for name in [*fleet.workers]:
            fleet.kill(name)
    return Measured(load=load, started=started, crash=crash, join=join)


async def _settle(fleet: Fleet) -> None:
    """Wait until nothing changes hands and every heartbeat says so."""
    await fleet.until(fleet.balanced)
    await asyncio.sleep(LEASE)


async def _change(fleet: Fleet, happens: Callable[[], None], over: Callable[[], bool]) -> Change:
    before = fleet.table.bill().reads
    happens()
    seconds = await fleet.until(over)
    return Change(seconds=seconds, reads=fleet.table.bill().reads - before)
