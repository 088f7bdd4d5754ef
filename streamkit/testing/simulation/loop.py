"""One loop for a whole fleet: many simulated processes, one virtual time, one seeded scheduler.

Everything that runs belongs to a process, found in its context: tasks, timers, the callbacks of futures.

    handle --> queue of its process --> run, first in first out          as asyncio does inside one process
                     |                    ^
                     | stopped or dead    | one process after the other, drawn at random
                     '--> held ----------'  until it is resumed

Inside a process the order is asyncio's own; only between processes is it drawn: else the loop would report schedules
that cannot happen (rule 33). A stopped process (SIGSTOP) keeps its handles and its clocks run on. A dead one never runs
again, not even its `finally`: it is kept whole until `bury`.
"""

from __future__ import annotations

import asyncio
import heapq
from contextlib import suppress
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

from streamkit.testing.simulation.home import HOME, Home
from streamkit.testing.time import NumberedTask

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Coroutine
    from concurrent.futures import Executor
    from contextvars import Context
    from typing import Any

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_THREAD_SECONDS = 0.2
_MICROSECOND = 1e-6
_LONG = 1_000
_SPIN = 20_000
"""Turns without any time passing that are called a busy loop."""
_FUNERALS = 3
_FUNERAL_TURNS = 2_000
"""So often everything is cancelled, and given so many turns to end."""


class Stuck(RuntimeError):
    """Nothing is ready and no timer is set."""


class FleetLoop(asyncio.BaseEventLoop):
    """Runs the processes of one simulation. `chance` draws which of them is next."""

    def __init__(self, chance: random.Random) -> None:
        self._running = False
        super().__init__()
        self._draw = chance.random
        self._now = 0.0
        self._turns = 0
        self._timers: list[tuple[float, int, asyncio.TimerHandle, Home]] = []
        self._numbers = count()
        self._tasks = count()
        self._able: list[Home] = []
        self._halted = False
        self.over = False
        """Whether the run is over and only has to end."""
        self.thread_seconds: Callable[[], float] = lambda: _THREAD_SECONDS * self._draw()
        """Draws how long a thread takes."""
        self.look: Callable[[], object] = lambda: None
        """Called when a thread is started; what it saw is kept for when the thread works."""
        self.thread_saw: object = None
        """What was seen when the thread that works right now was started."""
        self.thread_began = 0.0
        """When the thread that works right now was started."""
        self.thread_ends = 0.0
        """When the thread that works right now will have ended."""
        self.homes: list[Home] = []
        self.complaints: list[str] = []
        """What reached the loop's exception handler."""
        self.world = self.home("world")

    def home(self, name: str) -> Home:
        """Make a process."""
        home = Home(name, self)
        self.homes.append(home)
        return home

    # -- scheduling

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Queue a callback behind the others of its process."""
        home = HOME.get() if context is None else context[HOME]
        handle = asyncio.Handle(callback, args, self, context)
        self._append(home, handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Do the same: there are no threads."""
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Queue a callback after so many seconds."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Queue a callback at a moment."""
        home = HOME.get() if context is None else context[HOME]
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), handle, home))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Do nothing: cancelled timers fall out when they come due. Called by asyncio."""

    def _append(self, home: Home, handle: asyncio.Handle) -> None:
        home.queue.append(handle)
        if home.running and not home.listed:
            home.listed = True
            self._able.append(home)

    def rest(self, home: Home) -> None:
        """Run nothing of this process."""
        if home.listed:
            home.listed = False
            self._able.remove(home)

    def wake(self, home: Home) -> None:
        """Run what was held."""
        if home.queue and not home.listed:
            home.listed = True
            self._able.append(home)

    # -- running

    def run_until_complete(self, future: Any) -> Any:  # noqa: ANN401 - the signature is asyncio's
        """Run until the future is done, or the loop is halted."""
        self._running = True
        asyncio._set_running_loop(self)  # noqa: SLF001 - documented for loops of one's own
        try:
            while not future.done() and not self._halted:
                self._turn()
        finally:
            asyncio._set_running_loop(None)  # noqa: SLF001 - as above
            self._running = False
        return future.result() if future.done() else None

    def halt(self) -> None:
        """Stop after the callback under way."""
        self._halted = True

    def _turn(self) -> None:
        """Let one process, drawn among those that can, run what it has ready."""
        able = self._able
        if not able:
            self._advance()
            return
        home = able[int(self._draw() * len(able))] if len(able) > 1 else able[0]
        queue = home.queue
        self._turns += 1
        if self._turns % _LONG == 0:
            self._now += _MICROSECOND  # running takes time too: a wait shorter than a float can tell would never end
        if self._turns > _SPIN:
            raise Stuck(f"{home.name} runs on and on while time stands still: {queue[0]!r}")
        for _ in range(len(queue)):
            handle = queue.popleft()
            if not handle._cancelled:  # noqa: SLF001 - as asyncio's own loops do
                handle._run()  # noqa: SLF001 - as above
            if not home.running or self._halted:
                break
        if not queue:
            self.rest(home)

    def _advance(self) -> None:
        """Jump to the next timer; queue what is due then."""
        timers = self._timers
        while timers and timers[0][2]._cancelled:  # noqa: SLF001 - as asyncio does
            heapq.heappop(timers)
        if not timers:
            raise Stuck("nothing is ready and no timer is set")
        self._now = max(self._now, timers[0][0])
        self._turns = 0
        while timers and timers[0][0] <= self._now:
            _, _, handle, home = heapq.heappop(timers)
            if not handle._cancelled:  # noqa: SLF001 - as asyncio does
                self._append(home, handle)

    def bury(self) -> None:
        """Let every task of every process end, so that nothing is left to the garbage collector."""
        self._halted = False
        self.over = True
        for home in self.homes:
            home.dead = False
            home.resume()
        self._running = True
        asyncio._set_running_loop(self)  # noqa: SLF001 - documented for loops of one's own
        try:
            for _ in range(_FUNERALS):
                self._cancel_all()
        finally:
            asyncio._set_running_loop(None)  # noqa: SLF001 - as above
            self._running = False
        self._timers.clear()

    def _cancel_all(self) -> None:
        tasks = [task for home in self.homes for task in home.tasks if not task.done()]
        for task in tasks:
            task.cancel()
        with suppress(Stuck):
            for _ in range(_FUNERAL_TURNS):
                if all(task.done() for task in tasks):
                    break
                self._turn()
        for task in tasks:
            if task.done() and not task.cancelled():
                task.exception()

    # -- what asyncio asks of a loop

    def number(self) -> int:
        """Return the number of the next task."""
        return next(self._tasks)

    def create_future(self) -> asyncio.Future[Any]:
        """Make a future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None, **_: object
    ) -> asyncio.Task[T]:
        """Make a task of the current process."""
        task = NumberedTask(coro, number=self.number(), loop=self, name=name, context=context)
        (HOME.get() if context is None else context[HOME]).keep(task)
        return task

    def run_in_executor(
        self,
        executor: Executor | None,  # noqa: ARG002 - there are no threads
        func: Callable[[*Ts], T],
        *args: *Ts,
    ) -> asyncio.Future[T]:
        """Stand in for a thread: it takes virtual time, and cannot be cancelled. Its work falls within that time."""
        future: asyncio.Future[T] = self.create_future()
        took = self.thread_seconds()
        before, began, saw = took * self._draw(), self._now, self.look()

        def work() -> None:
            self.thread_saw, self.thread_began = saw, began
            self.thread_ends = self._now + took - before
            try:
                end = partial(_finish, future, func(*args))
            except Exception as raised:  # noqa: BLE001 - whatever the thread raises
                end = partial(_fail, future, raised)
            self.call_later(took - before, end)

        self.call_later(before, work)
        return future

    def get_debug(self) -> bool:
        """No."""
        return False

    def is_running(self) -> bool:
        """Say whether it runs."""
        return self._running

    def is_closed(self) -> bool:
        """Always: it holds nothing that had to be closed."""
        return True

    def close(self) -> None:
        """Do nothing: it holds nothing."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Remember what nobody caught."""
        self.complaints.append(f"{context.get('message')}: {context.get('exception')!r}")


def _finish(future: asyncio.Future[T], answer: T) -> None:
    if not future.done():
        future.set_result(answer)


def _fail(future: asyncio.Future[T], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
