"""Serving a worker's health from a thread of its own, whatever its loop is busy with."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from streamkit.events import HealthOpened
from streamkit.runtimes.health.pages import exposition, raw, verdict
from streamkit.runtimes.health.server import Page, Server, address_of, listen
from streamkit.runtimes.health.snapshot import Snapshot, aged, look
from streamkit.runtimes.waiting import came

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncGenerator, Callable, Sequence

    from streamkit.ports import Clock, Report
    from streamkit.runtimes.health.snapshot import Crewed
    from streamkit.settings import Address

LOOK_SECONDS = 1.0
_JOIN_SECONDS = 5.0


class Health:
    """Watches the crews of one worker, and serves what it sees."""

    def __init__(self, address: Address, crews: Sequence[Crewed], *, clock: Clock, patience: float) -> None:
        """`patience` in seconds: a loop that has not turned for so long is stuck."""
        self._address = address
        self._crews = crews
        self._clock = clock
        self._patience = patience
        self._seen = Snapshot(at=clock.monotonic())
        """Replaced as a whole, so that the server's thread may read it any time."""

    @asynccontextmanager
    async def serving(self, report: Report, stop: asyncio.Event) -> AsyncGenerator[None]:
        """Watch and serve, at once when `stop` is set. Raises `ConfigurationError` if the address cannot be had."""
        listener = listen(self._address)
        report(HealthOpened(address=address_of(listener)))
        stop_thread = _start_thread(self._server(), listener)
        try:
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(self._watch(stop))
                yield
                watching.cancel()
        finally:
            await asyncio.to_thread(stop_thread)

    async def _watch(self, stop: asyncio.Event) -> None:
        while True:
            self._seen = look(self._crews, self._clock)
            if stop.is_set():
                await asyncio.sleep(LOOK_SECONDS)
            else:
                await came(stop, within=LOOK_SECONDS)

    def _server(self) -> Server:
        pages = {"/livez": self._livez, "/readyz": self._readyz, "/metrics": self._metrics}
        return Server(pages | {"/samples": self._samples} if self._address.path is not None else pages)

    def _now(self) -> Snapshot:
        return aged(self._seen, now=self._clock.monotonic(), patience=self._patience)

    async def _livez(self) -> Page:
        return verdict(self._now().stuck)

    async def _readyz(self) -> Page:
        now = self._now()
        return verdict(list(dict.fromkeys([*now.stuck, *now.unready])))

    async def _metrics(self) -> Page:
        return exposition(self._now().samples)

    async def _samples(self) -> Page:
        return raw(self._now().samples)


def _start_thread(server: Server, listener: socket.socket) -> Callable[[], None]:
    """Serve in a thread with an event loop of its own; return what stops it and waits for it."""
    ready = threading.Event()
    handle: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def main() -> None:
        stop = asyncio.Event()
        async with server.listening(listener):
            handle.append((asyncio.get_running_loop(), stop))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(main(),), name="streamkit-health", daemon=True)
    thread.start()
    ready.wait()

    def stop_thread() -> None:
        loop, stop = handle[0]
        with suppress(RuntimeError):  # its loop is closed: it has ended by itself
            loop.call_soon_threadsafe(stop.set)
        thread.join(timeout=_JOIN_SECONDS)

    return stop_thread
