"""Redrive: dead letters through the consumer's handler once more, by its own rules (rule 30).

gather --> in stream order, shard by shard --> Engine(Settling) --> done in the ledger --> deleted from the queue
             a letter that fails again is put back as it is: no second one is sent

Nothing here looks at frontiers: every dead letter lies behind one. What was redriven before, the ledger knows by the
record's id. A crash between an effect and its row in the ledger repeats that effect; a crash after it repeats nothing.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from streamkit.core.positions import Progress
from streamkit.core.settlement import Outcome, Settling, Tally, digest
from streamkit.core.sorting import runnable
from streamkit.engine.engine import Engine, Surroundings
from streamkit.engine.handling import Threads
from streamkit.engine.retry import FullJitter, HalfJitter, insist
from streamkit.errors import ConfigurationError, WorldError
from streamkit.events import ShardPaused
from streamkit.runtimes.fetching import Fetching, Patience
from streamkit.runtimes.grip import Grip
from streamkit.runtimes.once import Once
from streamkit.runtimes.redrive_terms import Result
from streamkit.runtimes.setup import handling_of, rules_of
from streamkit.runtimes.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from streamkit.consumer import Consumer
    from streamkit.core.letters import Letter
    from streamkit.core.records import Record
    from streamkit.engine.engine import Handling
    from streamkit.events import Event
    from streamkit.runtimes.redrive_terms import Options, Tools

_ROUNDS = 10_000
_AT_ONCE = 16
_THREADS = 512


class Redrive:
    """One run over the queue of one consumer."""

    def __init__(self, consumer: Consumer, tools: Tools, options: Options) -> None:
        self.result = Result()
        self.total = 0
        """Letters that are to run, as far as they are known."""
        self.advance: Callable[[], None] = lambda: None
        """Called whenever a letter has left the queue, or stays."""
        self._consumer = consumer
        self._tools = tools
        self._options = options
        self._pass_on = tools.report
        self._engine: Engine | None = None
        self._once = Once(consumer, tools.redriven, tools.ledger, run=tools.chance.token())
        self._grip = Grip(tools.mailbox, clock=tools.clock)
        self._stack = Stack()
        self._fetching = self._fetches()
        self._stayed: dict[str, str] = {}
        """Records that failed again, and the digests of their keys."""
        self._finished: list[tuple[Record, Outcome]] = []
        self._news = asyncio.Event()
        self._wait = FullJitter(initial=timedelta(seconds=0.1), maximum=timedelta(seconds=5), chance=tools.chance)

    async def run(self) -> Result:
        """Redrive until nothing that is wanted is in sight. Whatever happens, what is held is put back.

        Raises `ConfigurationError` if letters of parked keys cannot all be gathered, and the errors of the queue.
        """
        consumer = self._consumer
        if consumer.mode == "transactional":
            msg = f"consumer {consumer.name}: expected a mode that can be redriven, got 'transactional' (not built yet)"
            raise ConfigurationError(msg)
        async with AsyncExitStack() as stack:
            state = await stack.enter_async_context(consumer.lifespan()) if consumer.lifespan else None
            threads = Threads(min(16 * consumer.concurrency, _THREADS), name=f"streamkit-redrive-{consumer.name}")
            stack.callback(threads.close)
            await self._held(self._rounds(handling_of(consumer, state=state, threads=threads, stream_arn="")))
        return self.result

    def stop(self, why: str) -> None:
        """Start nothing more: `run` returns when what is under way has ended, and its letters are deleted."""
        self.result.stopped = self.result.stopped or why
        if self._engine is not None:
            self._engine.stop()

    async def preview(self) -> Sequence[Letter]:
        """Return what would run, in order; everything is put back."""
        found: list[Letter] = []

        async def look() -> None:
            await self._stack.gather(self._grip, most=self._options.most)
            found.extend(letter for run in self._runnable() for letter in run)

        await self._held(look())
        return found

    async def _held(self, work: Awaitable[None]) -> None:
        """Do the work, with everything gathered kept out of sight; put back what is left of it."""
        try:
            async with asyncio.TaskGroup() as group:
                keeping = group.create_task(self._grip.keep_on())
                await work
                keeping.cancel()
        finally:
            await self._grip.let_go()

    async def _rounds(self, handling: Handling) -> None:
        """Gather and settle until a gathering brings nothing new: a FIFO queue shows ten of a group at a time."""
        handling = replace(handling, max_age=None, dedupe_key=self._once.key)
        for _ in range(_ROUNDS):
            await self._stack.gather(self._grip, most=self._options.most)
            runs = self._runnable()
            self.total = self.result.settled + len(self._stayed) + sum(map(len, runs))
            for run in runs:
                await self._settle(run, handling)
                if self.result.stopped:
                    break
            if not runs or self.result.stopped or self._grip_is_full:
                break
        self._sum_up()

    @property
    def _grip_is_full(self) -> bool:
        return len(self._grip) >= self._options.most

    def _runnable(self) -> list[list[Letter]]:
        """Return what may run and has not. Raises `ConfigurationError` where the order cannot be known."""
        mine = [each for each in self._stack.letters.values() if each.consumer == self._consumer.name]
        runs = [
            [letter for letter in run if letter.record.id not in self._stayed]
            for run in runnable(mine, self._options.wanted)
        ]
        parked = any(letter.verdict.condition == "Parked" for run in runs for letter in run)
        if parked and not self._stack.complete:
            raise ConfigurationError(
                f"expected at most {self._options.most} letters in the queue, for parked keys to be redriven in order, "
                "got more; raise --limit"
            )
        return [run for run in runs if run]

    def _sum_up(self) -> None:
        stack, result = self._stack, self.result
        result.left = len(stack) - len(self._stayed)
        keys = [each.record.key for each in (*stack.letters.values(), *stack.omitted.values())]
        result.remaining = frozenset(map(digest, keys))
        result.complete = stack.complete and not stack.unreadable

    # One shard's letters

    async def _settle(self, letters: Sequence[Letter], handling: Handling) -> None:
        """Settle the letters of one shard, in order."""
        settling, self._fetching = self._settling(letters), self._fetches()
        handling = replace(handling, stream_arn=letters[0].stream_arn)
        self._engine = engine = Engine(handling, settling, self._surroundings())
        ended, fed = asyncio.Event(), asyncio.Event()

        def over() -> bool:
            halted = settling.halted is not None or self.result.stopped is not None
            return halted or (fed.is_set() and settling.clear)

        async with asyncio.TaskGroup() as group:
            group.create_task(self._finish(ended))
            feeding = group.create_task(self._feed(engine, letters, fed))
            await engine.run(until=over)
            feeding.cancel()
            ended.set()
            self._news.set()
        self._note_end(settling, engine, letters)

    async def _feed(self, engine: Engine, letters: Sequence[Letter], fed: asyncio.Event) -> None:
        """Hand the records over, at the rate asked for; payloads that are elsewhere are fetched first."""
        for letter in letters:
            try:
                record = await self._fetching.record(letter, self._stack.elsewhere.get(letter.record.id))
            except WorldError as error:
                self.stop(f"payloads are not to be had: {error}")
                break
            engine.feed([replace(record, redriven=True, attempt=1, foreign=False)])
            if self._options.rate:
                await asyncio.sleep(1 / self._options.rate)
        fed.set()
        engine.feed(())

    def _settling(self, letters: Sequence[Letter]) -> Settling:
        consumer = self._consumer
        rules = rules_of(consumer, chance=self._tools.chance, retention=timedelta(days=1))
        parked = self._stayed.values() if consumer.on_dead_letter == "park" else ()
        settling = Settling(
            letters[0].record.shard, rules, progress=Progress(), parked=parked, tally=Tally(), report=self._hear
        )
        settling.listener = self._settled
        return settling

    def _fetches(self) -> Fetching:
        tools = self._tools
        patience = Patience(self._options.patience, clock=tools.clock, chance=tools.chance)
        return Fetching(tools.payloads, most_bytes=self._consumer.read_ahead_bytes, patience=patience)

    def _surroundings(self) -> Surroundings:
        tools = self._tools
        wait = HalfJitter(initial=timedelta(seconds=0.5), maximum=timedelta(seconds=30), chance=tools.chance)
        return Surroundings(
            clock=tools.clock,
            report=self._hear,
            dead_letters=_Staying(self._stay),
            ledger=self._once,
            successes=tools.successes,
            may_start=self._grip.holds,
            delay=wait.after,
            on_stuck=tools.on_stuck,
        )

    def _note_end(self, settling: Settling, engine: Engine, letters: Sequence[Letter]) -> None:
        """Note why it ended, if letters are left that were not tried to the end."""
        if engine.fenced:
            self.result.stopped = "the queue did not answer in time: its letters may be in sight of others"
        elif settling.halted is not None:
            self.result.stopped = settling.halted
        for letter in letters:
            if letter.record.id in self._stack.letters and letter.record.id not in self._stayed:
                self._stay(letter, "not tried to the end")

    def _hear(self, event: Event) -> None:
        self._pass_on(event)
        if isinstance(event, ShardPaused) and event.paused_seconds >= self._options.patience.total_seconds():
            self.result.stopped = f"everything fails: {event.cause} at {event.where}"

    def _stay(self, letter: Letter, reason: str) -> None:
        self._stayed[letter.record.id] = digest(letter.record.key)
        self.result.stayed[reason] += 1
        self.advance()

    # Settled: to be remembered, then deleted

    def _settled(self, record: Record, outcome: Outcome) -> None:
        if outcome is Outcome.DEAD:
            self._fetching.let_go(record)
            return
        self._finished.append((record, outcome))
        self._news.set()

    async def _finish(self, ended: asyncio.Event) -> None:
        """Note effects in the ledger, and only then delete their letters, until nothing more can come."""
        while not ended.is_set() or self._finished:
            await self._news.wait()
            self._news.clear()
            while some := self._finished[:_AT_ONCE]:
                await self._remember([record for record, outcome in some if outcome is not Outcome.DUPLICATE])
                letters = [self._stack.letters[record.id] for record, _ in some]
                await self._insist(partial(self._grip.delete, self._stack.copies(letters)))
                for letter, (record, outcome) in zip(letters, some, strict=True):
                    self._stack.forget(letter)
                    self._fetching.let_go(record)
                    self._count(outcome)
                del self._finished[: len(some)]

    async def _remember(self, records: Sequence[Record]) -> None:
        async with asyncio.TaskGroup() as group:
            for record in records:
                group.create_task(self._insist(partial(self._once.done, record)))

    async def _insist(self, call: Callable[[], Awaitable[None]]) -> None:
        """Ask again for as long as a service does not answer: the effect has been, and is not to be forgotten."""
        await insist(call, self._wait, lambda _error, _seconds: None)

    def _count(self, outcome: Outcome) -> None:
        result = self.result
        match outcome:
            case Outcome.HANDLED:
                result.handled += 1
            case Outcome.FILTERED:
                result.filtered += 1
            case _:
                result.dropped += 1
        self.advance()


class _Staying:
    """The dead-letter queue of a redrive: the letter is in it already, so nothing is sent (rule 30)."""

    def __init__(self, stay: Callable[[Letter, str], None]) -> None:
        self._stay = stay

    async def send(self, letters: Sequence[Letter]) -> None:
        for letter in letters:
            self._stay(letter, letter.reason)
