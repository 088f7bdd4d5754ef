"""tenacity's strategies, with chance injected: the one file that knows how long to wait before trying again.

tenacity decides about failures only. Nothing that succeeds passes through it: wrapping a call costs more than
many handlers do.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

import tenacity

from streamkit.errors import Throttled, Unanswered

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import timedelta

    from streamkit.ports import Chance

T = TypeVar("T")


class FullJitter(tenacity.wait.wait_base):
    """Wait uniformly between 0 and a ceiling that doubles from `initial` to `maximum`.

    Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """

    def __init__(self, *, initial: timedelta, maximum: timedelta, chance: Chance) -> None:
        self._ceiling = tenacity.wait_exponential(multiplier=initial.total_seconds(), max=maximum.total_seconds())
        self._chance = chance

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        """Return the seconds to wait after the attempt of this state."""
        return self._ceiling(retry_state) * self._chance.fraction()

    def after(self, failures: int) -> float:
        """Return the seconds to wait after the n-th failure."""
        return self(_state(failures))


class HalfJitter(FullJitter):
    """Wait between half the ceiling and the ceiling: a pause that must not be skipped by chance."""

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        """Return the seconds to wait after the attempt of this state."""
        return self._ceiling(retry_state) * (0.5 + self._chance.fraction() / 2)


async def insist(call: Callable[[], Awaitable[T]], wait: FullJitter, on_delay: Callable[[str, float], None]) -> T:
    """Return what the call returns, making it again for as long as a service throttles or does not answer.

    `on_delay` is told the error's class and the seconds of each pause. Raises any other error of the call.
    """

    def tell(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        on_delay(type(error).__name__, state.next_action.sleep if state.next_action else 0.0)

    insisting = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type((Throttled, Unanswered)),
        wait=wait,
        sleep=asyncio.sleep,
        before_sleep=tell,
        reraise=True,
    )

    async def attempt() -> T:
        return await call()

    return await insisting(attempt)


def _state(attempt: int) -> tenacity.RetryCallState:
    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    state.attempt_number = attempt
    return state
