"""Waiting longer after every failure, by a random share of the time ("full jitter").

Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from streamkit.errors import Expired, Throttled, Unanswered
from streamkit.ports import Chance

T = TypeVar("T")

PASSING = (Throttled, Unanswered, Expired)
"""What may go well when it is asked again."""


class Backoff(msgspec.Struct, frozen=True):
    """How long to wait before each further try."""

    base_seconds: float = 0.2
    limit_seconds: float = 10.0
    tries: int | None = None
    """After so many failures the last one is raised; None goes on until the caller is cancelled."""

    def delay(self, failures: int, chance: Chance) -> float:
        """Return a uniformly random share of a wait that doubles up to the limit, in seconds."""
        ceiling = self.base_seconds * 2.0 ** min(failures - 1, 32)
        return chance.fraction() * min(self.limit_seconds, ceiling)


async def persist(
    attempt: Callable[[], Awaitable[T]],
    *,
    backoff: Backoff,
    chance: Chance,
    delayed: Callable[[Exception, int, float], None] | None = None,
) -> T:
    """Return what `attempt` returns, asking again after every passing error.

    `delayed` hears of each: the error, how many there were in a row, and the seconds until the next try.
    """
    failures = 0
    while True:
        try:
            return await attempt()
        except PASSING as error:
            failures += 1
            if failures == backoff.tries:
                raise
            seconds = backoff.delay(failures, chance)
            if delayed is not None:
                delayed(error, failures, seconds)
        await asyncio.sleep(seconds)
