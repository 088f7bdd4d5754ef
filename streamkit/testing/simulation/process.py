"""One simulated operating-system process: its clocks, its chance, and its way to the services."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from streamkit.errors import DeclaredDead, Refused, Throttled, Unanswered
from streamkit.testing.time import START, SeededChance

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from streamkit.testing.simulation.history import History
    from streamkit.testing.simulation.home import Home
    from streamkit.testing.simulation.loop import FleetLoop
    from streamkit.testing.simulation.weather import Fate, Weather

T = TypeVar("T")

_PATIENCE = 1.0
"""Seconds a client waits for an answer before it calls a request unanswered."""
_RELEASE_SECONDS = 5.0
"""What a drain has to release its shards in, after the grace: not the product's own figure."""


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
        self.cut_at = float("inf")
        """When the grace after its SIGTERM runs out."""
        self.stops: list[tuple[float, float]] = []
        """From when until when it was stopped."""
        self.weather = weather
        self.wards: list[Home] = []
        """Processes of its own, which end with it."""

    @property
    def over_at(self) -> float:
        """When its drain is over: it writes nothing any more, though a thread that never ends may keep it."""
        return self.cut_at + _RELEASE_SECONDS

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
            for each in (self.home, *self.wards):
                each.kill()

    def stop(self, seconds: float, why: str) -> None:
        """SIGSTOP, and SIGCONT so many seconds later."""
        if not self.home.running:
            return
        self.stops.append((self.loop.time(), self.loop.time() + seconds))
        self.history.note(self.loop.time(), self.name, f"stopped for {seconds:.3f} s: {why}")
        self.history.saw(f"stopped {why}")
        for each in (self.home, *self.wards):
            each.stop()
        self.loop.call_later(seconds, self._resume, context=self.loop.world.context)

    def _resume(self) -> None:
        if self.alive:
            self.history.note(self.loop.time(), self.name, "resumed")
            for each in (self.home, *self.wards):
                each.resume()

    # -- requests

    async def leave(self, what: str) -> None:
        """The process's own part of a request: the decision is made, the request is not yet on its way."""
        rates, rng = self.weather.rates, self.weather.rng
        if rng.random() < rates.stop_at_request:
            self.stop(self.weather.long_stop(), f"before {what}")
        elif rng.random() < rates.kill_at_request:
            self.kill(f"before {what}")
            self.weather.bereaved(self)
        await asyncio.sleep(self.weather.way())

    async def tell(self, what: str, effect: Callable[[], T], *, lossy: bool = True) -> T:
        """Make a request with an effect, which takes place whatever becomes of this process meanwhile.

        Raises `Throttled` (no effect) and `Unanswered` (effect now, later, or never).
        """
        await self.leave(what)
        request = _Request(self, what, effect)
        request.go(self.weather.fate() if lossy else "heard", during_outages=lossy)
        return await request.answer

    def refused(self, what: str) -> None:
        """Raise what a table that is down, or has enough, answers."""
        weather, rates = self.weather, self.weather.rates
        if weather.table_down:
            raise weather.table_down(f"{what}: the table is down")
        if weather.rng.random() < rates.throttled:
            self.history.saw("request throttled")
            raise Throttled(what)

    def __repr__(self) -> str:
        return repr(self.home)


class _Request(Generic[T]):
    """A request with an effect, on its way outside of every process."""

    def __init__(self, process: Process, what: str, effect: Callable[[], T]) -> None:
        self.answer: asyncio.Future[T] = process.loop.create_future()
        self._process = process
        self._what = what
        self._effect = effect

    def go(self, fate: Fate, *, during_outages: bool) -> None:
        """Send it to what is to become of it."""
        weather, saw = self._process.weather, self._process.history.saw
        match fate:
            case "throttled":
                saw("request throttled")
                self._after(weather.way(), partial(self._fail, Throttled(self._what)))
            case "lost":
                saw(f"answer lost: {self._what}")
                self._after(weather.way(), self._land_unheard)
                self._after(_PATIENCE, self._give_up)
            case "late":
                saw(f"late: {self._what}")
                self._after(weather.late(_PATIENCE), self._land_unheard)
                self._after(_PATIENCE, self._give_up)
            case "heard":
                self._after(weather.way(), partial(self._land, during_outages=during_outages))

    def _after(self, seconds: float, call: Callable[[], object]) -> None:
        loop = self._process.loop
        loop.call_later(seconds, call, context=loop.world.context)

    def _land(self, *, during_outages: bool) -> None:
        weather = self._process.weather
        if during_outages and weather.table_down:
            self._fail(weather.table_down(f"{self._what}: the table is down"))
            return
        try:
            value = self._effect()
        except Exception as refusal:  # noqa: BLE001 - the service's answer
            self._after(weather.way(), partial(self._fail, refusal))
        else:
            self._after(weather.way(), partial(self._succeed, value))

    def _land_unheard(self) -> None:
        try:
            self._effect()
        except (Refused, DeclaredDead):
            self._process.history.saw(f"refused unheard: {self._what}")
        else:
            self._process.history.note(self._process.loop.time(), self._process.name, f"{self._what} went unheard")

    def _give_up(self) -> None:
        self._fail(Unanswered(self._what))

    def _succeed(self, value: T) -> None:
        if not self.answer.done():
            self.answer.set_result(value)

    def _fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
