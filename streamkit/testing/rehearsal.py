"""Is a consumer idempotent? Its batch is run again, and with a crash at every step: effects must be as of one run.

    once                      --> the effects that are right, the letters that are right
    2 .. `times` times        --> the same?
    crash at step 1, then once more; at step 2, then once more; ...     --> the same?

Nothing is remembered from one run to the next: that is the worst a crash can do (docs/guarantees.md). A step is a line
of the handler, and the moment after it returned. From the crash on, not one more line of the handler runs, no `finally`
either.
"""

from __future__ import annotations

import functools
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from contextlib import AbstractContextManager

    from streamkit.consumer import Consumer, Handler
    from streamkit.runtimes.oneshot import Settlement

    Effects = Callable[[], object]
    Stage = Callable[[], AbstractContextManager[Effects]]

_SHOWN = 400
"""Characters of effects that a complaint shows."""


class NotIdempotent(AssertionError):
    """Some way of running a batch again has other effects than running it once."""


@dataclass(frozen=True, slots=True)
class Rehearsals:
    """What was tried, and had the same effects each time."""

    runs: int
    """The batch was run up to so many times in a row."""
    crashes: int
    """It was crashed at so many steps, and run again."""


class _Crash(BaseException):
    """The process is dead."""


async def expect_idempotent(
    consumer: Consumer,
    payloads_or_records: Iterable[object],
    stage: Stage,
    *,
    times: int = 3,
    within: Iterable[Callable[..., object]] = (),
    most_crashes: int = 1000,
) -> Rehearsals:
    """Run a batch 1 to `times` times, and with a crash at every step; raise `NotIdempotent` where effects differ.

    `stage` is a context manager that sets up a world without effects, and yields a function that returns what effects
    there are, as a value to compare. `within` are functions besides the handler whose lines are steps too. Raises
    `ValueError` if the batch does not settle at all, or has more than `most_crashes` steps.
    """
    rehearsal = _Rehearsal(consumer, list(payloads_or_records), stage)
    right = await rehearsal.outcome()
    for runs in range(2, times + 1):
        rehearsal.compare(await rehearsal.outcome(runs=runs), right, f"{runs} runs")
    for crashes in range(most_crashes + 1):
        steps = _Steps(crashes + 1, (consumer.handler, *within))
        outcome = await rehearsal.outcome(steps)
        if steps.crashed_at is None:
            return Rehearsals(times, crashes)
        rehearsal.compare(outcome, right, f"a crash at {steps.crashed_at} and a run to the end")
    raise ValueError(f"{consumer.name}: expected at most {most_crashes} steps, got more: rehearse fewer records")


@dataclass(frozen=True, slots=True)
class _Outcome:
    effects: object
    letters: Sequence[tuple[str, str]]


class _Rehearsal:
    """One batch of one consumer."""

    def __init__(self, consumer: Consumer, records: Sequence[object], stage: Stage) -> None:
        self._consumer = consumer
        self._records = records
        self._stage = stage

    async def outcome(self, steps: _Steps | None = None, *, runs: int = 1) -> _Outcome:
        """Return what came of the last run, after one that crashed, if there are steps to crash at."""
        with self._stage() as effects:
            if steps is not None:
                await self._crash(steps)
            settlement = await self._settled()
            for _ in range(runs - 1):
                settlement = await self._settled()
            return _Outcome(effects(), [(letter.record.id, letter.reason) for letter in settlement.dead])

    async def _settled(self) -> Settlement:
        settlement = await self._consumer.settle(self._records)
        if settlement.unsettled:
            left = len(settlement.unsettled)
            raise ValueError(
                f"{self._consumer.name}: expected a batch that settles, got one that leaves {left} records"
            )
        return settlement

    async def _crash(self, steps: _Steps) -> None:
        subject = self._consumer.using(handler=steps.counting(self._consumer.handler))
        with steps.traced():
            try:
                await subject.settle(self._records)
            except* _Crash:
                pass

    def compare(self, got: _Outcome, right: _Outcome, after: str) -> None:
        """Raise `NotIdempotent` for other effects, or for records that end in the queue where they did not."""
        name = self._consumer.name
        if got.effects != right.effects:
            raise NotIdempotent(f"{name}: after {after}: expected {_shown(right.effects)}, got {_shown(got.effects)}")
        if got.letters != right.letters:
            raise NotIdempotent(
                f"{name}: after {after}: expected the dead letters {_shown(right.letters)}, got {_shown(got.letters)}"
            )


class _Steps:
    """Counts steps, and crashes at one of them; once crashed, at every one that follows."""

    def __init__(self, crash_at: int, functions: Iterable[Callable[..., object]]) -> None:
        self._left = crash_at
        self._codes = {code for function in functions for code in _codes(function)}
        self.crashed_at: str | None = None

    def counting(self, handler: Handler) -> Handler:
        """Return the handler with a step after it has returned."""
        from streamkit.engine.handling import Signature

        if Signature.of(handler).is_async:

            @functools.wraps(handler)
            async def handle(subject: Any, **extras: object) -> None:  # noqa: ANN401 - record or batch
                result: Any = handler(subject, **extras)
                await result
                self._step("its end")

            return handle

        @functools.wraps(handler)
        def handle_in_thread(subject: Any, **extras: object) -> None:  # noqa: ANN401 - record or batch
            handler(subject, **extras)
            self._step("its end")

        return handle_in_thread

    @contextmanager
    def traced(self) -> Generator[None]:
        """Take each line of the functions for a step, in this thread and in those that start meanwhile."""
        before, of_threads = sys.gettrace(), threading.gettrace()
        sys.settrace(self._on_call)
        threading.settrace(self._on_call)
        try:
            yield
        finally:
            sys.settrace(before)
            threading.settrace(of_threads)

    def _on_call(self, frame: FrameType, _event: str, _arg: object) -> Callable[..., Any] | None:
        return self._on_line if frame.f_code in self._codes else None

    def _on_line(self, frame: FrameType, event: str, _arg: object) -> Callable[..., Any]:
        if event == "line":
            self._step(f"{PurePath(frame.f_code.co_filename).name}:{frame.f_lineno}")
        return self._on_line

    def _step(self, place: str) -> None:
        self._left -= 1
        if self._left <= 0:
            self.crashed_at = self.crashed_at or place
            raise _Crash


def _codes(function: Callable[..., object]) -> Generator[CodeType]:
    """Give the code of a function, wrapped or bound, and of those that are defined in it."""
    while isinstance(function, functools.partial):
        function = function.func
    code = getattr(function, "__code__", None) or getattr(getattr(function, "__call__", None), "__code__", None)  # noqa: B004
    if isinstance(code, CodeType):
        yield from _nested(code)


def _nested(code: CodeType) -> Generator[CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _nested(each)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
