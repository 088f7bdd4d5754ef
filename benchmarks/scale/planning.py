"""How long one worker plans for a very large fleet."""

from __future__ import annotations

import random
from collections.abc import Iterator
from time import perf_counter

from benchmarks.scale.costs import shard
from streamkit.core.leasing import Member, ShardRow, plan

SHARDS, WORKERS, ROUNDS = 10_000, 500, 5


def timings() -> Iterator[str]:
    """Yield lines that tell the milliseconds of a plan: at rest, with all unevenly loaded, with a fifth free."""
    chance = random.Random(1)
    names = [f"worker-{number:03d}" for number in range(WORKERS)]
    levels = [chance.randint(0, 40) for _ in range(SHARDS)]
    settled = _rows(levels, [names[number % WORKERS] for number in range(SHARDS)], equal=True)
    uneven = _rows(levels, [names[number % (WORKERS - 5)] for number in range(SHARDS)])
    orphans = _rows(levels, [None if number % 5 == 0 else names[number % WORKERS] for number in range(SHARDS)])
    for what, rows in (("at rest", settled), ("uneven, 5 newcomers", uneven), ("a fifth free", orphans)):
        yield f"{SHARDS:,} shards, {WORKERS} workers, {what}: {_milliseconds(rows, names):.0f} ms"


def _rows(levels: list[int], owners: list[str] | list[str | None], *, equal: bool = False) -> list[ShardRow]:
    return [
        ShardRow(shard(number), "TRIM_HORIZON", owner=owner, level=20 if equal else levels[number])
        for number, owner in enumerate(owners)
    ]


def _milliseconds(rows: list[ShardRow], names: list[str]) -> float:
    members, listed, mine = [Member(name) for name in names], frozenset(row.id for row in rows), names[0]
    running = frozenset(row.id for row in rows if row.owner == mine)
    best = float("inf")
    for _ in range(ROUNDS):
        began = perf_counter()
        plan(rows, members, me=mine, running=running, listed=listed)
        best = min(best, perf_counter() - began)
    return best * 1000
