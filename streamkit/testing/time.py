"""Virtual time: hours of waiting cost milliseconds, and one seed gives one history (rule 32).

The loop never sleeps. When nothing is ready, time jumps to the next timer; when there is no timer either,
nothing can ever happen again, and `Deadlock` says who waits where. Inside a loop the order is asyncio's own,
first in, first out.

Threads (`asyncio.to_thread`, `run_in_executor`) are real, and cost no virtual time: the clock stands still
until every thread job has ended or waits at a `Gate`; then their results are delivered in the order in which
the jobs were started. A job that wants to take virtual time blocks at a `Gate` or in `VirtualLoop.block`.
There are no sockets, signals or subprocesses: a world of its own has no outside.
"""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

from streamkit.testing.threads import Gate, Jobs

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from concurrent.futures import Executor
    from typing import Any

__all__ = [
    "START",
    "Deadlock",
    "Gate",
    "ManualClock",
    "NumberedTask",
    "SeededChance",
    "VirtualClock",
    "VirtualLoop",
    "run_virtual",
]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

START = datetime(2013, 1, 1, tzinfo=UTC)
"""When virtual time begins, unless told otherwise."""
BOOT = 10_000.0
"""What `VirtualClock.monotonic` shows at the start: not the loop's own 0, so that mixing the two is seen."""
NAMED = 20
"""A deadlock names this many tasks at most."""


class Deadlock(RuntimeError):
    """Nothing is ready and no timer is set: the tasks wait for something that cannot happen any more."""

    def __init__(self, tasks: list[asyncio.Task[Any]]) -> None:
        shown = "; ".join(_whereabouts(task) for task in tasks[:NAMED]) or "none"
        super().__init__(f"nothing is ready and no timer is set; {len(tasks)} pending tasks: {shown}")


class NumberedTask(asyncio.Task[T]):
    """A task whose place in a set depends on its number, not on its address.

    A task group cancels its tasks in the order of a set: `asyncio.TaskGroup._abort`.
    """

    def __init__(self, coro: Coroutine[Any, Any, T], *, number: int, **options: Any) -> None:  # noqa: ANN401 - `asyncio.Task`'s
        self._number = number
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self._number


class VirtualLoop(asyncio.BaseEventLoop):
    """An asyncio loop on virtual time. `seed` and `start` are for the clock and the chance made from it."""

    def __init__(self, *, seed: int = 0, start: datetime = START) -> None:
        super().__init__()
        self.seed = seed
        self.start = start
        self._now = 0.0
        self._jobs = Jobs()
        self._selector = self
        self._numbers = count()
        self.set_task_factory(self._numbered)

    def _numbered(self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> NumberedTask[Any]:  # noqa: ANN401 - typeshed: any task
        return NumberedTask(coro, number=next(self._numbers), loop=loop, **options)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def block(self, seconds: float) -> None:
        """Block the calling thread job for this much virtual time; the way a sync handler sleeps."""
        gate = self.gate()
        self.call_soon_threadsafe(self.call_later, seconds, gate.open)
        gate.wait()

    def gate(self) -> Gate:
        """Return a closed gate, at which thread jobs of this loop can wait while virtual time goes on."""
        return Gate(self._jobs)

    def select(self, timeout: float | None) -> list[object]:
        """Stand in for the selector: asyncio calls it once a turn, with the seconds it has nothing to do.

        0 means that callbacks are ready, None that there is no timer. Raises `Deadlock`.
        """
        if timeout == 0 or self._jobs.settle():
            return []
        if timeout is None:
            pending = sorted(asyncio.all_tasks(self), key=lambda task: task.get_name())
            raise Deadlock(pending)
        self._now += timeout
        return []

    def _process_events(self, events: list[object]) -> None:
        """Do nothing: there are no sockets. Called by asyncio."""

    def _write_to_self(self) -> None:
        """Wake the loop out of `settle`. Called by asyncio's `call_soon_threadsafe`."""
        self._jobs.wake()

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Run `func` in a thread; its result arrives at the virtual moment at which it was started."""
        self._check_open()
        return self._jobs.start(self.create_future(), executor, func, *args)

    def _check_open(self) -> None:
        if self.is_closed():
            msg = "the virtual loop is closed"
            raise RuntimeError(msg)

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109 - as asyncio has it
        """Let the waiting thread jobs fail, then for all to end. asyncio's `timeout` is real time."""
        self._jobs.close()

    def close(self) -> None:
        """Close the loop and its threads."""
        self._jobs.close()
        super().close()


def run_virtual(
    main: Callable[[], Coroutine[Any, Any, T]] | Coroutine[Any, Any, T],
    *,
    seed: int = 0,
    start: datetime = START,
) -> T:
    """Run `main` to its end in virtual time and return what it returns; the same seed gives the same run.

    `VirtualClock()` and `SeededChance()` made inside belong to this run. Raises its errors, `Deadlock`.
    """
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(seed=seed, start=start)) as runner:
        return runner.run(_called(main))


async def _called(main: Callable[[], Coroutine[Any, Any, T]] | Coroutine[Any, Any, T]) -> T:
    """Call `main` where there is a running loop, so that it may make clocks before its first await."""
    return await (main() if callable(main) else main)


def _running() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        msg = f"expected to run on a VirtualLoop (see run_virtual), got {type(loop).__name__}"
        raise TypeError(msg)
    return loop


class VirtualClock:
    """The clocks of one simulated process over a loop's time; by default of the running loop.

    `drift` is how much faster its monotonic clock runs (0.01: one per cent), `boot` what that shows at the
    start, `skew` how far its wall clock is ahead.
    """

    def __init__(
        self,
        loop: VirtualLoop | None = None,
        *,
        boot: float = BOOT,
        drift: float = 0.0,
        skew: timedelta = timedelta(),
    ) -> None:
        self._loop = loop or _running()
        self._boot = boot
        self._rate = 1.0 + drift
        self._wall = self._loop.start + skew

    def monotonic(self) -> float:
        """Seconds since `boot` before the start."""
        return self._boot + self._loop.time() * self._rate

    def now(self) -> datetime:
        """The wall clock, in UTC."""
        return self._wall + timedelta(seconds=self._loop.time())


class ManualClock:
    """A clock that stands still until it is moved."""

    def __init__(self, start: datetime = START) -> None:
        self._start = start
        self._elapsed = timedelta()

    def advance(self, by: timedelta) -> None:
        """Move both clocks forward."""
        self._elapsed += by

    def monotonic(self) -> float:
        """Seconds, moved by `advance` only."""
        return BOOT + self._elapsed.total_seconds()

    def now(self) -> datetime:
        """The wall clock, in UTC, moved by `advance` only."""
        return self._start + self._elapsed


class SeededChance:
    """Chance that repeats itself: the same seed, the same numbers. By default the seed of the running loop.

    A token is new within one seed; give every simulated process a `fork` of its own.
    """

    def __init__(self, seed: int | str | None = None) -> None:
        self._seed = _running().seed if seed is None else seed
        self._random = random.Random(self._seed)

    def fork(self, name: str) -> SeededChance:
        """Return an independent chance, the same for the same seed and name."""
        return SeededChance(f"{self._seed}/{name}")

    def fraction(self) -> float:
        """Uniform in [0, 1)."""
        return self._random.random()

    def token(self) -> str:
        """32 hexadecimal digits."""
        return f"{self._random.getrandbits(128):032x}"


def _whereabouts(task: asyncio.Task[Any]) -> str:
    """Say where a task waits: its name and the innermost line of its own code."""
    frames = task.get_stack(limit=1)
    where = f" at {frames[0].f_code.co_filename}:{frames[0].f_lineno}" if frames else ""
    return f"{task.get_name()} in {getattr(task.get_coro(), '__qualname__', '?')}{where}"
