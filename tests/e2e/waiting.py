"""Waiting for real processes: for a condition, never for a time."""

import time
from collections.abc import Callable

LIMIT_SECONDS = 120
"""Long: a busy machine is not judged."""


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Poll until a condition holds; fail if it does not within `LIMIT_SECONDS`."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"expected that {what}, waited {LIMIT_SECONDS} s in vain"
        time.sleep(0.05)
