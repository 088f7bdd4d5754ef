"""The page docs/scale.md, from the formulas and from the fleets that were run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil

from benchmarks.scale.costs import (
    HOTTEST_READS,
    HOTTEST_WRITES,
    INTERVAL,
    KCL_RENEWAL,
    KCL_SCAN,
    LATENCY,
    LEASE,
    MONTH,
    Prices,
    buckets,
    kcl,
    member_bytes,
    ours,
    pause,
    rows_units,
    shard_bytes,
    tick,
    worker_buckets,
)
from benchmarks.scale.fleet import EMPTY, FULL, measure
from streamkit.aws.rows import WORKER_SPREAD
from streamkit.core.balance import AT_ONCE
from streamkit.core.leasing import SUSPICION
from streamkit.runtimes.crew import SHARDS_A_BUCKET
from streamkit.runtimes.heart import BEATS
from streamkit.runtimes.incarnation import SMALL_FLEET
from streamkit.testing import run_virtual

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
    """Yield how many partition keys each size has, and how hot they are."""
    for shards, workers in SIZES:
        load = ours(shards, workers)
        yield [
            shards,
            workers,
            buckets(shards),
            load.checkpoints / buckets(shards),
            worker_buckets(shards),
            load.look_reads / worker_buckets(shards),
            rows_units(shards),
            workers * rows_units(shards) / max(tick(workers), pause(shards, workers)) / buckets(shards),
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
            f"{_shown(seen.load.checkpoints)} ({_shown(by_formula.checkpoints)})",
            f"{_shown(seen.load.beats)} ({_shown(by_formula.beats)})",
            f"{_shown(seen.load.reads)} ({_shown(by_formula.reads)})",
            seen.started,
            seen.crash.seconds,
            int(seen.crash.reads),
            seen.join.seconds,
            int(seen.join.reads),
            shards // workers,
        ]


PAGE = """# Scale, on paper and in simulation

Made by `python -m benchmarks.scale > docs/scale.md`; do not edit. Defaults throughout: lease {lease:g} s,
{beats} heartbeats a lease, a checkpoint every {interval:g} s while records flow, a bucket for every {bucket} shards;
a look at the worker rows every {small:g} s up to {fleet} workers, less often beyond, at most every {large:g} s.
Prices: {region}, on demand, {date}: US$ {write} per million write request units, US$ {read} per million read
request units, {month:,.0f} seconds a month. A shard's row has {shard} bytes in the midst of its life, a worker's
{member} and {hold:.0f} more for each shard it runs.

## What it costs

{costs}

A second of ours, with S shards, W workers and H = S / W shards held by each:

- checkpoints: S / {interval:g} requests of ceil(shard row / 1 KB) write units; none while nothing arrives
- heartbeats: {beats} W / {lease:g} requests of ceil((worker row + {hold:.0f} H) / 1 KB) write units
- looks: W / tick requests a bucket of worker rows, ceil(W (worker row + {hold:.0f} H) / 4 KB) read units all together:
  they grow with W S + W², less what the longer ticks of large fleets save
- shard rows: W readings of ceil(S (shard row) / 4 KB) units a lease, or less often in large fleets; and whenever
  a worker row changes, or a shard is not in good hands

The KCL by its defaults: a write per lease every {renewal:.1f} s and a scan by its leader every {scan:g} s, with
checkpoints as often as ours and rows as small; its leader election, worker metrics and lease discovery for free.

## Hot partitions

One partition gives {hot_writes:,} write units and {hot_reads:,} read units a second. The number of buckets, each a
partition key, is chosen with the first registration, from the shards of the first listing. There is one bucket of
worker rows for every {worker_spread} of shard rows.

{heat}

The last column is what all workers together read of one bucket of shard rows, in a second in which shards change
hands: while any has no owner, or its owner's heartbeat does not yet say that it holds it. Each worker then waits until
the partitions can have served everybody; so a change is known to all within a tick or that pause, whichever is longer.
The first reading after a change is not put off: then all of them read once within a tick.

## What stands out

- Up to {even_1000} workers at 1,000 shards and {even_10000} at 10,000, ours is cheaper than the KCL.
- Large fleets pay with their fail-over: beyond {fleet} workers a tick grows, up to {large:g} s, and at 10,000 shards
  and 500 workers it takes {slowest:.0f} s until all have read the rows that changed.

## Fleets that were run

Real coordinators, hearts and leases on the table in memory, {latency:g} ms each way; by formula in brackets.
Crash: one worker vanishes; seconds until every shard has a
living owner. Join: one more worker starts; seconds until
no worker has two shards more than another. Read units are those of all workers meanwhile.

{runs}

- **crash**: {suspicion:g} s of silence after the last heartbeat that the others saw, at most two ticks, and then
  S / W takes shared by W - 1 workers, {take:g} ms each: at 10,000 shards and 500 workers less than 0.1 s of takes.
- **join**: everybody offers its whole surplus in one plan, at most {at_once} shards for a giver or a taker; the next
  plan follows when these are taken. A newcomer's S / (W + 1) shards come in so many plans:{join_rows}
"""


def _even(shards: int, prices: Prices) -> int:
    """Return the largest fleet whose busy second is no dearer than the KCL's; a worker a shard at most."""
    theirs = kcl(shards)
    limit = prices.month(writes=theirs.writes, reads=theirs.reads)
    loads = ((workers, ours(shards, workers)) for workers in range(1, shards + 1))
    dearer = (workers - 1 for workers, it in loads if prices.month(writes=it.writes, reads=it.reads) > limit)
    return next(dearer, shards)


def page(prices: Prices, *, region: str, date: str) -> str:
    """Return docs/scale.md."""
    hold = (FULL - EMPTY) / 1000
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
            "buckets",
            "writes/s each",
            "of worker rows",
            "reads/s each",
            "units to read all shard rows",
            "reads/s each, during changes",
        ),
        [*heat_rows()],
    )
    runs = table(
        (
            "shards",
            "workers",
            "records flow",
            "checkpoints, write units/s",
            "heartbeats, write units/s",
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
        f"\n  {shards:,} shards and {workers} workers {ceil(shards / (workers + 1) / AT_ONCE)}"
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
        bucket=SHARDS_A_BUCKET,
        small=1.0,
        large=LEASE / 4,
        fleet=SMALL_FLEET,
        worker_spread=WORKER_SPREAD,
        slowest=pause(10_000, 500),
        at_once=AT_ONCE,
    )
