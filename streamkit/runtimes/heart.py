"""The heartbeat of one worker incarnation (rule 2).

In production it runs in a thread with an event loop of its own, so that a handler that computes without ever
awaiting does not look like a dead worker. Tests run the same coroutine as a task.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from streamkit.core.schedule import FOREVER
from streamkit.errors import DeclaredDead, StreamkitError, Throttled, Unanswered

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
        self.failure: Exception | None = None
        """Why it beats no more, if that is nobody's wish."""
        self.turned = FOREVER
        """When (monotonic) it last decided whether to beat; FOREVER while it need not."""
        self._pause = lease / BEATS
        self._clock = clock
        self._fence = fence
        self._well = well
        self._held: tuple[tuple[str, Level | None], ...] = ()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._resting: asyncio.Timeout | None = None

    @property
    def held(self) -> tuple[tuple[str, Level | None], ...]:
        """Ids of the shards run, and what they bring: set by the worker, at once, as this thread may read any time.

        A shard given back is told at once: another worker waits to see it free.
        """
        return self._held

    @held.setter
    def held(self, held: tuple[tuple[str, Level | None], ...]) -> None:
        self._held = held
        if self._loop is not None and not self._told():
            with suppress(RuntimeError):  # its loop is closed: it beats no more
                self._loop.call_soon_threadsafe(self._wake)

    def _told(self) -> bool:
        """Say whether the last beat claimed nothing that was given back since."""
        return set(self.member.holds) <= {shard for shard, _ in self._held}

    def _wake(self) -> None:
        if self._resting is not None and not self._resting.expired():
            self._resting.reschedule(asyncio.get_running_loop().time())

    async def _rest(self, stop: asyncio.Event, seconds: float) -> None:
        """Rest for so long, but not when there is something to tell."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds) as resting:
                self._resting = resting
                try:
                    await stop.wait()
                finally:
                    self._resting = None

    async def beat(self, members: Members, stop: asyncio.Event) -> None:
        """Beat until `stop` is set. A beat that is not confirmed is simply followed by the next one, sooner.

        Raises `ConfigurationError` if the table is gone, or may not be written any more.
        """
        self._loop = asyncio.get_running_loop()
        await self._beat(members, stop)
        self.turned = FOREVER

    async def _beat(self, members: Members, stop: asyncio.Event) -> None:
        while not stop.is_set():
            pause, self.turned = self._pause, self._clock.monotonic()
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
                    pause = self._pause if self._told() else 0.0
            await self._rest(stop, pause)

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
