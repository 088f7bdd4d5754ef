"""What coordination costs, and how fast a fleet converges: writes docs/scale.md. Deterministic; no network.

    python -m benchmarks.scale > docs/scale.md

Fleets of real coordinators, hearts and leases run in virtual time on the table in memory, whose requests are
counted in DynamoDB's units; what is too large to run is calculated by the formulas printed with the tables.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from math import ceil
from types import SimpleNamespace
from typing import Any, cast

from streamkit import Checkpoint
from streamkit.aws.attributes import Item
from streamkit.aws.rows import member_item, shard_item
from streamkit.core.leasing import SUSPICION, Member, Progress, ShardRow
from streamkit.core.lineage import Shard
from streamkit.core.positions import Position
from streamkit.engine.retry import FullJitter
from streamkit.runtimes.coordinator import Coordinator
from streamkit.runtimes.fence import Fence
from streamkit.runtimes.heart import BEATS, Heart
from streamkit.runtimes.lease import Lease
from streamkit.runtimes.shard import ShardRun
from streamkit.testing import MemoryTable, SeededChance, VirtualClock, run_virtual

DEFAULTS = Checkpoint()
LEASE = DEFAULTS.lease.total_seconds()
INTERVAL = DEFAULTS.interval.total_seconds()
TICK = 1.0
"""Seconds between two looks at the table, with a lease of 10 s (runtimes/incarnation.py)."""
LATENCY = 0.005
"""Seconds from a worker to the table, and as much back."""
WINDOW = 30.0
"""Seconds of steady work that are counted."""
MONTH = 730 * 3600.0
READ_UNIT, WRITE_UNIT = 4096, 1024
HOTTEST_WRITES, HOTTEST_READS = 1_000, 3_000
"""Units a second that one partition gives (DynamoDB Developer Guide, partition key design)."""
KCL_RENEWAL, KCL_SCAN = LEASE / 3 - 0.025, 2 * LEASE
"""Seconds: its lease renewal and its look at all leases, with its default failover time of 10 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """US$ per million on-demand request units."""

    write: float
    read: float

    def month(self, *, writes: float, reads: float) -> float:
        """Return US$ a month for so many units a second."""
        return MONTH * (writes * self.write + reads * self.read) / 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Requests and units a second."""

    requests: float
    writes: float
    reads: float
    shard_writes: float
    """Write units on the shard rows: with one bucket, on one partition key."""


# Sizes


def size(item: Item) -> int:
    """Return the bytes DynamoDB bills for an item: names and values, 3 a list, 1 an element."""
    return sum(len(name) + _size(value) for name, value in item.items())


def _size(value: Item) -> int:
    content: Any
    kind, content = next(iter(value.items()))
    if kind == "L":
        return 3 + sum(1 + _size(each) for each in content)
    return len(content) // 2 + 2 if kind == "N" else len(content)


def _shard(number: int) -> Shard:
    width = 2**128 // 10_000
    return Shard(f"shardId-{number:012d}", (), (number * width, (number + 1) * width - 1))


def shard_bytes() -> int:
    """Return the size of a shard's row in the midst of its life."""
    row = ShardRow(
        _shard(1234),
        "TRIM_HORIZON",
        owner=f"ip-10-0-123-123-12345-{0:012x}",
        epoch=17,
        revision=1_234_567,
        token="0" * 32,
        progress=Progress(Position("4" * 56), Position("4" * 56), bytes(16)),
        frontier_arrived=1_700_000_000.123,
        caught_up_at=1_700_000_000.123,
    )
    return size(shard_item(row)) + len("pk") + len("shard##0") + 12 + len("sk") + len(row.id)


def member_bytes(holds: int) -> int:
    """Return the size of the row of a worker that runs so many shards."""
    row = Member(f"ip-10-0-123-123-12345-{0:012x}", 1_234_567, holds=(_shard(1).id,) * holds, started=1.7e9 + 0.123)
    return size(member_item(row)) + len("pk") + len("worker#0") + len("sk") + len(row.worker)


def units(size_bytes: float, unit: int) -> int:
    """Return what is billed."""
    return max(1, ceil(size_bytes / unit))


# By formula


def ours(shards: int, workers: int, *, busy: bool = True) -> Load:
    """Return our load where nothing changes hands."""
    held = ceil(shards / workers)
    checkpoints = shards / INTERVAL if busy else 0.0
    beats = workers * BEATS / LEASE
    looks = workers / (TICK + 2 * LATENCY)
    shard_writes = checkpoints * units(shard_bytes(), WRITE_UNIT)
    return Load(
        requests=checkpoints + beats + looks,
        writes=shard_writes + beats * units(member_bytes(held), WRITE_UNIT),
        reads=looks * units(workers * member_bytes(held), READ_UNIT),
        shard_writes=shard_writes,
    )


def kcl(shards: int, *, busy: bool = True) -> Load:
    """Return the load of the KCL: renewals, one scan by its leader, and checkpoints as often as ours.

    In its favour: its rows are as small as ours, and its leader election, worker metrics and lease discovery are free.
    """
    writes = shards / KCL_RENEWAL + (shards / INTERVAL if busy else 0.0)
    scan = shards * shard_bytes()
    return Load(
        requests=writes + ceil(scan / 2**20) / KCL_SCAN,
        writes=writes * units(shard_bytes(), WRITE_UNIT),
        reads=units(scan, READ_UNIT) / KCL_SCAN,
        shard_writes=0.0,
    )


# By running it


class BilledTable(MemoryTable):
    """Counts units as DynamoDB bills them; one bucket of each kind of row, as is the default."""

    def __init__(self) -> None:
        super().__init__(latency=lambda: LATENCY)
        self.units: Counter[str] = Counter()

    async def rows(self) -> Sequence[ShardRow]:
        """Bill a query of the shard rows."""
        self.units["rows"] += units(len(self.shard_rows) * shard_bytes(), READ_UNIT)
        return await super().rows()

    async def members(self) -> Sequence[Member]:
        """Bill a query of the worker rows."""
        found = sum(_member_bytes(len(row.holds)) for row in self.worker_rows.values())
        self.units["members"] += units(found, READ_UNIT)
        return await super().members()

    async def beat(self, member: Member) -> None:
        """Bill a heartbeat."""
        self.units["beat"] += units(_member_bytes(len(member.holds)), WRITE_UNIT)
        await super().beat(member)

    def bill(self) -> tuple[int, int, int]:
        """Return requests, write units and read units so far."""
        single = self.requests["write"] + self.requests["take"] + self.requests["bury"] + self.requests["join"]
        writes = single + self.units["beat"]
        return sum(self.requests.values()), writes, self.units["rows"] + self.units["members"]


_EMPTY, _FULL = member_bytes(0), member_bytes(1000)


def _member_bytes(holds: int) -> float:
    return _EMPTY + holds * (_FULL - _EMPTY) / 1000


class Work:
    """Stands in for a `ShardRun` whose records never end: a checkpoint every interval, and a release when asked."""

    idle_since = float("inf")

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
        return [_shard(number) for number in range(self.shards)]

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
        await asyncio.sleep(chance.fraction() * TICK)  # nobody starts at the same moment
        heart = Heart(Member(name), lease=LEASE, clock=clock, fence=Fence(lease=LEASE, clock=clock), well=lambda: True)
        span = timedelta(seconds=1)

        def open_run(row: ShardRow) -> ShardRun:
            wait = FullJitter(initial=span, maximum=span, chance=chance)
            lease = Lease(row, table, chance=chance, wait=wait, report=_ignore)
            return cast("ShardRun", Work(lease, busy=self.busy))

        opened = SimpleNamespace(
            ports=SimpleNamespace(source=SimpleNamespace(shards=self.listed)),
            rows=SimpleNamespace(leases=table, members=table),
            registration=SimpleNamespace(start="TRIM_HORIZON", stream=None),
            consumer=SimpleNamespace(checkpoint=DEFAULTS),
        )
        process = SimpleNamespace(clock=clock, chance=chance, report=_ignore, grace=timedelta(seconds=25))
        coordinator = Coordinator(cast("Any", opened), heart, process=cast("Any", process), open_run=open_run)
        await table.join(heart.member)
        async with asyncio.TaskGroup() as group:
            group.create_task(heart.beat(table, asyncio.Event()))
            while True:
                await coordinator.tick(group)
                await asyncio.sleep(TICK)


def _ignore(_event: object) -> None:
    return


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A worker less, or more: seconds until all is well again, and read units spent meanwhile."""

    seconds: float
    reads: int


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
        spent = [(now - was) / WINDOW for now, was in zip(fleet.table.bill(), before, strict=True)]
        crash = await _change(fleet, lambda: fleet.kill("worker-000"), fleet.served)
        await _settle(fleet)
        join = await _change(fleet, fleet.start, fleet.balanced)
        for name in [*fleet.workers]:
            fleet.kill(name)
    load = Load(requests=spent[0], writes=spent[1], reads=spent[2], shard_writes=0.0)
    return Measured(load=load, started=started, crash=crash, join=join)


async def _settle(fleet: Fleet) -> None:
    """Wait until nothing changes hands and every heartbeat says so."""
    await fleet.until(fleet.balanced)
    await asyncio.sleep(LEASE)


async def _change(fleet: Fleet, happens: Callable[[], None], over: Callable[[], bool]) -> Change:
    before = fleet.table.bill()[2]
    happens()
    seconds = await fleet.until(over)
    return Change(seconds=seconds, reads=fleet.table.bill()[2] - before)


# The page

SIZES = ((10, 1), (10, 10), (1_000, 10), (1_000, 50), (1_000, 500), (10_000, 50), (10_000, 100), (10_000, 500))
RUNS = ((10, 2, True), (10, 10, True), (100, 10, True), (1_000, 10, False), (1_000, 30, False))


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lay out a Markdown table of numbers."""
    lines = [head, ["--:"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_shown(cell) for cell in line) + " |" for line in lines)


def _shown(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:,.1f}" if cell < 100 else f"{cell:,.0f}"  # noqa: PLR2004 - three digits that mean something
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def cost_rows(prices: Prices) -> Iterator[list[object]]:
    """Yield a line of costs for each size."""
    for shards, workers in SIZES:
        mine, idle, theirs = ours(shards, workers), ours(shards, workers, busy=False), kcl(shards)
        yield [
            shards,
            workers,
            mine.requests,
            mine.writes,
            mine.reads,
            prices.month(writes=mine.writes, reads=mine.reads),
            prices.month(writes=idle.writes, reads=idle.reads),
            theirs.writes,
            theirs.reads,
            prices.month(writes=theirs.writes, reads=theirs.reads),
        ]


def heat_rows() -> Iterator[list[object]]:
    """Yield the hottest partition keys of each size, and how many buckets would cool them."""
    for shards, workers in SIZES:
        load = ours(shards, workers)
        yield [
            shards,
            workers,
            load.shard_writes,
            ceil(load.shard_writes / HOTTEST_WRITES),
            load.reads,
            ceil(load.reads / HOTTEST_READS),
            units(shards * shard_bytes(), READ_UNIT),
            float(workers * units(shards * shard_bytes(), READ_UNIT)),
        ]


def run_rows() -> Iterator[list[object]]:
    """Yield what each fleet that was run showed, beside the formula."""
    for shards, workers, busy in RUNS:
        seen = run_virtual(lambda: measure(shards, workers, busy=busy))  # noqa: B023 - run at once
        by_formula = ours(shards, workers, busy=busy)
        yield [
            shards,
            workers,
            "yes" if busy else "no",
            f"{_shown(seen.load.writes)} ({_shown(by_formula.writes)})",
            f"{_shown(seen.load.reads)} ({_shown(by_formula.reads)})",
            seen.started,
            seen.crash.seconds,
            seen.crash.reads,
            seen.join.seconds,
            seen.join.reads,
            shards // workers,
        ]


PAGE = """# Scale, on paper and in simulation

Made by `python -m benchmarks.scale > docs/scale.md`; do not edit. Defaults throughout: lease {lease:g} s,
{beats} heartbeats a lease, a tick a second, a checkpoint every {interval:g} s while records flow, one bucket.
Prices: {region}, on demand, {date}: US$ {write} per million write request units, US$ {read} per million read
request units, {month:,.0f} seconds a month. A shard's row has {shard} bytes in the midst of its life, a worker's
{member} and {hold:.0f} more for each shard it runs.

## What it costs

{costs}

A second of ours, with S shards, W workers and H = S / W shards held by each:

- checkpoints: S / {interval:g} requests of ceil(shard row / 1 KB) write units; none while nothing arrives
- heartbeats: {beats} W / {lease:g} requests of ceil((worker row + {hold:.0f} H) / 1 KB) write units
- looks: W requests of ceil(W (worker row + {hold:.0f} H) / 4 KB) read units: **they grow with W S + W²**
- shard rows are not read at all while no worker row changes and every shard is in good hands

The KCL by its defaults: a write per lease every {renewal:.1f} s and a scan by its leader every {scan:g} s, with
checkpoints as often as ours and rows as small; its leader election, worker metrics and lease discovery for free.

## Hot partitions

One partition gives {hot_writes:,} write units and {hot_reads:,} read units a second. All rows of a kind lie under one
partition key as long as a table has one bucket. DynamoDB splits a partition that stays hot between its sort keys,
after minutes of throttling; that is no plan to rely on.

{heat}

The last column is what a second costs while every worker reads all shard rows at each tick, as it does while any
shard has no owner or an owner's heartbeat does not yet say that it holds it: at a start, after a crash, during moves.

## What stands out

- Up to {even_1000} workers at 1,000 shards and {even_10000} at 10,000, ours is cheaper than the KCL; beyond, it is
  dearer: every worker reads every worker's row each second, so that reads grow with the square of the fleet.
- At 10,000 shards that are all busy, checkpoints alone are {busy_writes:,.0f} write units a second on one partition
  key: five times what a partition gives. At 500 workers the worker rows are read at ten times what it gives.
- While shards change hands in a large fleet, all workers together ask for far more than the rows' partition gives:
  they are throttled, and converge later than said here. The table in memory does not throttle.

## Fleets that were run

Real coordinators, hearts and leases on the table in memory, {latency:g} ms each way; by formula in brackets.
Crash: one worker vanishes; seconds until every shard has a
living owner. Join: one more worker starts; seconds until
no worker has two shards more than another. Read units are those of all workers meanwhile.

{runs}

- **crash**: {suspicion:g} s of silence after the last heartbeat that the others saw, at most two ticks, and then
  S / W takes shared by W - 1 workers, {take:g} ms each: at 10,000 shards and 500 workers less than 0.1 s of takes.
- **join**: the most loaded worker offers one shard a tick, so that S / (W + 1) moves take about as many
  ticks:{join_rows}
"""


def _even(shards: int, prices: Prices) -> int:
    """Return the largest fleet whose busy second is no dearer than the KCL's."""
    theirs = kcl(shards)
    limit = prices.month(writes=theirs.writes, reads=theirs.reads)
    loads = ((workers, ours(shards, workers)) for workers in range(1, shards + 1))
    return next(workers - 1 for workers, it in loads if prices.month(writes=it.writes, reads=it.reads) > limit)


def page(prices: Prices, *, region: str, date: str) -> str:
    """Return docs/scale.md."""
    hold = (_FULL - _EMPTY) / 1000
    costs = table(
        (
            "shards",
            "workers",
            "requests/s",
            "write units/s",
            "read units/s",
            "US$/month",
            "quiet, US$/month",
            "KCL write units/s",
            "KCL read units/s",
            "KCL US$/month",
        ),
        [*cost_rows(prices)],
    )
    heat = table(
        (
            "shards",
            "workers",
            "writes/s, shard rows",
            "buckets for them",
            "reads/s, worker rows",
            "buckets for them",
            "units to read all shard rows",
            "by all workers at once",
        ),
        [*heat_rows()],
    )
    runs = table(
        (
            "shards",
            "workers",
            "records flow",
            "write units/s",
            "read units/s",
            "start, s",
            "crash, s",
            "crash, read units",
            "join, s",
            "join, read units",
            "shards a worker",
        ),
        [*run_rows()],
    )
    joins = ",".join(
        f"\n  {shards:,} shards and {workers} workers {_shown(shards / (workers + 1) * (TICK + 4 * LATENCY))} s"
        for shards, workers in SIZES[2:]
    )
    return PAGE.format(
        lease=LEASE,
        beats=BEATS,
        interval=INTERVAL,
        region=region,
        date=date,
        write=prices.write,
        read=prices.read,
        month=MONTH,
        shard=shard_bytes(),
        member=member_bytes(0),
        hold=hold,
        costs=costs,
        renewal=KCL_RENEWAL,
        scan=KCL_SCAN,
        hot_writes=HOTTEST_WRITES,
        hot_reads=HOTTEST_READS,
        heat=heat,
        latency=LATENCY * 1000,
        runs=runs,
        suspicion=SUSPICION * LEASE,
        take=2 * LATENCY * 1000,
        join_rows=joins,
        even_1000=_even(1_000, prices),
        even_10000=_even(10_000, prices),
        busy_writes=ours(10_000, 100).shard_writes,
    )


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description="Print docs/scale.md.")
    parser.add_argument("--write-price", type=float, default=0.625, help="US$ per million write request units")
    parser.add_argument("--read-price", type=float, default=0.125, help="US$ per million read request units")
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--date", default="since November 2024")
    args = parser.parse_args()
    prices = Prices(write=args.write_price, read=args.read_price)
    print(page(prices, region=args.region, date=args.date), end="")


if __name__ == "__main__":
    main()
