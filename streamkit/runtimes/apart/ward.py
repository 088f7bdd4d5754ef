"""The worker's side of a process apart: starts it, asks it, and tells when it is gone."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from streamkit.core.records import Batch
from streamkit.errors import StreamkitError
from streamkit.runtimes.apart.frames import Answer, Cancel, asked, error_of, packed, unpacked

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from streamkit.core.records import Record
    from streamkit.runtimes.apart.frames import Fault, Frame

_START_SECONDS = 60.0
"""Within which the consumer has to be imported, and its lifespan to begin."""
_END_SECONDS = 2.0
"""Within which the lifespan has to end once nobody asks any more."""


class NoWard(StreamkitError):
    """No process apart can be had for a consumer."""


class Ward(Protocol):
    """Where suspects are handled, so that nothing else dies of them."""

    def opened(self, fell: Callable[[str], None]) -> AbstractAsyncContextManager[None]:
        """Open it; `fell` is told how it died, if it does. Raises `NoWard`."""
        ...

    async def call(self, subject: Record | Batch) -> None:
        """Run the handler there; raises what it raises. Never returns once the ward has died."""
        ...

    def kill(self, why: str) -> None:
        """End it, whatever runs there: it is told to have died of this."""
        ...


class ProcessWard:
    """A ward that is a process of its own."""

    def __init__(self, command: Sequence[str]) -> None:
        """`command` starts a process that prepares itself and serves one consumer (`apart.child`)."""
        self._command = command
        self._process: asyncio.subprocess.Process | None = None
        self._answers: dict[int, asyncio.Future[Fault | None]] = {}
        self._asked = 0
        self._cancelled: dict[int, asyncio.Future[Fault | None]] = {}
        """Answers that somebody waits for although he was cancelled, since only the process can end what it does."""
        self._why: str | None = None
        self._gone = False

    @asynccontextmanager
    async def opened(self, fell: Callable[[str], None]) -> AsyncGenerator[None]:
        """Start the process, and end it with the context. Raises `NoWard` if it does not become ready."""
        process = self._process = await self._started()
        try:
            await self._ready(process)
            async with asyncio.TaskGroup() as group:
                listening = group.create_task(self._listen(process, fell))
                yield
                listening.cancel()
        finally:
            self._gone = True
            await _end(process)

    async def _started(self) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        try:
            return await asyncio.create_subprocess_exec(*self._command, stdin=pipe, stdout=pipe, start_new_session=True)
        except OSError as error:
            raise NoWard(f"expected a process for suspects, got {error}") from error

    async def _ready(self, process: asyncio.subprocess.Process) -> None:
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._heard(process)
        except TimeoutError:
            raise NoWard(f"expected a process for suspects within {_START_SECONDS:.0f} s, got none") from None
        except asyncio.IncompleteReadError:
            raise NoWard(
                f"expected a process for suspects, got one that ended: {_ended(await process.wait())}"
            ) from None

    async def _heard(self, process: asyncio.subprocess.Process) -> Frame:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        return await unpacked(process.stdout)

    async def _listen(self, process: asyncio.subprocess.Process, fell: Callable[[str], None]) -> None:
        with suppress(asyncio.IncompleteReadError):
            while True:
                match await self._heard(process):
                    case Answer(number, fault) if number in self._answers:
                        self._answers.pop(number).set_result(fault)
                    case _:
                        pass
        self._gone = True
        status = _ended(await process.wait())
        fell(self._why or status)
        for answer in self._cancelled.values():  # nobody cancels those again
            answer.cancel()

    async def call(self, subject: Record | Batch) -> None:
        """Run the handler in the process; raises what it raises. Never returns once the process has died.

        Whoever is cancelled waits for the end of the attempt all the same, or of the process.
        """
        self._asked += 1
        number = self._asked
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        self._say(packed(asked(number, subject)))
        while not answer.done():
            try:
                await asyncio.shield(answer)
            except asyncio.CancelledError:
                if self._gone:
                    raise
                self._cancelled[number] = answer
                self._say(packed(Cancel(number)))
        self._cancelled.pop(number, None)
        if (fault := answer.result()) is None:
            return
        if fault.kind == "cancelled":
            raise asyncio.CancelledError
        raise error_of(fault, subject if isinstance(subject, Batch) else (subject,))

    def _say(self, message: bytes) -> None:
        pipe = self._process.stdin if self._process is not None else None
        if (
            pipe is not None and not pipe.is_closing()
        ):  # a broken one is closing, before its process is known to be gone
            pipe.write(message)

    def kill(self, why: str) -> None:
        """End the process, whatever runs in it."""
        if self._process is not None and self._process.returncode is None:
            self._why = why
            self._process.kill()


async def _end(process: asyncio.subprocess.Process) -> None:
    """Close the pipe, which ends the process; if it does not, kill it."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(_END_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _ended(status: int) -> str:
    """Return how a process ended, in a few words."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"signal {-status} ({signal.Signals(-status).name})"
    except ValueError:
        return f"signal {-status}"
