"""The one file where time and chance enter streamkit (rule 32)."""

from __future__ import annotations

import random
import time
import uuid
from datetime import UTC, datetime
from functools import partial

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """The machine's clocks. `monotonic` runs on during suspend where the system can tell (CLOCK_BOOTTIME)."""

    monotonic = staticmethod(partial(time.clock_gettime, _CLOCK))
    """Seconds since boot. It is asked before each record, hence without a frame of its own."""

    def now(self) -> datetime:
        """The wall clock, in UTC."""
        return datetime.now(UTC)


class SystemChance:
    """The machine's randomness."""

    def fraction(self) -> float:
        """Uniform in [0, 1). For jitter only, hence not from the kernel's secure source."""
        return random.random()

    def token(self) -> str:
        """32 random hexadecimal digits."""
        return uuid.uuid4().hex
