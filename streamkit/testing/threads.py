"""Thread jobs of a virtual loop: real threads that take no virtual time unless they say so.

started --> busy --> ended (result delivered in the order of starting)
             ^  |
        open |  v  wait
           at a gate          virtual time goes on only while nothing is busy
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from concurrent.futures import Executor
    from concurrent.futures import Future as Job
    from typing import Any

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

PATIENCE_SECONDS = 60.0
"""Real seconds for which the loop waits for a busy thread before it calls the thread stuck."""
THREADS = 64


class StuckThread(RuntimeError):
    """A thread job neither ended nor waits at a gate, where it has to be if it waits for virtual time."""


class Jobs:
    """The thread jobs of one loop. Everything is guarded by one condition."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.busy = 0
        self.closed = False
        self._under_way: dict[int, tuple[Job[Any], asyncio.Future[Any]]] = {}
        self._ended: set[int] = set()
        self._started = 0
        self._woken = False
        self._pool: Executor | None = None

    def start(
        self,
        future: asyncio.Future[T],
        executor: Executor | None,
        func: Callable[[*Ts], T],
        *args: *Ts,
    ) -> asyncio.Future[T]:
        """Start a job whose outcome goes to `future`, at the next `settle` after it has ended."""
        pool = executor or self._own_pool()
        job = pool.submit(func, *args)
        with self.changed:
            self._started += 1
            number = self._started
            self.busy += 1
            self._under_way[number] = (job, future)
        future.add_done_callback(lambda future: job.cancel() if future.cancelled() else None)
        job.add_done_callback(lambda _: self._end(number))
        return future

    def _own_pool(self) -> Executor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="virtual")
        return self._pool

    def _end(self, number: int) -> None:
        with self.changed:
            self._ended.add(number)
            self.busy -= 1
            self.changed.notify_all()

    def wake(self) -> None:
        """Let `settle` return: another thread has scheduled a callback."""
        with self.changed:
            self._woken = True
            self.changed.notify_all()

    def settle(self) -> bool:
        """Wait, in real time, until nothing is busy or the loop is woken. Deliver what has ended.

        Return whether there is something new for the loop to look at. Raises `StuckThread`.
        """
        with self.changed:
            if not self.changed.wait_for(lambda: self._woken or not self.busy, PATIENCE_SECONDS):
                after = f"after {PATIENCE_SECONDS:.0f} real seconds"
                raise StuckThread(f"{self.busy} thread jobs neither ended nor wait at a gate {after}")
            woken, self._woken = self._woken, False
            ended = [] if self.busy else sorted(self._ended)
            outcomes = [self._under_way.pop(number) for number in ended]
            self._ended.difference_update(ended)
        for job, future in outcomes:
            _deliver(job, future)
        return woken or bool(outcomes)

    def close(self) -> None:
        """Let the jobs that wait at gates fail, and wait until every job has ended. Raises `StuckThread`."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()
            if not self.changed.wait_for(lambda: len(self._ended) == len(self._under_way), PATIENCE_SECONDS):
                running = len(self._under_way) - len(self._ended)
                raise StuckThread(f"{running} thread jobs run on {PATIENCE_SECONDS:.0f} real seconds after the loop")
        if self._pool is not None:
            self._pool.shutdown()


class Gate:
    """Where thread jobs wait while virtual time goes on. Once opened, by the loop or a job, it stays open."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._open = False
        self._waiting = 0

    def wait(self) -> None:
        """Block the calling thread job until the gate is open. Raises `StuckThread` if the loop ends."""
        jobs = self._jobs
        with jobs.changed:
            if self._open:
                return
            self._waiting += 1
            jobs.busy -= 1
            jobs.changed.notify_all()
            jobs.changed.wait_for(lambda: self._open or jobs.closed)
            if not self._open:
                self._waiting -= 1
                jobs.busy += 1
                msg = "the loop has ended and the gate was never opened"
                raise StuckThread(msg)

    def open(self) -> None:
        """Let every waiting job go on; from this moment virtual time stands still for them."""
        jobs = self._jobs
        with jobs.changed:
            self._open = True
            jobs.busy += self._waiting
            self._waiting = 0
            jobs.changed.notify_all()


def _deliver(job: Job[T], future: asyncio.Future[T]) -> None:
    """Hand the outcome over, unless nobody waits for it any more."""
    if future.done():
        return
    if job.cancelled():
        future.cancel()
        return
    error = job.exception()
    if isinstance(error, StopIteration):  # a future refuses to carry it
        error = RuntimeError(f"a thread job raised {error!r}")
    if error is None:
        future.set_result(job.result())
    else:
        future.set_exception(error)
