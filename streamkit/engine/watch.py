"""The time-out of one runner's attempts, at the price of one timer a time-out and none a record."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from streamkit.core.lanes import Stretch
from streamkit.events import HandlerStuck, HandlerTimedOut

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamkit.core.records import Record
    from streamkit.core.schedule import Attempt
    from streamkit.engine.needs import Handling, Surroundings


class Stopwatch:
    """Times the calls of the handler, where somebody looks: by the attempt, and a stretch as a whole.

    Of a stretch whose last call came to wait, that call is taken to have begun a mean call before: nobody looked at the
    time when it did.
    """

    def __init__(self, observe: Callable[[float, int], None]) -> None:
        """`observe` is told seconds, and how many calls took them."""
        self._observe = observe
        self._stretch: Stretch | None = None
        self._since: float | None = None

    def begin(self, attempt: Attempt | Stretch, now: float) -> None:
        """An attempt starts; of a stretch that is under way, the last call goes on alone."""
        if isinstance(attempt, Stretch):
            self._stretch, self._since = attempt, now
        elif self._stretch is not None and self._since is not None:
            mean = (now - self._since) / max(1, self._stretch.started)
            self._note(now - self._since - mean, self._stretch.started - 1)
            self._stretch, self._since = None, now - mean

    def call(self, now: float) -> None:
        """The handler of an attempt is called."""
        self._since = now

    def end(self, now: float) -> None:
        """The attempt has ended. What was cut off a stretch without a call, the filter or the fence has stopped."""
        if self._since is not None:
            stretch = self._stretch
            calls = 1 if stretch is None else stretch.started - (stretch.attempt is not None)
            self._note(now - self._since, calls)
        self._stretch = self._since = None

    def _note(self, seconds: float, calls: int) -> None:
        if calls > 0:
            self._observe(seconds, calls)


class UnderWay(NamedTuple):
    """A call of the handler that came to wait."""

    records: Sequence[Record]
    seconds: float
    """For so long."""


class Watch:
    """Watches the attempts of the task that makes it, one after the other. Times in seconds.

    An attempt whose handler is over its time is reported and, if it can be, cancelled. If it has not ended `grace`
    later, `on_stuck` is called: nothing but the end of the process will stop it (rule 8).
    """

    def __init__(
        self,
        *,
        timeout: float,
        grace: float,
        cancellable: bool,
        on_timeout: Callable[[Attempt | Stretch], None],
        on_stuck: Callable[[Attempt | Stretch], None],
        stopwatch: Stopwatch | None = None,
    ) -> None:
        self._timeout = timeout
        self._grace = grace
        self._cancellable = cancellable
        self._on_timeout = on_timeout
        self._on_stuck = on_stuck
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._stopwatch = stopwatch
        self._attempt: Attempt | Stretch | None = None
        self._began = 0.0
        self._called: float | None = None
        self._expired = False
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, attempt: Attempt | Stretch) -> None:
        """An attempt starts."""
        self._began = self._loop.time()
        if self._stopwatch is not None:
            self._stopwatch.begin(attempt, self._began)
        self._called = self._began if isinstance(self._attempt, Stretch) else None
        self._attempt = attempt
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout, self._look)

    def call(self) -> None:
        """The handler is called now: what was asked about its records before is no part of how long it takes."""
        self._called = self._began = self._loop.time()
        if self._stopwatch is not None:
            self._stopwatch.call(self._called)

    @property
    def under_way(self) -> UnderWay | None:
        """What the handler was called with and waits in, if there is anything."""
        if self._attempt is None or self._called is None:
            return None
        return UnderWay(self._attempt.records, self._loop.time() - self._called)

    def end(self) -> bool:
        """The attempt has ended. Return whether a cancellation was this watch's doing, and only its own."""
        if self._stopwatch is not None:
            self._stopwatch.end(self._loop.time())
        self._attempt = None
        if not self._expired:
            return False
        self._expired = False
        self.close()
        return self._cancellable and self._task is not None and self._task.uncancel() == 0

    def close(self) -> None:
        """No attempt is watched any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._attempt is None:
            return
        if self._called is None:  # what a table takes to answer is no fault of the record's
            self._timer = self._loop.call_later(self._timeout, self._look)
            return
        due = self._began + self._timeout + (self._grace if self._expired else 0.0)
        if self._loop.time() >= due:
            if self._expired:
                self._on_stuck(self._attempt)
                return
            self._expire(self._attempt)
            due = self._loop.time() + self._grace  # from now on: the process may have been asleep
        self._timer = self._loop.call_at(due, self._look)

    def _expire(self, attempt: Attempt | Stretch) -> None:
        self._expired = True
        self._on_timeout(attempt)
        if self._cancellable and self._task is not None:
            self._task.cancel()


def watching(handling: Handling, around: Surroundings, shard: str) -> Watch:
    """Return a watch for the attempts of the running task, which reports what it finds."""

    def on_timeout(attempt: Attempt | Stretch) -> None:
        number = attempt.records[0].sequence_number
        around.report(HandlerTimedOut(shard=shard, sequence=number, timeout_seconds=handling.timeout))

    def on_stuck(attempt: Attempt | Stretch) -> None:
        around.report(HandlerStuck(shard=shard, sequence=attempt.records[0].sequence_number))
        around.on_stuck()

    return Watch(
        timeout=handling.timeout,
        grace=handling.grace,
        cancellable=handling.threads is None,
        on_timeout=on_timeout,
        on_stuck=on_stuck,
        stopwatch=Stopwatch(around.observe) if around.observe else None,
    )
