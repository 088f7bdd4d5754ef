"""One simulated operating-system process: its clocks, its chance, and its way to the services."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from streamkit.errors import Throttled, Unanswered
from streamkit.testing.simulation.loop import HOME
from streamkit.testing.time import START, SeededChance

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from datetime import datetime

    from streamkit.testing.simulation.history import History
    from streamkit.testing.simulation.loop import FleetLoop, Home
    from streamkit.testing.simulation.mix import Rates
    from streamkit.testing.simulation.weather import Weather

T = TypeVar("T")

_PATIENCE = 1.0
"""Seconds a client waits for an answer before it calls a request unanswered."""


class Clock:
    """The clocks of one process: monotonic at a rate of its own, wall clock askew. Both run on while it is stopped."""

    def __init__(self, loop: FleetLoop, *, drift: float, skew: float, boot: float) -> None:
        self._loop = loop
        self._rate = 1.0 + drift
        self._boot = boot
        self._wall = START + timedelta(seconds=skew)

    def monotonic(self) -> float:
        """Seconds since this machine's boot."""
        return self._boot + self._loop.time() * self._rate

    def now(self) -> datetime:
        """The wall clock, in UTC."""
        return self._wall + timedelta(seconds=self._loop.time())


class Process:
    """A process of the fleet. `wire` carries its requests."""

    def __init__(self, name: str, loop: FleetLoop, clock: Clock, weather: Weather, history: History) -> None:
        self.name = name
        self.loop = loop
        self.home: Home = loop.home(name)
        self.clock = clock
        self.chance = SeededChance(f"{weather.seed}/{name}")
        self.history = history
        self.gone_at: float | None = None
        """When it was killed."""
        self.stops: list[tuple[float, float]] = []
        """From when until when it was stopped."""
        self._weather = weather

    @property
    def alive(self) -> bool:
        """Say whether it was never killed."""
        return not self.home.dead

    def kill(self, why: str) -> None:
        """SIGKILL: nothing of it ever runs again."""
        if self.alive:
            self.gone_at = self.loop.time()
            self.history.note(self.gone_at, self.name, f"killed: {why}")
            self.history.saw(f"killed {why}")
            self.home.kill()

    def stop(self, seconds: float, why: str) -> None:
        """SIGSTOP, and SIGCONT so many seconds later."""
        if not self.home.running:
            return
        self.stops.append((self.loop.time(), self.loop.time() + seconds))
        self.history.note(self.loop.time(), self.name, f"stopped for {seconds:.3f} s: {why}")
        self.history.saw(f"stopped {why}")
        self.home.stop()
        self.loop.call_later(seconds, self._resume, context=self.loop.world.context)

    def _resume(self) -> None:
        if self.alive:
            self.history.note(self.loop.time(), self.name, "resumed")
            self.home.resume()

    # -- requests

    async def leave(self, what: str) -> None:
        """The process's own part of a request: the decision is made, the request is not yet on its way."""
        rates, rng = self._weather.rates, self._weather.rng
        if rng.random() < rates.stop_at_request:
            self.stop(self._weather.long_stop(), f"before {what}")
        elif rng.random() < rates.kill_at_request:
            self.kill(f"before {what}")
            self._weather.bereaved(self)
        await asyncio.sleep(self._weather.way())

    async def ask(self, what: str, answer: Callable[[], T]) -> T:
        """Make a request without effect: the answer is that of the moment at which it arrives, and may grow stale."""
        await self.leave(what)
        self._refused(what)
        found = answer()
        await asyncio.sleep(self._weather.way())
        return found

    async def tell(self, what: str, effect: Callable[[], T], *, lossy: bool = True) -> T:
        """Make a request with an effect, which takes place whatever becomes of this process meanwhile.

        Raises `Throttled` (no effect) and `Unanswered` (effect now, later, or never).
        """
        await self.leave(what)
        return await self._send(what, effect, lossy=lossy)

    def _refused(self, what: str) -> None:
        weather, rates = self._weather, self._weather.rates
        if weather.table_down:
            raise weather.table_down(f"{what}: the table is down")
        if weather.rng.random() < rates.throttled:
            self.history.saw("request throttled")
            raise Throttled(what)

    def _send(self, what: str, effect: Callable[[], T], *, lossy: bool) -> asyncio.Future[T]:
        weather, loop = self._weather, self.loop
        rates, rng = weather.rates, weather.rng
        future: asyncio.Future[T] = loop.create_future()
        there = weather.way()
        fate = rng.random() if lossy else 1.0
        world = loop.world.context

        def answer(value: T | None, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(value)  # type: ignore[arg-type]
            else:
                future.set_exception(error)

        def land(heard: bool) -> None:  # noqa: FBT001
            if lossy and weather.table_down and heard:
                loop.call_later(0.0, answer, None, weather.table_down(f"{what}: the table is down"))
                return
            value, error = None, None
            try:
                value = effect()
            except Exception as refusal:  # noqa: BLE001 - the service's answer
                error = refusal
            if heard:
                loop.call_later(weather.way(), answer, value, error)
            elif error is None:
                self.history.note(loop.time(), self.name, f"{what} took effect unheard")

        def silent() -> None:
            answer(None, Unanswered(what))

        if fate < rates.throttled:
            self.history.saw("request throttled")
            loop.call_later(there, answer, None, Throttled(what), context=world)
        elif fate < rates.throttled + rates.lost:
            self.history.saw(f"answer lost: {what}")
            loop.call_later(there, land, False, context=world)
            loop.call_later(_PATIENCE, silent, context=world)
        elif fate < rates.throttled + rates.lost + rates.late:
            late = _PATIENCE * (0.9 + rng.random()) if rng.random() < 0.5 else rng.uniform(0.0, 3.0 * weather.lease)
            self.history.saw(f"late: {what}")
            loop.call_later(late, land, False, context=world)
            loop.call_later(_PATIENCE, silent, context=world)
        else:
            loop.call_later(there, land, True, context=world)
        return future

    def __repr__(self) -> str:
        return repr(self.home)


def current() -> Home:
    """Return the process that runs."""
    return HOME.get()
