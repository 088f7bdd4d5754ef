"""What befalls invocations, each with its share of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Shares between 0 and 1, drawn anew for each invocation."""

    throttled: float = 0.0
    """Refused before the handler runs; never counts as a retry."""
    lost: float = 0.0
    """The handler runs to its end, the mapping hears nothing and delivers again."""
    twins: float = 0.0
    """The batch is invoked twice at once; the mapping goes by one answer, and never waits for the other."""
    crashed: float = 0.0
    """The container dies in the middle, as of memory."""
    stalled: float = 0.0
    """The container stands still in the middle, for up to twice its time-out."""
    zombies: float = 0.0
    """Of the time-outs: the container is frozen instead of killed, and goes on within a later invocation."""
    recycled: float = 0.0
    """The container dies after its answer; the next invocation is a cold start."""
    within: timedelta = timedelta(seconds=2)
    """Crashes, stalls and twins come within so long after the start."""
    latency: timedelta = timedelta()
    """The longest way of a request to the function, and of its answer back."""
