"""The rate limit of one consumer in one process: a token bucket that its shards draw from in turn.

Kept as one number, the time at which the next record is due if none is saved up (the generic cell rate algorithm, ITU-T
I.371). Each shard reserves the place of its next attempt and waits for it, so that none starves beside a busy one.
"""

from __future__ import annotations

from streamkit.core.schedule import FOREVER

SAVED_SECONDS = 0.1
"""What a quiet time saves up: so many seconds' worth of records, one at least, may start at once."""

_AT_ONCE = 1e-6
"""Seconds that are not worth waiting for: a timer may fire by the rounding of its sum too early."""


class Pace:
    """At most `rate` records a second, over all shards. Times are the caller's monotonic seconds."""

    def __init__(self, rate: float) -> None:
        self._each = 1 / rate
        self._saved = max(0.0, SAVED_SECONDS - self._each)
        self._due = float("-inf")

    def reserve(self, now: float) -> float:
        """Take the next place; return when its turn comes, which may be now or before."""
        turn = max(self._due, now - self._saved)
        self._due = turn + self._each
        return turn

    def charge(self, records: int) -> None:
        """Count so many records besides those that places were taken for; below zero are given back."""
        self._due += records * self._each


class Turn:
    """One shard's place."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self.at: float | None = None
        """When it comes; None while nothing is waited for."""

    def has_come(self, now: float) -> bool:
        """Say whether an attempt may start now; a place is taken if there is none."""
        if self.at is None:
            self.at = self._pace.reserve(now)
        return self.at <= now + _AT_ONCE

    def due(self, now: float) -> float:
        """Return when the turn comes that is waited for; FOREVER if none is."""
        return FOREVER if self.at is None or self.at <= now + _AT_ONCE else self.at

    def use(self, records: int) -> None:
        """An attempt of so many records starts: a batch counts whole, and what follows waits the longer."""
        self.at = None
        self._pace.charge(records - 1)

    def give_back(self, records: int) -> None:
        """So many records of an attempt needed no handler."""
        self._pace.charge(-records)
