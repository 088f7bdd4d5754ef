"""The engine: settles one shard's records. Read this first.

    feed --> Settling.take --> handler --> Settling.succeeded | failed --> condemned --> dead letters --> buried

All decisions are `Settling`'s; here they are only carried out. A few runner tasks take attempts until there is
nothing to take. The first runner starts alone, and another only once that one had to wait: handlers that never
suspend cost no task a record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from msgspec.structs import replace

from streamkit.core.letters import Letter
from streamkit.core.records import Batch, Record
from streamkit.core.schedule import FOREVER
from streamkit.core.settlement import Outcome
from streamkit.engine.watch import Watch
from streamkit.errors import Undelivered, WorldError
from streamkit.events import HandlerStuck, HandlerTimedOut, LettersDelayed
from streamkit.signals import Failed, Poison, Unavailable, WorldDown

if TYPE_CHECKING:
    from streamkit.core.schedule import Attempt
    from streamkit.core.settlement import Settling
    from streamkit.ports import Clock, DeadLetters, Ledger, Report

_TURN = 64
"""Attempts a runner makes before it lets other tasks have the loop."""
_LETTERS = 100
"""Letters handed to the queue's adapter at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handling:
    """The consumer, as the engine needs it. Times in seconds."""

    call: Callable[[Record | Batch], Awaitable[object]]
    threads: asyncio.Semaphore | None
    """Free threads, where the handler is a plain function: its attempt starts with one in hand. None if it is async."""
    batches: bool
    concurrency: int
    timeout: float
    grace: float
    """How long after its time-out an attempt may take to end."""
    max_age: float | None
    where: Callable[[Record], object] | None
    dedupe_key: Callable[[Record], str | None] | None
    consumer: str
    code_version: str
    stream_arn: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The ports the engine works through."""

    clock: Clock
    report: Report
    dead_letters: DeadLetters | None
    ledger: Ledger | None
    may_start: Callable[[], bool]
    """Asked right before each handler starts; once it says no, nothing starts any more (rule 3)."""
    delay: Callable[[int], float]
    """Seconds to wait after the n-th refusal of the dead-letter queue."""
    on_stuck: Callable[[], None]
    """Called when an attempt neither ends nor can be stopped."""


class Engine:
    """Runs one shard's handlers until it is stopped, cancelled, or fenced."""

    def __init__(self, handling: Handling, settling: Settling, around: Surroundings) -> None:
        self._handling = handling
        self._settling = settling
        self._around = around
        self._changed = asyncio.Event()
        self._screens = handling.where is not None or handling.dedupe_key is not None
        self._runners = 0
        self._burying = False
        self._refused = False
        self._sends_last = False
        self._stopping = False
        self.fenced = False
        """Whether it stopped because nothing may start any more."""
        self.settled = asyncio.Event()
        """Set whenever a record was settled; whoever waits clears it."""

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
            try:
                while not self._over(until):
                    self._changed.clear()
                    await self._start_runners(group)
                    self._start_burial(group)
                    await self._wait(until)
            finally:
                self.stop()  # a thread outlives its cancellation: what runs in it ends, and nothing follows

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
        wake_at = FOREVER if self._stopping or self._runners >= self._handling.concurrency else self._settling.wake_at()
        if wake_at == FOREVER:
            await self._changed.wait()
            return
        timer = asyncio.get_running_loop().call_later(max(0.0, wake_at - now), self._changed.set)
        try:
            await self._changed.wait()
        finally:
            timer.cancel()

    # Attempts

    async def _start_runners(self, group: asyncio.TaskGroup) -> None:
        while self._runners < self._handling.concurrency and (attempt := self._take()) is not None:
            self._runners += 1
            group.create_task(self._run(attempt))
            await asyncio.sleep(0)

    def _take(self) -> Attempt | None:
        return None if self._stopping else self._settling.take(self._around.clock.monotonic())

    def _may_start(self) -> bool:
        """Look whether the lease may be gone, with no await between this and the handler (rule 3)."""
        if not self._around.may_start():
            self.fenced = True
            self.stop()
        return not self.fenced

    async def _run(self, attempt: Attempt | None) -> None:
        """Make attempts, one after the other, until there is none to take."""
        watch = self._watch()
        try:
            turn = 0
            while attempt is not None:
                await self._attempt(attempt, watch)
                turn += 1
                if turn % _TURN == 0:
                    await asyncio.sleep(0)
                attempt = self._take()
        finally:
            watch.close()
            self._runners -= 1
            self._changed.set()

    async def _attempt(self, attempt: Attempt, watch: Watch) -> None:
        settling, troubled = self._settling, self._settling.troubled
        live, error = await self._call(attempt, watch)
        if live is not None and error is None:
            settling.succeeded(live, self._around.clock.monotonic())
        elif live is not None and error is not None:
            self._failed(live, error)
        self.settled.set()
        if troubled or settling.troubled:
            self._changed.set()

    async def _call(self, attempt: Attempt, watch: Watch) -> tuple[Attempt | None, Exception | None]:
        """Call the handler; return what the call was for, less what needed none, and how it failed, if it did."""
        live: Attempt | None = attempt
        threads = self._handling.threads
        if threads is not None and not await self._has_thread(threads, attempt):
            return None, None
        watch.begin(attempt)
        try:
            if self._screens:
                live = await self._screen(attempt)
            if live is not None and not self._may_start():
                self._settling.abandoned(live)
                live = None
            if live is not None:
                _expect_nothing(await self._handling.call(self._subject(live)))
        except asyncio.CancelledError:
            timed_out = watch.end()
            if _is_being_cancelled():
                if live is not None:
                    self._settling.abandoned(live)
                raise
            return live, _cancellation(self._handling.timeout if timed_out else None)
        except Exception as error:  # noqa: BLE001 - the one place where a handler may raise anything
            watch.end()
            return live, error
        finally:
            if threads is not None:
                threads.release()
        watch.end()
        return live, None

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
        failures = self._settling.attempts
        records = [
            replace(record, attempt=n + 1) if (n := failures(ordinal)) else record
            for ordinal, record in zip(attempt.ordinals, attempt.records, strict=True)
        ]
        return Batch(records) if self._handling.batches else records[0]

    def _watch(self) -> Watch:
        handling, report, shard = self._handling, self._around.report, self._settling.shard

        def on_timeout(attempt: Attempt) -> None:
            number = attempt.records[0].sequence_number
            report(HandlerTimedOut(shard=shard, sequence=number, timeout_seconds=handling.timeout))

        def on_stuck(attempt: Attempt) -> None:
            report(HandlerStuck(shard=shard, sequence=attempt.records[0].sequence_number))
            self._around.on_stuck()

        return Watch(
            timeout=handling.timeout,
            grace=handling.grace,
            cancellable=handling.threads is None,
            on_timeout=on_timeout,
            on_stuck=on_stuck,
        )

    # Filters and business keys, before the handler

    async def _screen(self, attempt: Attempt) -> Attempt | None:
        """Settle what `where` rejects and what was done under another record's business key; return the rest."""
        dropped: dict[int, Outcome] = {}
        for ordinal, record in zip(attempt.ordinals, attempt.records, strict=True):
            try:
                outcome = await self._screened(record)
            except Unavailable:
                raise
            except Exception as error:
                raise Failed(record, error) from error
            if outcome is not None:
                dropped[ordinal] = outcome
        return self._settling.reduce(attempt, dropped) if dropped else attempt

    async def _screened(self, record: Record) -> Outcome | None:
        where, ledger = self._handling.where, self._around.ledger
        if where is not None and not where(record):
            return Outcome.FILTERED
        if self._handling.dedupe_key is None or ledger is None:
            return None
        key = self._handling.dedupe_key(record)
        if not key:
            reason = f"dedupe_key: expected a non-empty string, got {type(key).__name__}"
            raise Poison(reason)
        try:
            mine = await ledger.claim(key, claimant=record.id)
        except WorldError as error:
            reason = f"the ledger of business keys: {type(error).__name__}"
            raise WorldDown(reason) from error
        return None if mine else Outcome.DUPLICATE

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
                if not self._may_start():
                    return
                letters = self._letters()
                refused, error = await self._send(queue, letters.values())
                self._settling.buried(o for o, letter in letters.items() if letter.record.id not in refused)
                self.settled.set()
                self._changed.set()
                self._refused = error is not None
                refusals = refusals + 1 if error else 0
                if error:
                    await self._put_off(len(refused), error, refusals)
        finally:
            self._burying = False
            self._changed.set()

    async def _send(
        self, queue: DeadLetters, letters: Iterable[Letter]
    ) -> tuple[frozenset[str], WorldError | Undelivered | None]:
        """Return the ids of the records whose letters are not durable, and why. Each step asks the fence."""
        batch = tuple(letters)
        unsent = frozenset(letter.record.id for letter in batch)
        try:
            for letter in batch:
                await self._release_claim(letter.record)
                if not self._may_start():
                    return unsent, None
            await queue.send(batch)
        except Undelivered as error:
            return frozenset(letter.record.id for letter in error.letters), error
        except WorldError as error:
            return unsent, error
        return frozenset(), None

    async def _put_off(self, letters: int, error: WorldError | Undelivered, refusals: int) -> None:
        delay = self._around.delay(refusals)
        self._around.report(
            LettersDelayed(
                shard=self._settling.shard,
                letters=letters,
                error=type(error).__name__,
                delay_seconds=delay,
            )
        )
        await asyncio.sleep(delay)

    def _letters(self) -> Mapping[int, Letter]:
        handling, now = self._handling, self._around.clock.now().timestamp()
        return {
            ordinal: Letter(
                verdict=verdict,
                consumer=handling.consumer,
                code_version=handling.code_version,
                stream_arn=handling.stream_arn,
                condemned=now,
            )
            for ordinal, verdict in islice(self._settling.condemned.items(), _LETTERS)
        }

    async def _release_claim(self, record: Record) -> None:
        """Give the business key back: the same event, put again, may try where this record could not (rule 26)."""
        dedupe_key, ledger = self._handling.dedupe_key, self._around.ledger
        if dedupe_key is None or ledger is None:
            return
        try:
            key = dedupe_key(record)
        except Exception:  # noqa: BLE001 - the user's function on a bad record: without a key there is no claim
            return
        if key:
            await ledger.release(key, claimant=record.id)


def _expect_nothing(result: object) -> None:
    """A handler says what it has to say by raising; an answer meant for somebody else must not pass for success."""
    if result is not None:
        msg = f"expected a handler to return None, got {type(result).__name__}"
        raise TypeError(msg)


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _cancellation(timeout: float | None) -> Exception:
    if timeout is None:
        return RuntimeError("the handler raised CancelledError although nobody cancelled it")
    return TimeoutError(f"expected the handler to end within {timeout:g} s")
