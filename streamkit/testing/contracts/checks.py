"""What the suites share: names nobody used before."""

from __future__ import annotations

from streamkit.clock import SystemChance

_chance = SystemChance()


def fresh(prefix: str) -> str:
    """Return a name that no other test uses, so that suites may share a table."""
    return f"{prefix}-{_chance.token()}"
