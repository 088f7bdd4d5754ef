"""Counts what a replay would handle: everything is read, nothing handled or written."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from streamkit.core.kpl import expand_all
from streamkit.core.positions import Since
from streamkit.runtimes.carrying import Carrying
from streamkit.runtimes.excerpt import Excerpt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamkit.consumer import Consumer
    from streamkit.core.lineage import Shard
    from streamkit.core.records import Record
    from streamkit.core.replay import Replay
    from streamkit.ports import Clock, Source

_AT_ONCE = 64
"""Shards read at once: an answer of each may be in memory."""


class Count(msgspec.Struct):
    """What of one shard would be handled."""

    shard: str
    records: int = 0
    bytes: int = 0
    first: float | None = None
    """Arrival of the first: seconds since the epoch; as the next."""
    last: float | None = None

    def add(self, record: Record) -> None:
        """Count one."""
        self.records += 1
        self.bytes += len(record.data)
        self.first = record.arrived if self.first is None else self.first
        self.last = record.arrived


async def count(consumer: Consumer, source: Source, replay: Replay, *, clock: Clock) -> Sequence[Count]:
    """Read the range, shard by shard, and count what passes the consumer's filter. Raises as `Source` does."""
    excerpt: Source = Excerpt(source, replay, clock=clock)
    shards = await excerpt.shards()
    if consumer.source.changes:
        excerpt = Carrying(excerpt)
    counts = [Count(each.id) for each in shards]
    waiting = iter(zip(shards, counts, strict=True))

    async def some() -> None:
        for shard, counted in waiting:
            await _count(consumer, excerpt, replay, shard, counted)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(_AT_ONCE, len(shards))):
            group.create_task(some())
    return counts


async def _count(consumer: Consumer, source: Source, replay: Replay, shard: Shard, counted: Count) -> None:
    reader = source.reader(shard, Since(replay.since))
    ours = shard.hash_range if consumer.source.kpl_only else None
    ended = False
    while not ended:
        read = await reader.read()
        ended = read.ended
        for record in expand_all(read.records, hash_range=ours):
            if not record.foreign and _passes(consumer, record):
                counted.add(record)


def _passes(consumer: Consumer, record: Record) -> bool:
    """Say whether the record would reach the handler, or the queue: a filter that fails is a record that fails."""
    try:
        return consumer.where is None or bool(consumer.where(record))
    except Exception:  # noqa: BLE001 - the user's function, which may raise anything
        return True
