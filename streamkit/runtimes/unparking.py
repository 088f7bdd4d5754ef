"""Parked keys, let go once none of their letters is in the queue (rules 21, 30).

While a shard is read, its owner sends more letters of a parked key; if it handled the key's next record before those
are redriven, the order would break. So the shards stand still for the last look at the queue.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from streamkit.core.leasing import ShardRow
    from streamkit.ports import Leases
    from streamkit.runtimes.steering import Steering

WHY = "its parked keys are let go: run the same `streamkit dlq redrive` again"


def parked_keys(rows: Sequence[ShardRow]) -> frozenset[str]:
    """Return the digests of all keys that are parked anywhere."""
    return frozenset(key for row in rows for key in row.parked)


async def hold_parked(leases: Leases, steer: Steering, keys: Collection[str], *, within: float) -> list[ShardRow]:
    """Return the rows that have one of these keys parked, none of them worked on. Raises `ConfigurationError`."""
    named = _affected(await leases.rows(), keys)
    async with asyncio.TaskGroup() as group:
        holding = [group.create_task(steer.hold(row.id, WHY, within=within)) for row in named]
    return [each.result() for each in holding]


def _affected(rows: Sequence[ShardRow], keys: Collection[str]) -> list[ShardRow]:
    """Return the rows that have the keys, and their heirs: an owner tells only later of keys it took over."""
    found = {row.id: row for row in rows if not set(row.parked).isdisjoint(keys)}
    for _ in rows:
        heirs = {row.id: row for row in rows if row.id not in found and not found.keys().isdisjoint(row.shard.parents)}
        if not heirs:
            break
        found |= heirs
    return list(found.values())


async def let_go(steer: Steering, held: Sequence[ShardRow], keys: Collection[str]) -> None:
    """Park these keys no more, and let the shards that were halted for it go on. Raises `Refused`.

    Parents first, which have ended: a child takes over what is parked in them.
    """
    for row in sorted(held, key=lambda row: row.state != "ended"):
        changes: dict[str, object] = {"parked": tuple(key for key in row.parked if key not in keys)}
        if row.halted == WHY:
            changes |= {"state": "open", "halted": None}
        await steer.amend(row, **changes)
