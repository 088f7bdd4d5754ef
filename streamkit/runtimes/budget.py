"""The memory that records read ahead may take, over all shards of a worker."""

from __future__ import annotations

import asyncio
from collections import deque
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


class ReadAhead:
    """What one shard has of the budget: payload of answers whose records are not all settled."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._held = 0
        self._answers: deque[tuple[int, int]] = deque()
        """How many records the frontier has to pass until so many bytes are free."""

    async def room(self) -> None:
        """Wait until another answer may be read."""
        await self._budget.room(lambda: self._held)

    def take(self, size: int) -> None:
        """Account for an answer that was read."""
        self._account(size)

    def keep(self, size: int, *, until: int) -> None:
        """The records of an answer are admitted: its memory is free when so many are passed."""
        self._answers.append((until, size))

    def free(self, passed: int) -> None:
        """Give back the memory of answers that are settled."""
        while self._answers and self._answers[0][0] <= passed:
            self._account(-self._answers.popleft()[1])

    def release(self) -> None:
        """Give back all."""
        self._answers.clear()
        self._account(-self._held)

    def _account(self, size: int) -> None:
        """Note so many bytes more, or (below zero) fewer."""
        self._held += size
        self._budget.add(size)
