"""Several worker processes on one machine, one a core: Python runs handlers on one core a process.

The supervisor starts them, restarts those that crash, with back-off, and forwards its own stop. It touches no stream
and no table: what a crashed process held, the others take over by themselves.
"""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from streamkit.engine.retry import HalfJitter
from streamkit.events import ProcessCrashed, ProcessStarted
from streamkit.runtimes.waiting import came

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamkit.ports import Chance, Clock, Report

CLEAN = 0
WRONG_USE = 2
"""The status of a process that found something wrong which a restart would not cure."""
_HEALTHY_SECONDS = 60.0
"""A process that ran for so long begins with short pauses again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait before a crashed process is started again: doubling from `initial` to `maximum`."""

    initial: timedelta = timedelta(seconds=1)
    maximum: timedelta = timedelta(seconds=60)


class Supervisor:
    """Runs `processes` copies of one command until they end cleanly, one is wrongly used, or it is told to drain."""

    def __init__(
        self,
        command: Callable[[int], Sequence[str]],
        *,
        processes: int,
        clock: Clock,
        chance: Chance,
        report: Report,
        patience: Patience | None = None,
    ) -> None:
        """`command` is what starts a process, by its number; 0 is the first.

        It is run with its standard input as a pipe: it ends when this supervisor does, however that is.
        """
        patience = patience or Patience()
        self._command = command
        self._processes = processes
        self._clock = clock
        self._report = report
        self._wait = HalfJitter(initial=patience.initial, maximum=patience.maximum, chance=chance)
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._stop = asyncio.Event()

    def drain(self) -> None:
        """Ask every process to finish what is under way and end. May be called from a signal handler."""
        self._stop.set()
        for process in self._running.values():
            _tell(process, signal.SIGTERM)

    async def run(self) -> int:
        """Return the exit status: of the first process that was wrongly used, else the worst."""
        async with asyncio.TaskGroup() as group:
            slots = [group.create_task(self._keep(slot)) for slot in range(self._processes)]
        statuses = [slot.result() for slot in slots]
        return WRONG_USE if WRONG_USE in statuses else next((each for each in statuses if each), CLEAN)

    async def _keep(self, slot: int) -> int:
        """Keep one process running; return the status it ended with for good."""
        crashes = 0
        while True:
            began = self._clock.monotonic()
            status = await self._run_once(slot)
            if status == WRONG_USE:
                self.drain()
            if self._stop.is_set() or status in (CLEAN, WRONG_USE):
                return status
            crashes = 1 if self._clock.monotonic() - began > _HEALTHY_SECONDS else crashes + 1
            pause = self._wait.after(crashes)
            self._report(ProcessCrashed(process=slot, status=status, restart_after_seconds=pause))
            if await came(self._stop, within=pause):
                return CLEAN

    async def _run_once(self, slot: int) -> int:
        process = await asyncio.create_subprocess_exec(
            *self._command(slot), stdin=asyncio.subprocess.PIPE, start_new_session=True
        )
        self._running[slot] = process
        self._report(ProcessStarted(process=slot, pid=process.pid))
        if self._stop.is_set():
            _tell(process, signal.SIGTERM)
        try:
            return await process.wait()
        finally:
            del self._running[slot]
            _tell(process, signal.SIGKILL)


def _tell(process: asyncio.subprocess.Process, what: signal.Signals) -> None:
    """Send a signal to a process that may have ended."""
    if process.returncode is None:
        process.send_signal(what)
