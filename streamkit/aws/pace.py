"""The quotas of a polled shard, kept on the reader's own clock.

Five GetRecords calls and 2 MB a second and shard
(https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html).
"""

from __future__ import annotations

import asyncio

import msgspec

from streamkit.ports import Clock


class Pacing(msgspec.Struct, frozen=True):
    """How often a shard may be asked."""

    calls_per_second: float = 5.0
    bytes_per_second: float = 2_000_000.0
    idle_seconds: float = 0.25
    """Between an empty answer at the tip and the next call."""
    idle_limit_seconds: float = 0.5
    """The same after several empty answers: the wait doubles up to here."""


class Pace:
    """When one shard may be asked next."""

    def __init__(self, pacing: Pacing, clock: Clock) -> None:
        self._pacing = pacing
        self._clock = clock
        self._sent = self._next = clock.monotonic()
        self._idle = pacing.idle_seconds

    async def turn(self) -> None:
        """Wait until the next call is allowed, and count it as made."""
        wait = self._next - self._clock.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        self._sent = self._clock.monotonic()
        self._next = self._sent + 1 / self._pacing.calls_per_second

    def note(self, size_bytes: int, *, idle: bool) -> None:
        """Put the next call off by what the last answer weighed, or because there was nothing to read."""
        self._next = max(self._next, self._sent + size_bytes / self._pacing.bytes_per_second)
        if not idle:
            self._idle = self._pacing.idle_seconds
            return
        self._next = max(self._next, self._sent + self._idle)
        self._idle = min(self._idle * 2, self._pacing.idle_limit_seconds)
