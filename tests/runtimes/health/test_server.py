"""The server of health and metrics gives short answers, and no ground to anybody who wants more."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from streamkit.errors import ConfigurationError
from streamkit.runtimes.health import server as serving
from streamkit.runtimes.health.server import Page, Server, address_of, listen
from streamkit.settings import Address


async def fine() -> Page:
    """A page."""
    return Page(b"fine\n")


async def huge() -> Page:
    """More than any socket buffers."""
    return Page(b"x" * 50_000_000)


@asynccontextmanager
async def served() -> AsyncGenerator[tuple[str, int]]:
    """A server on a free port."""
    listener = listen(Address())
    async with Server({"/livez": fine, "/huge": huge}).listening(listener):
        yield listener.getsockname()


async def asked(place: tuple[str, int], request: bytes) -> bytes:
    """Send these bytes, and return all that comes back."""
    reader, writer = await asyncio.open_connection(*place)
    try:
        writer.write(request)
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        await closed(writer)


async def closed(writer: asyncio.StreamWriter) -> None:
    """Close a connection, and wait until it is."""
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def test_a_page_is_asked_for_by_its_path() -> None:
    """Whatever the query and the headers say."""
    async with served() as place:
        answer = await asked(place, b"GET /livez?x=1 HTTP/1.1\r\nHost: here\r\nCookie: no\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: 5\r\n" in head
    assert body == b"fine\n"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /livez HTTP/1.1\r\nContent-Length: 9\r\n\r\nsomething", b"405"),
        (b"HEAD /livez HTTP/1.1\r\n\r\n", b"405"),
        (b"GET /else HTTP/1.1\r\n\r\n", b"404"),
        (b"GET /../livez HTTP/1.1\r\n\r\n", b"404"),
        (b"\x16\x03\x01 \xff\r\n\r\n", b"405"),
    ],
)
async def test_anything_else_is_turned_away(request_: bytes, status: bytes) -> None:
    """Other methods, other paths, other protocols."""
    async with served() as place:
        answer = await asked(place, request_)
    assert answer.split(b" ")[1] == status


async def test_whoever_sends_much_is_cut_off() -> None:
    """Nothing is kept of it."""
    async with served() as place:
        assert await asked(place, b"GET /livez HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n") == b""


async def test_whoever_is_slow_to_ask_is_cut_off_and_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are answered meanwhile."""
    monkeypatch.setattr(serving, "REQUEST_SECONDS", 0.3)
    async with served() as place:
        reader, writer = await asyncio.open_connection(*place)
        writer.write(b"GET /livez")
        assert b"fine" in await asked(place, b"GET /livez HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        await closed(writer)


async def test_whoever_is_slow_to_take_the_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for a reader that does not read."""
    monkeypatch.setattr(serving, "REQUEST_SECONDS", 0.3)
    async with served() as place:
        reader, writer = await asyncio.open_connection(*place, limit=1024)
        writer.write(b"GET /huge HTTP/1.1\r\n\r\n")
        await asyncio.sleep(0.6)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await reader.readexactly(50_000_000)
        await closed(writer)


async def test_no_more_than_so_many_are_served_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one is cut off, and served once there is room."""
    monkeypatch.setattr(serving, "CONNECTIONS", 2)
    async with served() as place:
        idlers = [await asyncio.open_connection(*place) for _ in range(2)]
        await asyncio.sleep(0.05)
        assert await asked(place, b"GET /livez HTTP/1.1\r\n\r\n") == b""
        for _, writer in idlers:
            await closed(writer)
        await asyncio.sleep(0.05)
        assert b"fine" in await asked(place, b"GET /livez HTTP/1.1\r\n\r\n")


def test_an_address_that_is_taken_is_one_line() -> None:
    """It names the address and what is wrong with it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"got 127.0.0.1:{port}: Address already in use"):
            listen(Address(port=port))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_of_its_own_is_told(host: str) -> None:
    """Where 0 was asked for."""
    with listen(Address(host)) as bound:
        assert address_of(bound) == str(Address(host, bound.getsockname()[1]))


def test_a_unix_socket_that_was_left_behind_is_replaced(tmp_path: Path) -> None:
    """By a process that was killed."""
    address = Address(path=str(tmp_path / "health"))
    listen(address).close()
    with listen(address) as bound:
        assert address_of(bound) == str(address)
