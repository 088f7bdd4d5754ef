"""One address for several worker processes: each serves on a Unix socket, and the supervisor asks them all.

Nothing is added up: a crashed process would take its counts along, and the sum would go back. Every sample gets the
label `process` instead.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import msgspec

from streamkit.events import HealthOpened
from streamkit.metrics import Sample
from streamkit.runtimes.health.pages import exposition, verdict
from streamkit.runtimes.health.server import Server, address_of, listen
from streamkit.settings import Address

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from streamkit.ports import Report
    from streamkit.runtimes.health.server import Page

ANSWER_SECONDS = 2.0
"""In which a process that lives has answered."""
_ANSWER_BYTES = 4 * 1024 * 1024
_OK = b"200"


class Said(msgspec.Struct, frozen=True):
    """What one process says of itself."""

    lines: tuple[str, ...] = ()
    """Complaints."""
    absent: bool = False
    """Whether nobody listened: it starts, or is about to be started again."""


class Gathering:
    """Asks the worker processes of a supervisor."""

    def __init__(self, address: Address, *, processes: int) -> None:
        self._address = address
        self._folder = TemporaryDirectory(prefix="streamkit-")
        self._sockets = [str(Path(self._folder.name) / str(slot)) for slot in range(processes)]

    def options(self, slot: int) -> Sequence[str]:
        """Return what a process has to be started with, so that it can be asked."""
        return ("--health", str(Address(path=self._sockets[slot])))

    @asynccontextmanager
    async def serving(self, report: Report) -> AsyncGenerator[None]:
        """Serve until left. Raises `ConfigurationError` if the address cannot be had."""
        with self._folder:
            listener = listen(self._address)
            server = Server({"/livez": self._livez, "/readyz": self._readyz, "/metrics": self._metrics})
            async with server.listening(listener):
                report(HealthOpened(address=address_of(listener)))
                yield

    async def _livez(self) -> Page:
        """A process that is not there is the supervisor's business; only one that is there and stuck is not."""
        return verdict([line for each in await self._ask_all("/livez") if not each.absent for line in each.lines])

    async def _readyz(self) -> Page:
        return verdict([line for each in await self._ask_all("/readyz") for line in each.lines])

    async def _metrics(self) -> Page:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._samples(slot)) for slot in range(len(self._sockets))]
        return exposition([sample for task in tasks for sample in task.result()])

    async def _ask_all(self, path: str) -> Sequence[Said]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._ask(slot, path)) for slot in range(len(self._sockets))]
        return [task.result() for task in tasks]

    async def _ask(self, slot: int, path: str) -> Said:
        try:
            status, body = await _fetched(self._sockets[slot], path)
        except TimeoutError:
            return Said((f"process {slot}: it has not answered for {ANSWER_SECONDS:.0f} s",))
        except OSError:
            return Said((f"process {slot}: it is not there",), absent=True)
        return (
            Said() if status == _OK else Said(tuple(f"process {slot}: {line}" for line in body.decode().splitlines()))
        )

    async def _samples(self, slot: int) -> Sequence[Sample]:
        """Return the samples of one process, labelled as its own; none if it does not answer."""
        try:
            _, body = await _fetched(self._sockets[slot], "/samples")
            found = msgspec.json.decode(body, type=list[Sample])
        except (OSError, TimeoutError, msgspec.DecodeError):
            return ()
        return [Sample(each.metric, (*each.labels, str(slot)), each.value, each.counts) for each in found]


async def _fetched(path: str, page: str) -> tuple[bytes, bytes]:
    """Return the status and the body of a page that is served on a Unix socket. Raises `OSError`, `TimeoutError`."""
    async with asyncio.timeout(ANSWER_SECONDS):
        reader, writer = await asyncio.open_unix_connection(path)
        try:
            writer.write(f"GET {page} HTTP/1.1\r\n\r\n".encode())
            answer = await _whole(reader)
        finally:
            writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.split(b" ", 2)[1] if b" " in head else b"", body


async def _whole(reader: asyncio.StreamReader) -> bytes:
    """Read to the end, up to a bound."""
    answer = bytearray()
    while len(answer) < _ANSWER_BYTES and (more := await reader.read(65536)):
        answer += more
    return bytes(answer)
