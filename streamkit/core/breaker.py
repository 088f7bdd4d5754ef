"""The circuit breaker of one shard: closed, open, half-open with one probe. It pauses the shard, never a record.

Nygard's pattern (https://martinfowler.com/bliki/CircuitBreaker.html), with one difference: it cannot fail calls fast,
since a record that is not handled stays; so open means waiting, and after `limit` seconds attempts count again.
"""

from __future__ import annotations


class Breaker:
    """Whether the shard may run, and when it may be probed. Times are the caller's monotonic seconds."""

    def __init__(self, *, limit: float) -> None:
        self._limit = limit
        self._opened: float | None = None
        self.probe_at = 0.0
        self.pauses = 0
        """How often it opened or a probe failed since it was closed last."""
        self.probing: int | None = None
        """Ordinal of the record whose attempt is the one probe under way."""

    @property
    def closed(self) -> bool:
        """Say whether everything may run."""
        return self._opened is None

    def paused(self, now: float) -> float:
        """Return for how many seconds it has not been closed."""
        return 0.0 if self._opened is None else now - self._opened

    def worn_out(self, now: float) -> bool:
        """Say whether the outage has lasted for `limit`: attempts count again."""
        return self._opened is not None and now - self._opened >= self._limit

    @property
    def limit_at(self) -> float:
        """When `worn_out` will be true, if it stays open."""
        return (self._opened or 0.0) + self._limit

    def may_probe(self, now: float) -> bool:
        """Say whether one probe may start."""
        return self.probing is None and now >= self.probe_at

    def open(self, now: float, pause: float) -> None:
        """Pause, or after a failed probe pause on, until a probe is due after `pause` seconds."""
        if self._opened is None:
            self._opened = now
        self.pauses += 1
        self.probing = None
        self.probe_at = now + pause

    def postpone(self, until: float) -> None:
        """Probe no sooner than this."""
        self.probe_at = max(self.probe_at, until)

    def close(self) -> None:
        """A probe succeeded: go on."""
        self._opened = None
        self.probing = None
        self.pauses = 0
