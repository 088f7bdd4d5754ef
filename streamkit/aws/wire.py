"""HTTP/1.1 as far as JSON services need it: one POST after the other, answers of a stated length, straight into place.

Whatever an answer has beyond that, chunks for example, raises `Unusual`: another client has to be used there.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator

    from streamkit.ports import Clock

_HEAD_BYTES = 16 * 1024
_BODY_BYTES = 64 * 1024 * 1024
"""Far over the 10 MB that GetRecords returns at most, in base64."""
_REST_SECONDS = 10.0
"""A connection that rested for longer is not used again: balancers drop them silently."""
_STATUS = 9
"""Where the status stands, in `HTTP/1.1 200 OK`."""


class Unusual(Exception):
    """The answer is not of the plain kind; the argument says how."""


class Unconnected(OSError):
    """No connection came about, so nothing was sent."""


class Answer(msgspec.Struct, frozen=True):
    """An answer as it came."""

    status: int
    headers: dict[str, str]
    """By name in lower case."""
    body: bytearray


class Wire(asyncio.BufferedProtocol):
    """One connection, for one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._waiting: asyncio.Future[Answer] | None = None
        self._head = bytearray(_HEAD_BYTES)
        self._fresh()
        self.rested_since = 0.0

    def _fresh(self) -> None:
        self._into = self._head
        self._view = memoryview(self._head)
        self._filled = 0
        self._status = 0
        self._headers: dict[str, str] = {}

    @property
    def usable(self) -> bool:
        """Say whether another request may be sent."""
        return self._transport is not None and self._waiting is None

    async def ask(self, request: bytes) -> Answer:
        """Send one request and return its answer. Raises `Unusual`, and `ConnectionError` if there is none."""
        if self._transport is None or self._waiting is not None:
            raise ConnectionError("expected a connection at rest, got none")
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            answer = await self._waiting
        except BaseException:
            self.close()
            raise
        self._waiting = None
        if answer.headers.get("connection", "").lower() == "close":
            self.close()
        return answer

    def close(self) -> None:
        """Use it no more."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    # What the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101 - a stream's transport
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - all that is missing is welcome
        """Return where the next bytes belong."""
        return self._view[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Look whether head or body are complete."""
        self._filled += nbytes
        try:
            if self._into is self._head:
                self._read_head()
            if self._into is not self._head and self._filled == len(self._into):
                self._deliver()
        except (Unusual, ValueError, IndexError) as error:
            self._fail(error if isinstance(error, Unusual) else Unusual(f"its head: {error}"))

    def eof_received(self) -> bool:
        """Close as well."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        self._transport = None
        self._fail(ConnectionError(f"the connection was lost ({type(exc).__name__ if exc else 'closed by the peer'})"))

    def _read_head(self) -> None:
        """Go over to the body as soon as the head is complete."""
        end = self._head.find(b"\r\n\r\n", 0, self._filled)
        if self._waiting is None or (end < 0 and self._filled == len(self._head)):
            raise Unusual("more than was asked for")
        if end < 0:
            return
        first, *lines = self._head[:end].decode("latin-1").split("\r\n")
        named = (line.partition(":") for line in lines)
        self._headers = {name.lower(): value.strip() for name, _, value in named}
        self._status = int(first[_STATUS : _STATUS + 3])
        length = int(self._headers.get("content-length", "-1"))
        if (
            not first.startswith("HTTP/1.1 ")
            or not 0 <= length <= _BODY_BYTES
            or {
                "transfer-encoding",
                "content-encoding",
            }
            & self._headers.keys()
        ):
            raise Unusual(f"{first[:20]!r} with {length} bytes")
        here = self._filled - end - 4
        if here > length:
            raise Unusual(f"{here} bytes after the head, of {length}")
        body = bytearray(length)
        body[:here] = self._head[end + 4 : self._filled]
        self._into, self._view, self._filled = body, memoryview(body), here

    def _deliver(self) -> None:
        answer, waiting = Answer(self._status, self._headers, self._into), self._waiting
        self._fresh()
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def _fail(self, error: Exception) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)
        self.close()


class Wires:
    """Connections to one place, kept while they are at rest."""

    def __init__(
        self, host: str, port: int, *, tls: ssl.SSLContext | None, most: int, connect_seconds: float, clock: Clock
    ) -> None:
        """Rest is taken by the wall clock: a machine that is frozen may not notice, the service does."""
        self._host = host
        self._port = port
        self._tls = tls
        self._connect_seconds = connect_seconds
        self._clock = clock
        self._resting: list[Wire] = []
        self._free = asyncio.Semaphore(most)

    @asynccontextmanager
    async def one(self) -> AsyncGenerator[Wire]:
        """Lend a connection: one at rest, or a new one. Raises `Unconnected` if none comes about."""
        async with self._free:
            wire = self._rested() or await self._connected()
            yield wire
            if wire.usable:
                wire.rested_since = self._clock.now().timestamp()
                self._resting.append(wire)

    def _rested(self) -> Wire | None:
        """Return the connection that rested for the shortest time; close those that did for too long."""
        now = self._clock.now().timestamp()
        while self._resting:
            wire = self._resting.pop()
            if wire.usable and 0 <= now - wire.rested_since < _REST_SECONDS:
                return wire
            wire.close()
        return None

    async def _connected(self) -> Wire:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_seconds):
                _, wire = await loop.create_connection(Wire, self._host, self._port, ssl=self._tls)
        except OSError as error:
            raise Unconnected(str(error)) from error
        return wire

    def close(self) -> None:
        """Close what is at rest."""
        while self._resting:
            self._resting.pop().close()
