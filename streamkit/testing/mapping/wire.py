"""The way from a container to the services: requests that outlive whoever sent them.

throttled   nothing happens                              -> Throttled
lost        it takes effect, the answer is lost          -> Unanswered, a second later
late        it takes effect after its sender gave it up  -> Unanswered, a second later
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from streamkit.errors import StreamkitError, Throttled, Unanswered
from streamkit.testing.time import SeededChance

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_PATIENCE_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """Shares of requests, between 0 and 1, that run into trouble; and the longest that one way takes."""

    throttled: float = 0.0
    lost: float = 0.0
    late: float = 0.0
    latency: timedelta = timedelta()


class Wire:
    """Carries requests in the world's own time: a container that dies or freezes does not call them back.

    To be made outside of any container. `requests` counts them by name.
    """

    def __init__(self, weather: Weather | None = None) -> None:
        self.weather = weather or Weather()
        self.requests: Counter[str] = Counter()
        self._chance = SeededChance().fork("wire")
        self._context = copy_context()

    async def ask(self, name: str, effect: Callable[[], T]) -> T:
        """Make a request; its effect takes place at one moment, or never.

        Raises what the effect raises, `Throttled`, `Unanswered`.
        """
        self.requests[name] += 1
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        weather, drawn = self.weather, self._chance.fraction()
        if drawn < weather.throttled:
            self._after(self._way(), lambda: _fail(answer, Throttled(name)))
        elif drawn < weather.throttled + weather.lost:
            self._after(self._way(), lambda: _unheard(effect))
            self._after(_PATIENCE_SECONDS, lambda: _fail(answer, Unanswered(name)))
        elif drawn < weather.throttled + weather.lost + weather.late:
            self._after(_PATIENCE_SECONDS * (1 + 5 * self._chance.fraction()), lambda: _unheard(effect))
            self._after(_PATIENCE_SECONDS, lambda: _fail(answer, Unanswered(name)))
        else:
            self._after(self._way(), lambda: self._land(effect, answer))
        return await answer

    def _land(self, effect: Callable[[], T], answer: asyncio.Future[T]) -> None:
        way = self._way()
        try:
            value = effect()
        except StreamkitError as refusal:
            error = refusal
            self._after(way, lambda: _fail(answer, error))
        else:
            self._after(way, lambda: None if answer.done() else answer.set_result(value))

    def _way(self) -> float:
        return self.weather.latency.total_seconds() * self._chance.fraction()

    def _after(self, seconds: float, call: Callable[[], object]) -> None:
        asyncio.get_running_loop().call_later(seconds, call, context=self._context)


def _unheard(effect: Callable[[], object]) -> None:
    with suppress(StreamkitError):
        effect()


def _fail(answer: asyncio.Future[T], error: StreamkitError) -> None:
    if not answer.done():
        answer.set_exception(error)
