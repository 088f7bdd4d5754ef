"""When a shard is subscribed to next, and when that is given up for polling: no I/O, no clock of its own.

A subscription lasts five minutes; one for the same consumer and shard within five seconds of the last is refused, a
later one takes over from it, wherever it is
(https://docs.aws.amazon.com/kinesis/latest/APIReference/API_SubscribeToShard.html). So two workers that both take
themselves for the owner must not take over from each other as fast as they can: who is refused, or loses its
subscription, waits for longer than the five seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from streamkit.aws.backoff import Backoff
from streamkit.aws.errors import Busy

if TYPE_CHECKING:
    from streamkit.ports import Chance


class FanOutSettings(msgspec.Struct, frozen=True):
    """How records are had pushed."""

    apart_seconds: float = 5.0
    """Between the beginnings of two subscriptions to a shard: the service refuses one that comes sooner."""
    silence_seconds: float = 15.0
    """Without an event for so long a connection is taken for dead: the service sends one every five seconds."""
    short_seconds: float = 30.0
    """A subscription that ends sooner, and has brought nothing new, has failed."""
    tries: int = 5
    """After so many failures in a row the shard is polled."""
    again_seconds: float = 300.0
    """Before fan-out is tried again by who had to poll."""
    active_seconds: float = 60.0
    """Longest wait for a stream consumer to become active; it takes the service some ten."""
    look_seconds: float = 1.0
    """Between two looks at it."""
    connections: int = 400
    """Most subscriptions of a source in a process: each holds a connection of those there are for other requests."""
    backoff: Backoff = Backoff()


class Renewal:
    """The history of one shard's subscriptions, as far as the next one depends on it. Moments are monotonic."""

    def __init__(self, settings: FanOutSettings) -> None:
        self._settings = settings
        self._began: float | None = None
        self._fruitful = False
        self.next_at = float("-inf")
        """When the next subscription may begin."""
        self.failures = 0
        """Subscriptions in a row that failed."""

    def __repr__(self) -> str:
        return f"<Renewal at {self.next_at}, {self.failures} failures>"

    @property
    def hopeless(self) -> bool:
        """Whether it is time to poll."""
        return self.failures >= self._settings.tries

    def began(self, now: float) -> None:
        """Take note of a subscription."""
        self._began, self._fruitful = now, False
        self.next_at = now + self._settings.apart_seconds

    def brought(self) -> None:
        """Take note of records that are new."""
        self._fruitful = True

    def ended(self, now: float, *, cause: Exception | None, chance: Chance) -> float:
        """Take note of the end of a subscription, or of the failure to begin one; return the seconds to wait.

        `cause` is None where the service ended it, as it does after five minutes: then the next may begin at once.
        """
        began, self._began = self._began, None
        good = began is not None and (self._fruitful or now - began >= self._settings.short_seconds)
        self.failures = 0 if good else self.failures + 1
        if cause is not None or not good:
            wait = self._settings.backoff.delay(max(1, self.failures), chance)
            if isinstance(cause, Busy):
                wait += self._settings.apart_seconds * (1 + chance.fraction())
            self.next_at = max(self.next_at, now + wait)
        return max(0.0, self.next_at - now)

    def given_up(self, now: float) -> None:
        """Take note that the shard is polled for a while."""
        self.failures = 0
        self.next_at = now + self._settings.again_seconds
