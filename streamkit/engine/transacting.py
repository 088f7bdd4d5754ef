"""Handlers whose writes and whose checkpoint are one transaction (rule 25).

    runner a: handler --> writes --> waits --+
    runner b: handler --> writes --> waits --+--> one commit at a time --> settled; the lanes advance
    runner c: handler --> writes --> waits --'

A runner has the head of one lane, and lets go of it only after the commit: so groups form across lanes only, and of
themselves, while the commit before is on its way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from streamkit.core.transactions import Write, together
from streamkit.engine.handling import is_being_cancelled
from streamkit.engine.transaction import writes_of
from streamkit.errors import Cancelled, TransactionRefused

if TYPE_CHECKING:
    from streamkit.core.records import Record
    from streamkit.core.schedule import Attempt
    from streamkit.core.settlement import Settling
    from streamkit.engine.needs import Handling, Surroundings
    from streamkit.engine.watch import Watch
    from streamkit.ports import Tables

Commit = Callable[[Sequence[Write], Sequence[int], Callable[[], None]], Awaitable[None]]
"""Commits writes with a checkpoint that has these ordinals settled, and calls back the moment that is known.

Raises `Cancelled` if nothing of it happened for the writes' own sake."""

READINGS = 10
"""How often a record is handled in one attempt because others changed what it had read."""


class _Waiting:
    """A record whose handler has returned."""

    __slots__ = ("alone", "attempt", "over", "writes")

    def __init__(self, attempt: Attempt, writes: tuple[Write, ...]) -> None:
        self.attempt = attempt
        self.writes = writes
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.alone = False
        """Whether it goes into a transaction of its own: one of several was refused, and nobody said which."""


class _ReadsChanged(Exception):
    """Others changed what the record had read, before its commit."""


class Transacting:
    """Runs the handlers of one shard in transactions. `run` commits for as long as it is not cancelled."""

    def __init__(
        self, handling: Handling, settling: Settling, around: Surroundings, tables: Tables, commit: Commit
    ) -> None:
        self._collect = handling.collect or partial(writes_of, handling.call)
        self._settling = settling
        self._around = around
        self._tables = tables
        self._commit = commit
        self._waiting: list[_Waiting] = []
        self._news = asyncio.Event()

    async def handle(self, attempt: Attempt, record: Record, watch: Watch) -> bool:
        """Run the handler and commit what it wants written; return whether the caller has nothing left to do with it.

        It is settled, or abandoned because the fence fell; one that wants nothing written is left to the caller. Raises
        what the handler raises, and `TransactionRefused`.
        """
        for _ in range(READINGS):
            watch.call()
            writes = await self._collect(record, self._tables)
            watch.end()
            if not writes:
                return False
            if is_being_cancelled():  # its handler did not heed that, and nobody will say so again while it waits here
                raise asyncio.CancelledError
            try:
                await self._committed(_Waiting(attempt, writes))
            except _ReadsChanged:
                if not self._around.may_start():
                    self._settling.abandoned(attempt)
                    return True
                watch.begin(attempt)
            else:
                return True
        msg = f"expected what the record read to stay as it was until its commit, got it changed {READINGS} times"
        raise TransactionRefused(msg)

    async def run(self) -> None:
        """Commit whatever waits, one transaction after the other. Raises `LeaseLost`."""
        while True:
            await self._gathered()
            group = self._next()
            try:
                await self._commit(
                    [write for each in group for write in each.writes],
                    [ordinal for each in group for ordinal in each.attempt.ordinals],
                    lambda group=group: self._settled(group),  # type: ignore[misc] # bound now
                )
            except Cancelled as cancelled:
                self._sort_out(group, cancelled)

    async def _committed(self, waiting: _Waiting) -> None:
        """Wait until the record's writes are durable. Cancelled on the way there, nothing is known of them."""
        self._waiting.append(waiting)
        self._news.set()
        try:
            await waiting.over
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)

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
        """Take the records of the next transaction out of those that wait."""
        waiting = self._waiting[:1] if self._waiting[0].alone else [each for each in self._waiting if not each.alone]
        group = [waiting[index] for index in together(each.writes for each in waiting)]
        self._waiting = [each for each in self._waiting if each not in group]
        return group

    def _settled(self, group: Sequence[_Waiting]) -> None:
        """The commit is durable: with no await since that is known, so that no later checkpoint can lack it."""
        now = self._around.clock.monotonic()
        for each in group:
            self._settling.succeeded(each.attempt, now)
            if not each.over.done():
                each.over.set_result(None)

    def _sort_out(self, group: Sequence[_Waiting], cancelled: Cancelled) -> None:
        """Fail the records that are to blame; the others go into the next transaction."""
        place, innocent = 0, list[_Waiting]()
        for each in group:
            causes = {at - place: why for at, why in cancelled.causes.items() if 0 <= at - place < len(each.writes)}
            place += len(each.writes)
            if causes:
                _fail(each, _blame(each.writes, causes))
            elif len(group) == 1:
                _fail(each, TransactionRefused(str(cancelled)))
            else:
                innocent.append(each)
        for each in innocent:
            each.alone = each.alone or not cancelled.causes
        self._waiting[:0] = [each for each in innocent if not each.over.done()]


def _fail(waiting: _Waiting, error: Exception) -> None:
    if not waiting.over.done():
        waiting.over.set_exception(error)


CONDITION = "ConditionalCheckFailed"
"""What DynamoDB calls a condition that does not hold."""


def _blame(writes: Sequence[Write], causes: dict[int, str]) -> Exception:
    """Return why the record failed: others changed what it read, or what it wants is refused."""
    if all(why == CONDITION and not writes[at].asked for at, why in causes.items()):
        return _ReadsChanged()
    told = ", ".join(f"{why} of the {writes[at].kind} in table {writes[at].table}" for at, why in causes.items())
    return TransactionRefused(told)
