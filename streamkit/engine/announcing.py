"""Records that were handled are told of before they count as settled: so no checkpoint can pass one that was not.

    runner a: handler --> waits --+
    runner b: handler --> waits --+--> ten at a time, a few requests at once --> settled
    runner c: handler --> waits --'

A runner holds the head of its lane until that is durable. So what waits is bounded by the runners, a key's messages
keep their order, and a queue that takes nothing stops progress, visibly, as the dead-letter queue does (rule 19).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from streamkit.errors import Untold, WorldError
from streamkit.events import SuccessesDelayed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamkit.core.records import Record
    from streamkit.core.successes import Success
    from streamkit.engine.needs import Handling, Surroundings
    from streamkit.ports import Successes

_TOGETHER = 10
"""Records told of together, if so many wait: what SQS takes in one request."""
_AT_ONCE = 8
"""Sendings under way at once."""


class _Waiting:
    """Records that were handled together."""

    __slots__ = ("over", "records")

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        self.over: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def end(self, *, told: bool) -> None:
        if not self.over.done():
            self.over.set_result(told)


class Announcing:
    """Tells of one shard's successes. `run` sends for as long as it is not cancelled."""

    def __init__(
        self, handling: Handling, around: Surroundings, successes: Successes, shard: str, may_go_on: Callable[[], bool]
    ) -> None:
        """`may_go_on` is the fence, asked before each sending."""
        self._handling = handling
        self._around = around
        self._successes = successes
        self._shard = shard
        self._may_go_on = may_go_on
        self._waiting: deque[_Waiting] = deque()
        self._news = asyncio.Event()
        self._closed = False

    async def told(self, records: Sequence[Record]) -> bool:
        """Return once it is durable that these were handled; False if nothing may be sent any more."""
        if self._closed:
            return False
        waiting = _Waiting(records)
        self._waiting.append(waiting)
        self._news.set()
        try:
            return await waiting.over
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)

    async def run(self) -> None:
        """Send whatever waits. What waits, or comes, after it was cancelled is not told: a thread may outlive it."""
        try:
            await self._send()
        finally:
            self._closed = True
            for each in self._waiting:
                each.end(told=False)

    async def _send(self) -> None:
        slots = asyncio.Semaphore(_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            while True:
                await slots.acquire()
                await self._gathered()
                if together := self._next():
                    group.create_task(self._tell(together)).add_done_callback(lambda _: slots.release())
                else:
                    slots.release()

    async def _gathered(self) -> None:
        """Wait until something waits, and for whatever comes in the same turns of the loop."""
        while not self._waiting:
            self._news.clear()
            await self._news.wait()
        before = 0
        while before < len(self._waiting):
            before = len(self._waiting)
            await asyncio.sleep(0)

    def _next(self) -> list[_Waiting]:
        """Take what is told of together out of what waits."""
        taken: list[_Waiting] = []
        room = _TOGETHER
        while self._waiting and (not taken or len(self._waiting[0].records) <= room):
            taken.append(self._waiting.popleft())
            room -= len(taken[-1].records)
        return taken

    async def _tell(self, together: Sequence[_Waiting]) -> None:
        """Send until all is durable, or nothing may be sent any more."""
        due = [self._success(record) for each in together for record in each.records]
        refusals = 0
        try:
            while due and self._may_go_on():
                due, error = await self._sent(due)
                if error is not None:
                    refusals += 1
                    await asyncio.sleep(self._delayed(len(due), error, refusals))
        finally:
            for each in together:
                each.end(told=not due)

    async def _sent(self, due: list[Success]) -> tuple[list[Success], Untold | WorldError | None]:
        """Send, and return what is not durable, and why."""
        try:
            await self._successes.send(due)
        except Untold as error:
            return list(error.successes), error
        except WorldError as error:
            return due, error
        return [], None

    def _delayed(self, number: int, error: Untold | WorldError, refusals: int) -> float:
        """Report a refusal; return the seconds until it is tried again."""
        delay = self._around.delay(refusals)
        self._around.report(
            SuccessesDelayed(shard=self._shard, successes=number, error=type(error).__name__, delay_seconds=delay)
        )
        return delay

    def _success(self, record: Record) -> Success:
        from streamkit.core.successes import Success  # noqa: PLC0415 - a function without a destination loads none of it

        handling = self._handling
        return Success(
            record, handling.consumer, handling.code_version, handling.stream_arn, self._around.clock.now().timestamp()
        )
