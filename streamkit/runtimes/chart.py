"""The chart of one shard: how it fares, for the people who look at its row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.core.leasing import Vitals
from streamkit.events import RecordCondemned, RecordRetried, ShardPaused, ShardResumed

if TYPE_CHECKING:
    from streamkit.core.settlement import Settling
    from streamkit.events import Event
    from streamkit.ports import Clock, Report

HELD_UP_SECONDS = 10.0
"""A frontier that stands still for so long, with records waiting, is worth a checkpoint that says so."""
_MEMORY_SECONDS = 10.0
"""Over which a rate forgets half of what it was."""


class Chart:
    """Takes note of what the settling of one shard reports, and sums it up when a checkpoint is written.

    Costs no request of its own, but for what an operator has to see: a pause, its end, a shard that is held up.
    """

    def __init__(self, inherited: Vitals | None, *, clock: Clock, report: Report) -> None:
        self._inherited = inherited or Vitals()
        self._clock = clock
        self._pass_on = report
        self._retried = 0
        self._dead = 0
        self._paused: str | None = None
        self._rate = 0.0
        self._counted = (clock.monotonic(), 0)
        self._held_up: float | None = None
        self.behind: float | None = None
        """Seconds from the last record read to the tip."""

    def note(self, event: Event) -> None:
        """Take note of an event, and pass it on."""
        match event:
            case RecordRetried():
                self._retried += 1
            case RecordCondemned():
                self._dead += 1
            case ShardPaused():
                self._paused = f"{event.cause} at {event.where}" if event.where else event.cause
            case ShardResumed():
                self._paused = None
            case _:
                pass
        self._pass_on(event)

    def vitals(self, settling: Settling) -> Vitals:
        """Sum up."""
        before, oldest = self._inherited, settling.oldest
        return Vitals(
            at=round(self._clock.now().timestamp(), 3),
            settled=before.settled + settling.passed,
            retried=before.retried + self._retried,
            dead=before.dead + self._dead,
            rate=self._measured(settling.passed),
            waiting=settling.pending,
            oldest=None if oldest is None else oldest.arrived,
            behind=self.behind,
            held_up=self._held_up,
            paused=self._paused,
        )

    def stands(self, seconds: float) -> bool:
        """Take note of how long the frontier has stood still although records wait; say whether that is news."""
        before = self._held_up
        if seconds < HELD_UP_SECONDS:
            self._held_up = None
        elif before is None:
            self._held_up = round(self._clock.now().timestamp() - seconds, 3)
        return before is None and self._held_up is not None

    def is_news(self, told: Vitals | None) -> bool:
        """Say whether the row tells an operator something that is not so any more."""
        told = told or Vitals()
        caught_up = self.behind == 0.0 and bool(told.behind)
        return (self._paused, caught_up) != (told.paused, False) or bool(self._held_up and not told.held_up)

    def _measured(self, passed: int) -> float:
        """Return the records settled a second, what was long ago counting less."""
        now, (then, before) = self._clock.monotonic(), self._counted
        if now > then:
            keep = 0.5 ** ((now - then) / _MEMORY_SECONDS)
            self._rate = keep * self._rate + (1 - keep) * (passed - before) / (now - then)
            self._counted = (now, passed)
        return round(self._rate, 2)
