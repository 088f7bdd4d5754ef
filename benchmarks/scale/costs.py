"""What a second of coordination costs, by formula: ours, and the KCL's by its defaults."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import ceil
from typing import Any

from streamkit import Checkpoint
from streamkit.aws.attributes import Item
from streamkit.aws.rows import WORKER_SPREAD, member_item, shard_item
from streamkit.core.leasing import Member, ShardRow
from streamkit.core.lineage import HASH_KEYS, Shard
from streamkit.core.positions import Position, Progress
from streamkit.runtimes.crew import SHARDS_A_BUCKET
from streamkit.runtimes.heart import BEATS
from streamkit.runtimes.incarnation import tick_seconds
from streamkit.runtimes.lookout import PARTITION_SHARDS, SELDOM, SERVED_SECONDS

DEFAULTS = Checkpoint()
LEASE = DEFAULTS.lease.total_seconds()
INTERVAL = DEFAULTS.interval.total_seconds()
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
    checkpoints: float
    """Write units on the shard rows."""
    beats: float
    """Write units on the worker rows."""
    reads: float
    look_reads: float = 0.0
    """Read units on the worker rows: a part of `reads`."""

    @property
    def writes(self) -> float:
        """Write units on all rows."""
        return self.checkpoints + self.beats

    def since(self, before: Load, *, seconds: float) -> Load:
        """Of two bills, return what came between them, a second."""
        spent = {each.name: (getattr(self, each.name) - getattr(before, each.name)) / seconds for each in fields(self)}
        return Load(**spent)


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


def shard(number: int, *, of: int = 10_000) -> Shard:
    """Return one of so many shards, which share the hash keys: a hole among them would be looked after."""
    return Shard(f"shardId-{number:012d}", (), (HASH_KEYS * number // of, HASH_KEYS * (number + 1) // of - 1))


def shard_bytes() -> int:
    """Return the size of a shard's row in the midst of its life."""
    row = ShardRow(
        shard(1234),
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
    """Return the size of the row of a worker that runs so many shards, and has measured them."""
    name = f"ip-10-0-123-123-12345-{0:012x}"
    row = Member(name, 1_234_567, started=1.7e9 + 0.123).beaten([(shard(1234).id, 40)] * holds)
    return size(member_item(row)) + len("pk") + len("worker#0") + len("sk") + len(row.worker)


def units(size_bytes: float, unit: int) -> int:
    """Return what is billed."""
    return max(1, ceil(size_bytes / unit))


def buckets(shards: int) -> int:
    """Return the partition keys that the shard rows are spread over."""
    return ceil(shards / SHARDS_A_BUCKET)


def worker_buckets(shards: int) -> int:
    """Return those that the worker rows are spread over."""
    return ceil(buckets(shards) / WORKER_SPREAD)


def spread(size_bytes: float, parts: int) -> int:
    """Return the read units of so many bytes, read in so many parts."""
    return parts * units(size_bytes / parts, READ_UNIT)


def rows_units(shards: int) -> int:
    """Return the read units of all shard rows."""
    return spread(shards * shard_bytes(), buckets(shards))


def pause(shards: int, workers: int) -> float:
    """Return the mean seconds from one reading of all shard rows to the next, while they change."""
    return workers * min(shards, PARTITION_SHARDS) * SERVED_SECONDS


def tick(workers: int) -> float:
    """Return the mean seconds between two looks at the table."""
    return tick_seconds(workers, lease=LEASE, chance=Mean())


class Mean:
    """What chance comes to on average."""

    def fraction(self) -> float:
        """Return the middle."""
        return 0.5

    def token(self) -> str:
        """Return any."""
        return "0" * 32


# By formula


def ours(shards: int, workers: int, *, busy: bool = True) -> Load:
    """Return our load where nothing changes hands."""
    held = ceil(shards / workers)
    checkpoints = shards / INTERVAL if busy else 0.0
    beats = workers * BEATS / LEASE
    looks = workers / (tick(workers) + 2 * LATENCY)
    look_reads = looks * spread(workers * member_bytes(held), worker_buckets(shards))
    return Load(
        requests=checkpoints + beats + looks * worker_buckets(shards),
        checkpoints=checkpoints * units(shard_bytes(), WRITE_UNIT),
        beats=beats * units(member_bytes(held), WRITE_UNIT),
        reads=look_reads + workers * rows_units(shards) / max(LEASE, SELDOM * pause(shards, workers)),
        look_reads=look_reads,
    )


def kcl(shards: int, *, busy: bool = True) -> Load:
    """Return the load of the KCL: renewals, one scan by its leader, and checkpoints as often as ours.

    In its favour: its rows are as small as ours, and its leader election, worker metrics and lease discovery are free.
    """
    renewals, checkpoints = shards / KCL_RENEWAL, (shards / INTERVAL if busy else 0.0)
    scan, unit = shards * shard_bytes(), units(shard_bytes(), WRITE_UNIT)
    return Load(
        requests=renewals + checkpoints + ceil(scan / 2**20) / KCL_SCAN,
        checkpoints=checkpoints * unit,
        beats=renewals * unit,
        reads=units(scan, READ_UNIT) / KCL_SCAN,
    )
