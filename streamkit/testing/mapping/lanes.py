"""How records of a shard become batches: by key into lanes, and there by count, by bytes, and by time."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from streamkit.runtimes.waiting import came
from streamkit.testing.kinesis.numbers import hash_key
from streamkit.testing.mapping.function import MOST_BYTES

if TYPE_CHECKING:
    from streamkit.core.records import Record
    from streamkit.testing.mapping.feeds import Entry
    from streamkit.testing.mapping.terms import Terms

_AROUND = len('{"Records":[]}')


def lane_of(key: str, factor: int) -> int:
    """Return which of the concurrent batches of a shard takes this key: always the same one."""
    return hash_key(key) % factor


class Lane:
    """Records that wait to be invoked, in stream order. A batch holds at most 6 MB, also as JSON."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._waiting: deque[tuple[Record, int]] = deque()
        self._more = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Lane, {len(self._waiting)} records waiting>"

    def put(self, record: Record, entry: Entry) -> None:
        """Append a record, whose entry in the event is this."""
        self._waiting.append((record, len(msgspec.json.encode(entry)) + 1))
        self._more.set()

    async def batch(self) -> list[Record]:
        """Wait for a batch: full, or everything there is once the window is over that begins with its first record."""
        while not self._waiting:
            await self._another()
        loop = asyncio.get_running_loop()
        closes = loop.time() + self._terms.window.total_seconds()
        while not self._full() and loop.time() < closes:
            await self._another(within=closes - loop.time())
        return [self._waiting.popleft()[0] for _ in range(self._fitting())]

    async def _another(self, *, within: float | None = None) -> None:
        self._more.clear()
        await (self._more.wait() if within is None else came(self._more, within=within))

    def _full(self) -> bool:
        return len(self._waiting) > self._fitting() or self._fitting() == self._terms.batch_size

    def _fitting(self) -> int:
        """Return how many records the next batch has: at least one, whatever its size."""
        count, room = 0, MOST_BYTES - _AROUND
        for _, size in self._waiting:
            room -= size
            if count == self._terms.batch_size or (count and room < 0):
                break
            count += 1
        return count
