"""What a redrive is told, what it works with, and what it answers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from streamkit.core.sorting import Wanted

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamkit.ports import Chance, Clock, Ledger, Mailbox, Payloads, Redriven, Report, Successes

MAX_LETTERS = 10_000
"""Gathered at once, unless said otherwise: they are in memory, payloads and all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a redrive runs."""

    wanted: Wanted = field(default_factory=Wanted)
    most: int = MAX_LETTERS
    rate: float | None = None
    """Records a second; None is as fast as they go."""
    patience: timedelta = timedelta(seconds=30)
    """How long everything may fail before it is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What a redrive works with."""

    mailbox: Mailbox
    redriven: Redriven
    ledger: Ledger | None
    clock: Clock
    chance: Chance
    report: Report
    on_stuck: Callable[[], None]
    successes: Successes | None = None
    payloads: Payloads | None = None


@dataclass(slots=True)
class Result:
    """What became of the letters."""

    handled: int = 0
    filtered: int = 0
    dropped: int = 0
    """Whose effect has been: redriven before, or the same event under another record."""
    stayed: Counter[str] = field(default_factory=Counter[str])
    """Letters that are in the queue as they were, by the reason they failed for now."""
    left: int = 0
    """Letters that were not wanted, not this consumer's, or not readable."""
    stopped: str | None = None
    """Why it ended before its time."""
    remaining: frozenset[str] = frozenset()
    """Digests of the keys that have letters in the queue, as far as it was seen."""
    complete: bool = False
    """Whether the whole queue was seen, and read."""

    def __add__(self, later: Result) -> Result:
        """Return what became of the letters of both runs; what stays is what stayed last."""
        return Result(
            handled=self.handled + later.handled,
            filtered=self.filtered + later.filtered,
            dropped=self.dropped + later.dropped,
            stayed=later.stayed,
            left=later.left,
            stopped=later.stopped,
            remaining=later.remaining,
            complete=later.complete,
        )

    @property
    def settled(self) -> int:
        """Letters that left the queue."""
        return self.handled + self.filtered + self.dropped
