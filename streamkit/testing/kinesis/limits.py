"""Quotas of a shard, as AWS documents them, each of which may be off.

Source: https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html
"""

from __future__ import annotations

import msgspec

MIB = 1 << 20
MOST_RECORDS_PUT = 500
MOST_BYTES_PUT = 10 * MIB
MOST_RECORDS_READ = 10_000
MOST_BYTES_READ = 10 * MIB


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a shard allows per second; None: anything. `shards` bounds the open shards of all streams."""

    read_calls: int | None = None
    read_bytes: int | None = None
    write_records: int | None = None
    write_bytes: int | None = None
    shards: int = 10_000


class Pushing(msgspec.Struct, frozen=True, kw_only=True):
    """How subscriptions of enhanced fan-out go.

    Source: https://docs.aws.amazon.com/kinesis/latest/APIReference/API_SubscribeToShard.html
    """

    life_seconds: float = 300.0
    """A subscription ends after so long."""
    apart_seconds: float = 5.0
    """So soon after one that succeeded, another for the same consumer and shard is refused."""
    heartbeat_seconds: float = 5.0
    """Where nothing arrives, an event without records comes so often."""
    records: int = 10_000
    """Most records of one event."""
    consumers: int = 20
    """Most registered consumers of a stream."""
    registering_seconds: float = 0.0
    """How long a consumer is CREATING."""


UNLIMITED = Limits()
AS_AWS = Limits(read_calls=5, read_bytes=2 * MIB, write_records=1_000, write_bytes=MIB)


class Quota:
    """A rate per second, counted in windows that open with the first use.

    Whoever overspends in one go stretches the window: after an answer of 10 MiB a shard of 2 MiB/s stays shut 5 s.
    """

    __slots__ = ("_opened", "_spent")

    def __init__(self) -> None:
        self._opened = float("-inf")
        self._spent = 0

    def allows(self, wanted: int, *, rate: int | None, now: float) -> bool:
        """Whether `wanted` more fit now. Something larger than the rate fits into an unused window."""
        if rate is None:
            return True
        if now - self._opened >= max(1.0, self._spent / rate):
            self._opened, self._spent = now, 0
        return self._spent == 0 or self._spent + wanted <= rate

    def spend(self, amount: int) -> None:
        """Count what was used; ask `allows` first."""
        self._spent += amount
