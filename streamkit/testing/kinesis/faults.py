"""Troubles to run into, as a value: what share of the calls of which operation meets what.

    Faults(of={"GetRecords": Fault(throttled=0.2, expired=0.01)}, otherwise=Fault(latency_seconds=(0.0, 0.05)))

Which calls are hit follows from the world's seeded chance alone, so a failing run can be repeated.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """Shares of calls between 0 and 1. In PutRecords `throttled` and `failing` hit single records."""

    throttled: float = 0.0
    """Refused for pace; nothing happened."""
    failing: float = 0.0
    """Answered with an internal failure; nothing happened."""
    expired: float = 0.0
    """GetRecords only: the iterator is called too old."""
    lost: float = 0.0
    """It happened, but the answer never arrives."""
    latency_seconds: tuple[float, float] = (0.0, 0.0)
    """Drawn uniformly for each call; the HTTP endpoint waits it out, the pure world has no time to waste."""

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        for name in ("throttled", "failing", "expired", "lost"):
            share = getattr(self, name)
            if not 0.0 <= share <= 1.0:
                raise ValueError(f"expected a share between 0 and 1 for {name}, got {share!r}")
        low, high = self.latency_seconds
        if not 0.0 <= low <= high:
            raise ValueError(f"expected 0 <= low <= high for latency_seconds, got {self.latency_seconds!r}")


CALM = Fault()


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """The fault of each operation by its AWS name ("GetRecords"), and of all others."""

    of: Mapping[str, Fault] = {}
    otherwise: Fault = CALM

    def on(self, operation: str) -> Fault:
        """Return what calls of `operation` may meet."""
        return self.of.get(operation, self.otherwise)


NONE = Faults()
