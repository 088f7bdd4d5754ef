"""Waiting for real processes: for a condition, never for a time."""

import time
from collections.abc import Callable

LIMIT_SECONDS = 120
"""Long: a busy machine is not judged."""
PAUSE_SECONDS = 0.05
SHARE = 5
"""Looking takes one part in so many of the time: the rest is for those who are waited for."""


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Poll until a condition holds; fail if it does not within `LIMIT_SECONDS`."""
    deadline = (looked := time.monotonic()) + LIMIT_SECONDS
    while not condition():
        now = time.monotonic()
        assert now < deadline, f"expected that {what}, waited {LIMIT_SECONDS} s in vain"
        time.sleep(max(PAUSE_SECONDS, (SHARE - 1) * (now - looked)))
        looked = time.monotonic()
