"""The memory that records read ahead may take, over all shards of a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Budget:
    """Bytes of payload in memory, over all shards of a worker.

    A shard that holds nothing may always read one answer, so that none starves while others stand still: the bound is
    the limit and one answer (10 MiB) a shard.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._freed = asyncio.Event()
        self.used = 0

    async def room(self, held: Callable[[], int]) -> None:
        """Wait until something fits, or this shard holds nothing."""
        while self.used >= self._limit and held():
            self._freed.clear()
            await self._freed.wait()

    def add(self, size: int) -> None:
        """Account for an answer that was read, or (below zero) for records that are settled."""
        self.used += size
        if size < 0:
            self._freed.set()
