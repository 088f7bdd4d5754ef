"""How a consumer wants failures, outages and checkpoints handled. Values only, checked where they are made."""

from __future__ import annotations

from datetime import timedelta
from math import ceil

import msgspec

from streamkit.errors import ConfigurationError

SECOND = timedelta(seconds=1)
_LISTING_SECONDS = 60.0
"""How often the shards are listed although nothing points to a change, by a fleet that a service does not notice."""


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how long a failing record is tried. Delays have full jitter: uniform from 0 to the ceiling.

    The ceiling doubles from `initial` to `maximum`. A record that is older than `max_age` when it fails is not tried
    again. Source of the jitter: https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
    """

    attempts: int = 5
    initial: timedelta = timedelta(milliseconds=200)
    maximum: timedelta = timedelta(seconds=30)
    max_age: timedelta | None = None

    def __post_init__(self) -> None:
        _expect(self.attempts >= 1, "retry.attempts: expected at least 1", self.attempts)
        _expect(
            timedelta() <= self.initial <= self.maximum,
            "retry.initial: expected 0 to retry.maximum",
            self.initial,
        )
        _expect(
            self.max_age is None or self.max_age > timedelta(),
            "retry.max_age: expected more than 0",
            self.max_age,
        )


class Outage(msgspec.Struct, frozen=True, kw_only=True):
    """When everything fails, the shard pauses and nothing is condemned (rule 20).

    It pauses as soon as `records` different records failed and none succeeded since; with fewer, when a verdict is due.
    Probes come after `pause`, doubling to `maximum`. After `limit`, attempts count again; None is the smaller of
    6 hours and a quarter of the stream's retention.
    """

    records: int = 5
    pause: timedelta = SECOND
    maximum: timedelta = timedelta(seconds=60)
    limit: timedelta | None = None

    def __post_init__(self) -> None:
        _expect(self.records >= 2, "outage.records: expected at least 2", self.records)
        _expect(timedelta() < self.pause <= self.maximum, "outage.pause: expected 0 to outage.maximum", self.pause)
        _expect(self.limit is None or self.limit > timedelta(), "outage.limit: expected more than 0", self.limit)

    def limit_for(self, retention: timedelta) -> timedelta:
        """Return the limit in force for a stream of this retention."""
        return self.limit or min(timedelta(hours=6), retention / 4)


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What a service allows whoever lists a stream's shards."""

    shards: int
    """Of one answer."""
    calls_per_second: float
    """Of all who ask."""

    def seconds(self, *, workers: int, shards: int) -> float:
        """Return the pause between two listings by which a fleet uses half of what is allowed, a minute at least.

        The other half is for those who look for the children of one shard.
        """
        calls = workers * ceil(max(1, shards) / self.shards)
        return max(_LISTING_SECONDS, 2 * calls / self.calls_per_second)


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how often progress is made durable. After a crash at most one interval is repeated.

    A checkpoint is one write request a shard, whatever it covers; it is written `interval` after the first unwritten
    record settled, or as soon as `records` of them have (rule 18).
    """

    table: str | None = None
    """Name of the checkpoint table; None is `streamkit-<consumer's name>`."""
    interval: timedelta = timedelta(seconds=2)
    records: int = 10_000
    lease: timedelta = timedelta(seconds=10)
    """How long a silent worker keeps its shards."""
    window: int = 6_000
    """The most records of a shard between the frontier and the last one read in; lanes wait beyond it (rule 17)."""
    memory: timedelta = timedelta(days=7)
    """How long a function remembers a delivery: at least as long as the stream keeps a record (rule 24)."""

    def __post_init__(self) -> None:
        _expect(self.interval >= timedelta(), "checkpoint.interval: expected 0 or more", self.interval)
        _expect(self.records >= 1, "checkpoint.records: expected at least 1", self.records)
        _expect(self.lease >= SECOND, "checkpoint.lease: expected at least 1 second", self.lease)
        _expect(self.memory >= timedelta(hours=1), "checkpoint.memory: expected at least 1 hour", self.memory)
        _expect(1 <= self.window <= 20_000, "checkpoint.window: expected 1 to 20000", self.window)


def _expect(holds: bool, expectation: str, got: object) -> None:  # noqa: FBT001 - reads like an assertion
    if not holds:
        msg = f"{expectation}, got {got}"
        raise ConfigurationError(msg)
