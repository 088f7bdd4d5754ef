"""A server of three short pages over HTTP/1.1, for health checks and scrapers. GET only; everything has a bound.

One request a connection. Whoever is slow, sends much, or comes while `CONNECTIONS` are open is turned away; nothing
that arrives is kept, logged, or acted on beyond the choice of the page.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from streamkit.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from streamkit.settings import Address

CONNECTIONS = 32
"""Most at once."""
HEAD_BYTES = 8192
"""Longest request, headers and all."""
REQUEST_SECONDS = 5.0
"""Until the request is there; as long again to take the answer."""
_BACKLOG = 64
TEXT = "text/plain; charset=utf-8"


class Page(msgspec.Struct, frozen=True):
    """An answer."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    kind: str = TEXT


class Server:
    """Serves pages by their path."""

    def __init__(self, pages: Mapping[str, Callable[[], Awaitable[Page]]]) -> None:
        """A page is asked for anew with every request; it must not take long."""
        self._pages = pages
        self._open: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def listening(self, listener: socket.socket) -> AsyncGenerator[None]:
        """Serve on a bound socket, which is closed in the end; then connections still open are cut."""
        server = await asyncio.start_server(self._answer, sock=listener, limit=HEAD_BYTES, backlog=_BACKLOG)
        try:
            yield
        finally:
            server.close()
            for writer in self._open:
                writer.transport.abort()
            await asyncio.sleep(0)  # so that the loop sees them close

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            page = await self._page(reader) if len(self._open) <= CONNECTIONS else None
            if page is not None:
                async with asyncio.timeout(REQUEST_SECONDS):
                    writer.write(_encoded(page))
                    await writer.drain()
                    writer.close()
                    await writer.wait_closed()
        except (OSError, TimeoutError):
            pass
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _page(self, reader: asyncio.StreamReader) -> Page | None:
        """Return the answer to the request that comes; None, which closes the connection, if none is fit for one."""
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            return None
        method, _, rest = head.partition(b"\r\n")[0].partition(b" ")
        if method != b"GET":
            return Page(b"expected GET\n", HTTPStatus.METHOD_NOT_ALLOWED)
        path = rest.partition(b" ")[0].partition(b"?")[0].decode("latin-1")
        page = self._pages.get(path)
        if page is None:
            known = ", ".join(self._pages)
            return Page(f"expected one of {known}\n".encode(), HTTPStatus.NOT_FOUND)
        return await page()


def listen(address: Address) -> socket.socket:
    """Bind the address; raises `ConfigurationError` if it cannot be had."""
    try:
        if address.path is not None:
            with suppress(FileNotFoundError):
                Path(address.path).unlink()  # of a process before this one, which is gone
            bound = socket.socket(socket.AF_UNIX)
            bound.bind(address.path)
            return bound
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        return socket.create_server((address.host, address.port), family=family)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else type(error).__name__
        raise ConfigurationError(f"health: expected an address to serve on, got {address}: {reason}") from error


def address_of(listener: socket.socket) -> str:
    """Return where a socket listens, with the port that it was given."""
    name = listener.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _encoded(page: Page) -> bytes:
    head = (
        f"HTTP/1.1 {page.status.value} {page.status.phrase}\r\n"
        f"Content-Type: {page.kind}\r\n"
        f"Content-Length: {len(page.body)}\r\n"
        "Cache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        "Connection: close\r\n"
        f"{'Allow: GET' + chr(13) + chr(10) if page.status is HTTPStatus.METHOD_NOT_ALLOWED else ''}"
        "\r\n"
    )
    return head.encode() + page.body
