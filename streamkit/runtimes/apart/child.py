"""The process apart itself: calls one consumer's handler with what it is asked to, until nobody asks any more."""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import os
import signal
import sys
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from streamkit.clock import SystemClock
from streamkit.core.letters import Cause, cause_of
from streamkit.core.records import Batch
from streamkit.engine.handling import Threads, bind, expect_nothing, is_being_cancelled
from streamkit.engine.transaction import writes_of
from streamkit.runtimes.apart.frames import (
    Answer,
    Ask,
    Cancel,
    Fault,
    Found,
    Ready,
    fault_of,
    packed,
    subject_of,
    unpacked,
)
from streamkit.runtimes.apart.tables import Questions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from io import FileIO

    from streamkit.consumer import Consumer
    from streamkit.core.records import Record
    from streamkit.core.transactions import Write
    from streamkit.runtimes.apart.frames import Frame

_PR_SET_PDEATHSIG = 1
_FIRST_TO_GO = "1000"
"""Who the kernel kills first when memory runs out (proc(5), oom_score_adj): this process, not the worker."""


def prepare() -> tuple[int, int]:
    """Make this a process that ends before and with its parent; return where it is asked, and where it answers.

    Called before anything of the user's is imported: standard input and output are the pipe's, and not theirs.
    """
    faulthandler.enable()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO, encoding="ascii")
    asks, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return asks, answers


async def serve(consumer: Consumer, asks: int, answers: int) -> None:
    """Answer what is asked, until the other end of the pipe is gone."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(asks, "rb", 0))
    with os.fdopen(answers, "wb", 0) as pipe:

        def say(frame: Frame) -> None:
            with suppress(BrokenPipeError):
                _write(pipe, packed(frame))

        threads = Threads(consumer.concurrency, name=f"streamkit-{consumer.name}")
        async with consumer.lifespan() if consumer.lifespan else nullcontext() as state:
            call = bind(consumer.handler, consumer.signature, state=state, threads=threads.pool)
            say(Ready())
            await Calls(call, say).run(reader)
        threads.close()


def _write(pipe: FileIO, message: bytes) -> None:
    """Write all of it: the worker reads at any time."""
    rest = memoryview(message)
    while rest:
        rest = rest[pipe.write(rest) :]


def _told(error: Exception, records: Sequence[Record]) -> Fault:
    """Return how an attempt failed; in the words of what is wrong with a signal, such as `Unavailable("x", 5)`."""
    try:
        return fault_of(error, records)
    except Exception as wrong:  # noqa: BLE001 - a signal holds what the handler put into it
        return Fault("told", cause_of(wrong))


class Calls:
    """The attempts under way."""

    def __init__(self, call: Callable[..., Awaitable[object]], say: Callable[[Frame], None]) -> None:
        self._call = call
        self._say = say
        self._questions = Questions(say)
        self._running: dict[int, asyncio.Task[None]] = {}

    async def run(self, reader: asyncio.StreamReader) -> None:
        """Make every attempt that is asked for, until nobody asks any more."""
        async with asyncio.TaskGroup() as group:
            with suppress(asyncio.IncompleteReadError):
                while True:
                    frame = await unpacked(reader)
                    if isinstance(frame, Ask):
                        self._running[frame.number] = group.create_task(self._answer(frame))
                        await asyncio.sleep(0)  # it begins: what is cancelled before would never answer
                    elif isinstance(frame, Cancel) and frame.number in self._running:
                        self._running[frame.number].cancel()
                    elif isinstance(frame, Found):
                        self._questions.answered(frame)
            for task in self._running.values():
                task.cancel()

    async def _answer(self, ask: Ask) -> None:
        answer = await self._answered(ask)
        del self._running[ask.number]
        try:
            self._say(answer)
        except Exception as error:  # noqa: BLE001 - half a surrogate pair, say, in words or in writes
            self._say(Answer(ask.number, Fault("told", cause_of(error))))

    async def _answered(self, ask: Ask) -> Answer:
        """Call the handler; return what it wants written, or how it failed."""
        subject = subject_of(ask)
        if ask.until is not None and SystemClock.monotonic() >= ask.until:  # its shard may be another's by now (rule 3)
            return Answer(ask.number, Fault("late", Cause("", "")))
        try:
            return Answer(ask.number, writes=await self._writes(ask, subject))
        except asyncio.CancelledError as error:
            return Answer(ask.number, Fault("cancelled" if is_being_cancelled() else "told", cause_of(error)))
        except Exception as error:  # noqa: BLE001 - the handler may raise anything, and the worker is told what
            return Answer(ask.number, _told(error, subject if isinstance(subject, Batch) else (subject,)))

    async def _writes(self, ask: Ask, subject: Record | Batch) -> tuple[Write, ...]:
        if ask.transacts and not isinstance(subject, Batch):
            with self._questions.attempt(ask.number) as tables:
                return await writes_of(self._call, subject, tables)
        expect_nothing(await self._call(subject))
        return ()
