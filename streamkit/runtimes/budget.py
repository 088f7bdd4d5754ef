"""The memory that records read ahead may take, over all shards of a worker."""

from __future__ import annotations

import asyncio


class Budget:
    """Bytes of payload in memory. A read may start while there is room, so it is exceeded by one answer a shard."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._freed = asyncio.Event()
        self.used = 0

    async def room(self) -> None:
        """Wait until something fits."""
        while self.used >= self._limit:
            self._freed.clear()
            await self._freed.wait()

    def add(self, size: int) -> None:
        """Account for an answer that was read, or (below zero) for records that are settled."""
        self.used += size
        if size < 0:
            self._freed.set()
