"""The engine: settles one shard's records. Read this first.

    feed --> Settling.take --> handler --> Settling.succeeded | failed --> condemned --> dead letters --> buried

All decisions are `Settling`'s; here they are only carried out. A few runner tasks take attempts until there is
nothing to take. The first runner starts alone, and others only once that one had to wait: handlers that never suspend
cost no task a record. While nothing waits and nothing fails a runner takes not one attempt but a `Stretch` of records:
the same steps, with the bookkeeping done once for all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from msgspec.structs import replace

from streamkit.core.claims import claims, pairs
from streamkit.core.lanes import Stretch
from streamkit.core.records import Batch
from streamkit.core.rules import Outcome
from streamkit.core.schedule import FOREVER, Attempt
from streamkit.engine.announcing import Announcing
from streamkit.engine.burial import Burial
from streamkit.engine.handling import cancellation, expect_nothing, is_being_cancelled
from streamkit.engine.needs import Handling, Surroundings
from streamkit.engine.pace import Turn
from streamkit.engine.screen import Screen, Superseded
from streamkit.engine.watch import UnderWay, Watch, watching
from streamkit.signals import Failed

if TYPE_CHECKING:
    from streamkit.core.records import Record
    from streamkit.core.settlement import Settling
    from streamkit.engine.transacting import Transacting
    from streamkit.ports import DeadLetters

__all__ = ["Engine", "Handling", "Surroundings"]

_STRETCH = 256
"""Most records handed out between two looks at the time."""
_TURN = 64
"""Attempts a runner makes, or stretches it hands out, before it lets other tasks have the loop."""
_TURN_SECONDS = 0.005
"""The same for stretches, as a time: of handlers that never wait there may be thousands."""


class Engine:
    """Runs one shard's handlers until it is stopped, cancelled, or fenced."""

    def __init__(
        self, handling: Handling, settling: Settling, around: Surroundings, transacting: Transacting | None = None
    ) -> None:
        """`transacting` runs the handlers of a consumer whose writes commit with its checkpoints."""
        self._handling = handling
        self._transacting = transacting
        self._settling = settling
        self._around = around
        self._screen = Screen(handling, around.ledger, around.tenure)
        self._burial = Burial(handling, settling, around, self._screen, self.may_start)
        self._changed = asyncio.Event()
        self._screens = handling.where is not None or self._screen.claims
        self._turn = Turn(handling.pace) if handling.pace else None
        told = around.successes
        self._announcing = Announcing(handling, around, told, settling.shard, self.may_start) if told else None
        waits = transacting or told
        self._hastes = not (handling.batches or handling.threads or self._screen.claims or self._turn or waits)
        self._runners = 0
        self._watches = set[Watch]()
        self._yielding = 0
        """Runners between two attempts, that only let others have the loop."""
        self._burying = False
        self._refused = False
        self._sends_last = False
        self._stopping = False
        self.fenced = False
        """Whether it stopped because nothing may start any more."""
        self.settled = asyncio.Event()
        """Set whenever a record was settled; whoever waits clears it."""

    @property
    def under_way(self) -> list[UnderWay]:
        """The calls of the handler that have not returned."""
        return [each for watch in self._watches if (each := watch.under_way) is not None]

    def feed(self, records: Iterable[Record]) -> None:
        """Take records in. The caller minds the bound (`Settling.pending`)."""
        self._settling.admit(records, self._around.clock.monotonic())
        self._changed.set()
        self.settled.set()

    def stop(self, *, letters: bool = False) -> None:
        """Start nothing more; `run` returns when what is under way has ended, and `letters` that are due are sent."""
        self._stopping = True
        self._sends_last = letters
        self._changed.set()

    async def run(self, *, until: Callable[[], bool] = lambda: False) -> None:
        """Work until stopped, fenced, or `until` says so whenever nothing is under way.

        Cancelling it cancels the attempts under way; their records stay unsettled.
        """
        async with asyncio.TaskGroup() as group:
            sides = [group.create_task(each.run()) for each in (self._transacting, self._announcing) if each]
            try:
                while not self._over(until):
                    self._changed.clear()
                    await self._start_runners(group)
                    self._start_burial(group)
                    await self._wait(until)
            finally:
                self.stop()  # a thread outlives its cancellation: what runs in it ends, and nothing follows
                for side in sides:
                    side.cancel()

    def _over(self, until: Callable[[], bool]) -> bool:
        resting = self._runners == 0 and not self._burying
        return resting and ((self._stopping and not self._owes_letters()) or until())

    def _owes_letters(self) -> bool:
        """Say whether verdicts wait for a queue that has not just refused some."""
        able = self._around.dead_letters is not None and not self._refused and not self.fenced
        return self._sends_last and able and bool(self._settling.condemned)

    async def _wait(self, until: Callable[[], bool]) -> None:
        if self._changed.is_set() or self._over(until):
            return
        now = self._around.clock.monotonic()
        wake_at = FOREVER if self._stopping or self._runners >= self._handling.concurrency else self._wake_at(now)
        if wake_at == FOREVER:
            await self._changed.wait()
            return
        timer = asyncio.get_running_loop().call_later(max(0.0, wake_at - now), self._changed.set)
        try:
            await self._changed.wait()
        finally:
            timer.cancel()

    # Runners

    async def _start_runners(self, group: asyncio.TaskGroup) -> None:
        """Start runners while those there are all wait: as many again at a time, so that a few turns start them all.

        One that only lets others have the loop will take what there is; it starts the others should it come to wait.
        """
        while not self._yielding and (wanted := min(self._runners or 1, self._handling.concurrency - self._runners)):
            started = 0
            while started < wanted and (attempt := self._take()) is not None:
                started += 1
                self._runners += 1
                group.create_task(self._run(attempt))
            if not started:
                return
            await asyncio.sleep(0)

    async def _run(self, attempt: Attempt | Stretch | None) -> None:
        """Make attempts, one after the other, until there is none to take."""
        watch, clock = watching(self._handling, self._around, self._settling.shard), self._around.clock
        turn, began = 0, clock.monotonic()
        self._watches.add(watch)
        try:
            while attempt is not None:
                await self._attempt(attempt, watch)
                turn += 1
                unbroken = isinstance(attempt, Stretch) and attempt.attempt is None
                if turn >= _TURN or (unbroken and clock.monotonic() - began >= _TURN_SECONDS):
                    await self._yield()
                    turn, began = 0, clock.monotonic()
                attempt = self._next()
        finally:
            watch.close()
            self._watches.discard(watch)
            self._runners -= 1
            self._changed.set()

    async def _yield(self) -> None:
        """Let other tasks have the loop."""
        self._yielding += 1
        try:
            await asyncio.sleep(0)
        finally:
            self._yielding -= 1
            self._changed.set()

    def _next(self) -> Attempt | Stretch | None:
        """Return what a runner does next: all it can get at a time where nothing waits or fails."""
        stretch = self._settling.stretch(_STRETCH) if self._hastes and not self._stopping else None
        return stretch or self._take()

    def _take(self) -> Attempt | None:
        if self._stopping:
            return None
        turn, now = self._turn, self._around.clock.monotonic()
        if turn is None:
            return self._settling.take(now)
        if self._settling.clear or not turn.has_come(now):
            return None
        if (attempt := self._settling.take(now)) is not None:
            turn.use(len(attempt.records))
        return attempt

    def _wake_at(self, now: float) -> float:
        """Return when there may be something to take: not before the turn that is waited for, whatever may run."""
        due = self._turn.due(now) if self._turn is not None else FOREVER
        return self._settling.wake_at() if due == FOREVER else due

    def may_start(self) -> bool:
        """Look whether the lease may be gone, with no await between this and the handler (rule 3)."""
        if not self._around.may_start():
            self._fence()
        return not self.fenced

    def _fence(self) -> None:
        self.fenced = True
        self.stop()

    # Attempts

    async def _attempt(self, attempt: Attempt | Stretch, watch: Watch) -> None:
        settling, troubled = self._settling, self._settling.troubled
        live, error = await self._call(attempt, watch)
        if live is not None and self._announcing is not None:
            live = await self._announced(self._alone(live), error, self._announcing)
        if live is not None and error is None:
            settling.succeeded(live, self._around.clock.monotonic())
        elif live is not None and error is not None:
            self._failed(self._alone(live), error)
        self.settled.set()
        if troubled or settling.troubled:
            self._changed.set()

    async def _call(
        self, attempt: Attempt | Stretch, watch: Watch
    ) -> tuple[Attempt | Stretch | None, Exception | None]:
        """Call the handler; return what the call was for, less what needed none, and how it failed, if it did."""
        live: Attempt | Stretch | None = attempt
        threads = self._handling.threads
        if threads is not None and not await self._has_thread(threads, self._alone(attempt)):
            return None, None
        watch.begin(attempt)
        try:
            if isinstance(attempt, Stretch):
                live = await self._hasten(attempt, watch)
            elif (live := await self._screened(attempt)) is not None:
                live = await self._handled(live, watch)
        except asyncio.CancelledError:
            timed_out = watch.end()
            if is_being_cancelled():
                if live is not None:
                    self._settling.abandoned(self._alone(live))
                raise
            return live, cancellation(self._handling.timeout if timed_out else None)
        except Exception as error:  # noqa: BLE001 - the one place where a handler may raise anything
            watch.end()
            return live, error
        finally:
            if threads is not None:
                threads.release()
        watch.end()
        return live, None

    async def _announced(self, live: Attempt, error: Exception | None, announcing: Announcing) -> Attempt | None:
        """Tell of the records that succeeded before they are settled; return None if nothing may be told any more."""
        done = live.ordinals if error is None else claims(live, error)[0]
        told = False
        try:
            told = not done or await announcing.told([record for ordinal, record in pairs(live) if ordinal in done])
        finally:
            if not told:
                self._settling.abandoned(live)
        return live if told else None

    async def _handled(self, live: Attempt, watch: Watch) -> Attempt | None:
        """Call the handler; return what is to be settled now: nothing, if that was done with the commit."""
        subject = self._subject(live)
        if self._transacting is None or isinstance(subject, Batch):
            watch.call()
            expect_nothing(await self._handling.call(subject))
            return live
        return None if await self._transacting.handle(live, subject, watch) else live

    async def _screened(self, attempt: Attempt) -> Attempt | None:
        """Settle what needs no handler; return the rest, if there is any and nothing forbids its start."""
        try:
            dropped = await self._screen.dropped(attempt) if self._screens else None
        except Superseded:
            dropped = None
            self._fence()
        live = self._settling.reduce(attempt, dropped) if dropped else attempt
        if dropped and self._turn is not None:
            self._turn.give_back(len(dropped))
        if live is not None and not self.may_start():
            self._settling.abandoned(live)
            return None
        return live

    async def _hasten(self, stretch: Stretch, watch: Watch) -> Attempt | Stretch | None:
        """Call the handler with one record of the stretch after the other; return what was handled, if anything was."""
        call, where, holds = self._handling.call, self._handling.where, self._around.may_start
        notice = asyncio.get_running_loop().call_soon(self._notice, stretch, watch)
        try:
            for record in stretch:
                if where is not None and not where(record):
                    alone = self._settling.cut(stretch)
                    return self._settling.reduce(alone, dict.fromkeys(alone.ordinals, Outcome.FILTERED))
                if not holds():
                    self._fence()
                    self._settling.abandoned(self._settling.cut(stretch))
                    return None
                if (result := await call(record)) is not None:
                    expect_nothing(result)
        finally:
            notice.cancel()
        return stretch

    def _notice(self, stretch: Stretch, watch: Watch) -> None:
        """The loop has turned, so a handler of the stretch waits: it is an attempt of its own now; its time runs."""
        watch.begin(self._settling.cut(stretch))
        self.settled.set()
        self._changed.set()

    def _alone(self, attempt: Attempt | Stretch) -> Attempt:
        """Return the attempt itself, or of a stretch the last record that was handed out."""
        return self._settling.cut(attempt) if isinstance(attempt, Stretch) else attempt

    async def _has_thread(self, threads: asyncio.Semaphore, attempt: Attempt) -> bool:
        """Wait for a free thread, so that nothing waits between the look at the fence and the handler (rule 3)."""
        try:
            await threads.acquire()
        except asyncio.CancelledError:
            self._settling.abandoned(attempt)
            raise
        if self._stopping:
            threads.release()
            self._settling.abandoned(attempt)
        return not self._stopping

    def _failed(self, attempt: Attempt, error: Exception) -> None:
        if isinstance(error, Failed) and not self._handling.batches and isinstance(error.cause, Exception):
            error = error.cause
        clock, max_age = self._around.clock, self._handling.max_age
        oldest = clock.now().timestamp() - max_age if max_age is not None else 0.0
        self._settling.failed(attempt, error, clock.monotonic(), oldest=oldest)

    def _subject(self, attempt: Attempt) -> Record | Batch:
        """Return what the handler is called with: records that failed before know their attempt."""
        records = attempt.records
        if self._settling.troubled:
            failures = map(self._settling.attempts, attempt.ordinals)
            records = tuple(
                replace(each, attempt=n + 1) if n else each for each, n in zip(records, failures, strict=True)
            )
        return Batch(records) if self._handling.batches else records[0]

    # Dead letters

    def _start_burial(self, group: asyncio.TaskGroup) -> None:
        if not self._settling.condemned or self._burying or self.fenced:
            return
        if self._around.dead_letters is None:
            self._settling.halt("a record was condemned and the consumer has no dead-letter queue")
            return
        self._burying = True
        group.create_task(self._bury(self._around.dead_letters))

    async def _bury(self, queue: DeadLetters) -> None:
        """Send letters until none is left. A queue that does not take them stops progress, never skips (rule 19)."""
        refusals = 0
        try:
            while self._settling.condemned and (refusals == 0 or not self._stopping):
                if not self.may_start():
                    return
                delay = await self._burial.send(queue, refusals=refusals)
                self.settled.set()
                self._changed.set()
                self._refused = delay is not None
                refusals = refusals + 1 if self._refused else 0
                if delay is not None:
                    await asyncio.sleep(delay)
        finally:
            self._burying = False
            self._changed.set()
