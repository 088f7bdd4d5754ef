"""How one consumer settles, how a record may come to be settled, and what is counted."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec.structs import astuple

from streamkit.core.kpl import DECODING

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamkit.core.policy import Outage, Retry

OnDeadLetter = Literal["continue", "park", "halt"]
OnMissingKey = Literal["error", "handle"]


class Outcome(Enum):
    """How a record came to be settled."""

    HANDLED = "handled"
    FILTERED = "filtered"
    DUPLICATE = "duplicate"
    DEAD = "dead"


class Tally(msgspec.Struct):
    """Counters of one process."""

    received: int = 0
    handled: int = 0
    duplicates: int = 0
    filtered: int = 0
    dead: int = 0
    retried: int = 0
    received_bytes: int = 0

    def __add__(self, other: Tally) -> Tally:
        """Return what both counted."""
        return Tally(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    def count(self, outcome: Outcome, records: int) -> None:
        """Count records that were settled."""
        match outcome:
            case Outcome.HANDLED:
                self.handled += records
            case Outcome.DUPLICATE:
                self.duplicates += records
            case Outcome.FILTERED:
                self.filtered += records
            case Outcome.DEAD:
                self.dead += records


class Batching(msgspec.Struct, frozen=True, kw_only=True):
    """Batches for a batch handler: up to `size` records, waiting at most `linger` seconds to fill."""

    size: int
    linger: float


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How one consumer settles. `backoff` and `pause` give seconds for the n-th failure or pause, jitter included."""

    retry: Retry
    outage: Outage
    outage_limit: float
    """Seconds."""
    backoff: Callable[[int], float]
    pause: Callable[[int], float]
    on_dead_letter: OnDeadLetter = "continue"
    batching: Batching | None = None
    """None runs records one by one, in lanes."""
    once: bool = False
    """Whether no record is handed out twice: what fails is condemned at once (rule 25)."""
    decoding: int = DECODING
    """Version of the rules by which (sub)records are counted."""
