"""Worker processes: `streamkit run`, exactly as anybody would start it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from streamkit.cli.demo.checkout import CONSUMER, Checkout
from streamkit.errors import StreamkitError

LEASE = "3s"
IDLE = "5s"
_SETTINGS = {"STREAMKIT_CHECKPOINT_LEASE": LEASE}

_PROGRAM = ("-c", "from streamkit.cli import main; main()")
_TAIL = 400
"""Characters of a log shown when its process failed."""


class Broken(StreamkitError):
    """The demo could not be played to its end."""


class Process:
    """One process, its log, and a name for people."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.pid = process.pid
        self.log = log
        self.killed = False
        self._process = process

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.returncode is None

    @property
    def status(self) -> int | None:
        """Its exit status, or minus the signal that ended it."""
        return self._process.returncode

    async def kill(self) -> None:
        """Send SIGKILL and wait: nothing of it runs any more."""
        self.killed = True
        self._process.kill()
        await self._process.wait()

    async def end(self) -> None:
        """Wait until it ends by itself. Raises `Broken` if it fails."""
        if await self._process.wait():
            raise Broken(self.failure())

    def failure(self) -> str:
        """Say how it ended, with the end of its log."""
        tail = self.log.read_text(encoding="utf-8", errors="replace")[-_TAIL:]
        return f"{self.name} ended with status {self.status}, see {self.log}: ... {tail}"


@asynccontextmanager
async def started(name: str, *arguments: str, checkout: Checkout, logs: Path) -> AsyncGenerator[Process]:
    """Run `streamkit ARGUMENTS` in the checkout; however this is left, the process is gone then."""
    log = logs / f"{name.replace(' ', '-')}.log"
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *_PROGRAM,
            *arguments,
            cwd=checkout.root,
            env={**os.environ, **_SETTINGS},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,  # Ctrl-C is for the demo, which then ends its children itself
        )
    try:
        yield Process(name, process, log)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def initialised(checkout: Checkout, logs: Path) -> None:
    """Run `streamkit init`: checkpoint table and dead-letter queue."""
    async with started("init", "init", CONSUMER, "--queue", checkout=checkout, logs=logs) as process:
        await process.end()


@asynccontextmanager
async def two_workers(checkout: Checkout, logs: Path) -> AsyncGenerator[tuple[Process, Process]]:
    """Run two workers on the stream."""
    arguments = ("run", CONSUMER, "--until-idle", IDLE, "--log-format", "json")
    async with (
        started("worker A", *arguments, checkout=checkout, logs=logs) as one,
        started("worker B", *arguments, checkout=checkout, logs=logs) as other,
    ):
        yield one, other
