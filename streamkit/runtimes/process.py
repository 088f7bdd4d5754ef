"""What the crews of one process share, and what the incarnations of one crew share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from streamkit.engine.retry import FullJitter, insist
from streamkit.events import CoordinationDelayed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from streamkit.consumer import Consumer
    from streamkit.engine.engine import Handling
    from streamkit.ports import Chance, Clock, Ports, Registration, Report, Rows
    from streamkit.runtimes.budget import Budget
    from streamkit.runtimes.health.meters import Meters
    from streamkit.runtimes.trial import Quarters
    from streamkit.runtimes.world import World

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What the crews of one process share, but for `meters` and `report`; and the incarnations of one crew."""

    name: str
    world: World
    clock: Clock
    chance: Chance
    report: Report
    """Passes on to whoever listens, and counts for `meters`."""
    budget: Budget
    meters: Meters
    stop: asyncio.Event
    grace: timedelta
    on_stuck: Callable[[], None]
    quarters: Quarters

    async def insist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Return what a request to the table returns, however long the table takes to answer.

        Raises `Stopping` instead of asking once more where the worker is to stop: nobody waits for a start any longer.
        """
        wait = FullJitter(initial=timedelta(seconds=0.1), maximum=timedelta(seconds=2), chance=self.chance)

        async def attempt() -> T:
            if self.stop.is_set():
                raise Stopping
            return await call()

        return await insist(attempt, wait, self._delayed)

    def _delayed(self, error: str, _seconds: float) -> None:
        self.report(CoordinationDelayed(worker=self.name, error=error))


class Stopping(Exception):
    """The worker is to stop, and what it was about to begin has not begun."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A consumer with everything it works through: the same for all its incarnations."""

    consumer: Consumer
    ports: Ports
    rows: Rows
    registration: Registration
    handling: Handling
