"""The worker's side of a process apart: starts it, asks it, and tells when it is gone."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import TYPE_CHECKING, Protocol

from streamkit.core.records import Batch
from streamkit.errors import StreamkitError
from streamkit.runtimes.apart.family import Family
from streamkit.runtimes.apart.frames import (
    MAX_BYTES,
    Answer,
    Cancel,
    Garbled,
    KeyNames,
    Read,
    asked,
    error_of,
    packed,
    unpacked,
)
from streamkit.runtimes.apart.tables import found

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from streamkit.core.records import Record
    from streamkit.core.transactions import Write
    from streamkit.ports import Tables
    from streamkit.runtimes.apart.frames import Frame

_START_SECONDS = 60.0
"""Within which the consumer has to be imported, and its lifespan to begin."""
_END_SECONDS = 2.0
"""Within which the lifespan has to end once nobody asks any more, and the process once it says no more."""
_LATE_SECONDS = 0.1
"""Between looks whether what came too late may begin after all."""
_REST_SECONDS = 1.0
"""Within which what an ended process said is read: who left its group may have its pipe for ever."""


class NoWard(StreamkitError):
    """No process apart can be had for a consumer."""


class _Late(Exception):
    """It did not begin."""


class Ward(Protocol):
    """Where suspects are handled, so that nothing else dies of them."""

    def opened(self, fell: Callable[[str, bool], None]) -> AbstractAsyncContextManager[None]:
        """Open it. Raises `NoWard`.

        If it dies, `fell` is told how, and whether any attempt was under way in it.
        """
        ...

    async def call(self, subject: Record | Batch, *, until: Callable[[], float] | None = None) -> None:
        """Run the handler there; raises what it raises.

        `until` says from which moment on nothing may begin, as far as is known. What comes too late waits for that to
        change. Once the ward has died it ends only by being cancelled: whoever runs it is told by `fell`.
        """
        ...

    async def collect(
        self, record: Record, tables: Tables, *, until: Callable[[], float] | None = None
    ) -> tuple[Write, ...]:
        """Run the handler there in a transaction that reads through `tables`; return what it wants written.

        Nothing is written there. Raises and ends as `call`.
        """
        ...

    def kill(self, why: str) -> None:
        """End it, whatever runs there: it is told to have died of this."""
        ...


class _Asked:
    """An attempt that was asked for, until it is answered."""

    __slots__ = ("answer", "cancelled", "readings", "tables")

    def __init__(self, tables: Tables | None) -> None:
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.tables = tables
        """What it may read, in a transaction."""
        self.readings = set[asyncio.Task[None]]()
        self.cancelled = False
        """Whether its answer is waited for although it was cancelled: only the process can end what it does."""


class ProcessWard:
    """A ward that is a process of its own."""

    def __init__(self, command: Sequence[str]) -> None:
        """`command` starts a process that prepares itself and serves one consumer (`apart.child`)."""
        self._command = command
        self._process: Family | None = None
        self._asked: dict[int, _Asked] = {}
        self._numbers = count(1)
        self._why: str | None = None
        self._gone = False

    @asynccontextmanager
    async def opened(self, fell: Callable[[str, bool], None]) -> AsyncGenerator[None]:
        """Start the process, and end it with the context. Raises `NoWard` if it does not become ready."""
        process = self._process = await _started(self._command)
        try:
            await _ready(process)
            async with asyncio.TaskGroup() as group:
                listening = group.create_task(self._listen(process, fell, group))
                yield
                listening.cancel()
        finally:
            self._gone = True
            process.stdin.close()
            await process.end(_END_SECONDS)
            process.close()

    async def _listen(self, process: Family, fell: Callable[[str, bool], None], group: asyncio.TaskGroup) -> None:
        """Hear the process until it has ended, or speaks no more: either may be without the other."""
        async with asyncio.TaskGroup() as hearers:
            hearing = hearers.create_task(self._hear_all(process, group))
            await process.leaving.wait()
            status = await process.end(_END_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(_REST_SECONDS):
                    await hearing
        self._gone = True
        fell(self._why or _ended(status), bool(self._asked))
        for mine in self._asked.values():
            if mine.cancelled:  # nobody does so again
                mine.answer.cancel()

    async def _hear_all(self, process: Family, group: asyncio.TaskGroup) -> None:
        try:
            while True:
                self._hear(await _heard(process), group)
        except asyncio.IncompleteReadError:
            pass
        except Garbled as garbled:
            self.kill(str(garbled))

    def _hear(self, frame: Frame, group: asyncio.TaskGroup) -> None:
        match frame:
            case Answer(number) if number in self._asked:
                self._asked.pop(number).answer.set_result(frame)
            case Read(ask=number) | KeyNames(ask=number) if number in self._asked:
                mine = self._asked[number]
                reading = group.create_task(self._read(frame, mine.tables))
                mine.readings.add(reading)
                reading.add_done_callback(mine.readings.discard)
            case _:
                pass

    async def _read(self, question: Read | KeyNames, tables: Tables | None) -> None:
        """Answer the question; for an attempt in no transaction nobody asks one."""
        if tables is not None:
            self._say(packed(await found(question, tables)))

    async def call(self, subject: Record | Batch, *, until: Callable[[], float] | None = None) -> None:
        """Run the handler in the process; raises what it raises.

        Whoever is cancelled waits for the end of the attempt all the same, or of the process. What a process that has
        died leaves unanswered ends only by being cancelled, before or afterwards.
        """
        await self._begun(subject, None, until)

    async def collect(
        self, record: Record, tables: Tables, *, until: Callable[[], float] | None = None
    ) -> tuple[Write, ...]:
        """Run the handler in the process, in a transaction; return what it wants written. As `call` otherwise."""
        return (await self._begun(record, tables, until)).writes

    async def _begun(self, subject: Record | Batch, tables: Tables | None, until: Callable[[], float] | None) -> Answer:
        """Ask until it begins: what may not, because the fence was down for it, waits for the fence or its end."""
        while True:
            end = None if until is None else until()
            with suppress(_Late):
                return await self._answer(subject, tables, end)
            while until is not None and end is not None and until() <= end:  # noqa: ASYNC110 - another thread sets it
                await asyncio.sleep(_LATE_SECONDS)

    async def _answer(self, subject: Record | Batch, tables: Tables | None, until: float | None) -> Answer:
        number = next(self._numbers)
        message = packed(asked(number, subject, transacts=tables is not None, until=until))
        mine = self._asked[number] = _Asked(tables)
        self._say(message)
        try:
            await self._answered(number, mine)
        finally:
            for reading in mine.readings:
                reading.cancel()
        answer = mine.answer.result()
        if answer.fault is None:
            return answer
        if answer.fault.kind == "cancelled":
            raise asyncio.CancelledError
        if answer.fault.kind == "late":
            raise _Late
        raise error_of(answer.fault, subject if isinstance(subject, Batch) else (subject,))

    async def _answered(self, number: int, mine: _Asked) -> None:
        """Wait for the answer, whoever cancels: that is passed on, for only the process can end it."""
        while not mine.answer.done():
            try:
                await asyncio.shield(mine.answer)
            except asyncio.CancelledError:
                if self._gone:
                    raise
                mine.cancelled = True
                self._say(packed(Cancel(number)))

    def _say(self, message: bytes) -> None:
        pipe = None if self._process is None else self._process.stdin
        if (
            pipe is not None and not pipe.is_closing()
        ):  # a broken one is closing, before its process is known to be gone
            pipe.write(message)

    def kill(self, why: str) -> None:
        """End the process, whatever runs in it, and what it started."""
        if self._process is not None and not self._process.ended:
            self._why = why
            self._process.kill()


async def _started(command: Sequence[str]) -> Family:
    try:
        return await Family.started(command)
    except OSError as error:
        raise NoWard(f"expected a process for suspects, got {error}") from error


async def _ready(process: Family) -> None:
    try:
        async with asyncio.timeout(_START_SECONDS):
            await _heard(process)
    except TimeoutError:
        raise NoWard(f"expected a process for suspects within {_START_SECONDS:.0f} s, got none") from None
    except asyncio.IncompleteReadError:
        status = await process.end(_END_SECONDS)
        raise NoWard(f"expected a process for suspects, got one that ended: {_ended(status)}") from None
    except Garbled as garbled:
        raise NoWard(f"expected a process for suspects: {garbled}") from garbled


async def _heard(process: Family) -> Frame:
    return await unpacked(process.stdout, most=MAX_BYTES)


def _ended(status: int) -> str:
    """Return how a process ended, in a few words."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"signal {-status} ({signal.Signals(-status).name})"
    except ValueError:
        return f"signal {-status}"
