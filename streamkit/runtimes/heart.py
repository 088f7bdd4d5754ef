"""The heartbeat of one worker incarnation (rule 2).

In production it runs in a thread with an event loop of its own, so that a handler that computes without ever
awaiting does not look like a dead worker. Tests run the same coroutine as a task.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from streamkit.errors import DeclaredDead, StreamkitError, Throttled, Unanswered
from streamkit.runtimes.waiting import came

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from streamkit.core.balance import Level
    from streamkit.core.leasing import Member
    from streamkit.ports import Clock, Members, Rows
    from streamkit.runtimes.fence import Fence

BEATS = 4
"""Heartbeats a lease duration."""
_JOIN_SECONDS = 5.0


class Heart:
    """Beats for a member until told to stop, or declared dead."""

    def __init__(self, member: Member, *, lease: float, clock: Clock, fence: Fence, well: Callable[[], bool]) -> None:
        """`lease` in seconds. `well` is asked before each beat: a worker that is stuck must not look alive."""
        self.member = member
        self.held: tuple[tuple[str, Level | None], ...] = ()
        """Ids of the shards run, and what they bring: set by the worker, at once, as this thread may read any time."""
        self.failure: Exception | None = None
        """Why it beats no more, if that is nobody's wish."""
        self._pause = lease / BEATS
        self._clock = clock
        self._fence = fence
        self._well = well

    async def beat(self, members: Members, stop: asyncio.Event) -> None:
        """Beat until `stop` is set. A beat that is not confirmed is simply followed by the next one, sooner.

        Raises `ConfigurationError` if the table is gone, or may not be written any more.
        """
        while not stop.is_set():
            pause = self._pause
            if self._well():
                sent = self._clock.monotonic()
                wanted = self.member = self.member.beaten(self.held)
                try:
                    await members.beat(wanted)
                except DeclaredDead:
                    self._fence.drop()
                    return
                except (Throttled, Unanswered):
                    pause = self._pause / BEATS
                else:
                    self._fence.confirm(sent)
            await came(stop, within=pause)

    def fail(self, failure: Exception) -> None:
        """Beat no more, and say why: the worker must not go on as if it did."""
        self.failure = failure
        self._fence.drop()


def start_thread(heart: Heart, open_rows: Callable[[], AbstractAsyncContextManager[Rows]]) -> Callable[[], None]:
    """Start the heart's thread; return what stops it and waits for it."""
    ready = threading.Event()
    handle: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def main() -> None:
        stop = asyncio.Event()
        handle.append((asyncio.get_running_loop(), stop))
        ready.set()
        try:
            async with open_rows() as rows:
                await heart.beat(rows.members, stop)
                await stop.wait()
        except (StreamkitError, OSError) as failure:
            heart.fail(failure)

    thread = threading.Thread(target=asyncio.run, args=(main(),), name="streamkit-heart", daemon=True)
    thread.start()
    ready.wait()

    def stop_thread() -> None:
        loop, stop = handle[0]
        with suppress(RuntimeError):  # its loop is closed: it has ended by itself
            loop.call_soon_threadsafe(stop.set)
        thread.join(timeout=_JOIN_SECONDS)

    return stop_thread
