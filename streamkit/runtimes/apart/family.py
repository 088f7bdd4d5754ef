"""A process and whatever it starts: they end together."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import PIPE, SubprocessStreamProtocol
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_LIMIT = 64 * 1024


class _Protocol(SubprocessStreamProtocol):
    """Tells of the end of the process itself: `wait` may wait for all who have its pipe (python/cpython#119710)."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit=_LIMIT, loop=loop)
        self.exited = asyncio.Event()
        self.leaving = asyncio.Event()

    def process_exited(self) -> None:
        super().process_exited()
        self.exited.set()
        self.leaving.set()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        super().pipe_connection_lost(fd, exc)
        if fd == 1:
            self.leaving.set()


class Family:
    """A process that leads a group of its own, with a pipe there and one back."""

    def __init__(self, transport: asyncio.SubprocessTransport, protocol: _Protocol) -> None:
        """Start one with `started`."""
        self._transport = transport
        self._exited = protocol.exited
        self.leaving = protocol.leaving
        """Set once the process has ended, or says no more: either may be without the other."""
        self._over = False
        """Whether the group was killed after its process had ended: the number may be another's by now."""
        assert protocol.stdin is not None  # noqa: S101 - they are pipes
        assert protocol.stdout is not None  # noqa: S101
        self.stdin = protocol.stdin
        self.stdout = protocol.stdout

    @classmethod
    async def started(cls, command: Sequence[str]) -> Family:
        """Start a process. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.subprocess_exec(
            lambda: _Protocol(loop), *command, stdin=PIPE, stdout=PIPE, stderr=None, start_new_session=True
        )
        return cls(transport, protocol)

    @property
    def ended(self) -> bool:
        """Whether the process has ended; what it started may go on."""
        return self._exited.is_set()

    async def end(self, within: float) -> int:
        """Let the process end, within so many seconds; kill what is left, of it and of what it started.

        Return its exit status, or minus the signal it died of.
        """
        if not self._over:
            with suppress(TimeoutError):
                async with asyncio.timeout(within):
                    await self._exited.wait()
            self.kill()
            await self._exited.wait()
            self._over = True
        status = self._transport.get_returncode()
        assert status is not None  # noqa: S101 - it has ended
        return status

    def kill(self) -> None:
        """Kill the process and all that it started, except for what made itself a group of its own."""
        if not self._over:
            with suppress(ProcessLookupError, PermissionError):  # macOS refuses where all have ended
                os.killpg(self._transport.get_pid(), signal.SIGKILL)

    def close(self) -> None:
        """Close the pipes, whoever has their other ends."""
        self._transport.close()
