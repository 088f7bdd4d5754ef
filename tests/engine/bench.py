"""A bench for the engine: one shard, records whose fate is known, one owner after the other, in virtual time.

The handlers note every run and every effect; `Bench.check` compares what a checkpoint would carry with what was
really settled. Everything else is the product's own: consumer, engine, decisions, checkpoints as bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import pairwise
from typing import Any, Literal

import msgspec
from hypothesis import settings
from hypothesis import strategies as st

from streamkit import (
    Batch,
    Consumer,
    Failed,
    Kinesis,
    Outage,
    Partial,
    Poison,
    Record,
    Retry,
    Sqs,
    Unavailable,
    consumer,
)
from streamkit.core.ledger import Tenure
from streamkit.core.positions import Position, Progress
from streamkit.core.records import Origin
from streamkit.core.settlement import Outcome, Settling, Tally
from streamkit.engine.engine import Engine, Surroundings
from streamkit.engine.handling import Threads
from streamkit.runtimes.setup import handling_of, rules_of
from streamkit.testing import (
    MemoryDeadLetters,
    MemoryLedger,
    MemorySuccesses,
    Recorder,
    SeededChance,
    VirtualClock,
    VirtualLoop,
)

Kind = Literal["record", "quick", "thread", "bisect", "naming", "partial"]
KINDS: tuple[Kind, ...] = ("record", "quick", "thread", "bisect", "naming", "partial")
SINGLE: tuple[Kind, ...] = ("record", "quick", "thread")
"""Handlers of one record; those of "record" always wait, those of "quick" only if they have to."""
TIMEOUT = timedelta(seconds=10)
LIMIT = timedelta(minutes=10)
few = settings(max_examples=settings().max_examples // 4)
"""For properties that one kind of handler after the other is asked about: a quarter of the profile's examples."""
ORIGIN = Origin("stream", "shardId-000000000000")
DAY = timedelta(days=1)
FIRST = 95
"""Sequence numbers cross from two digits to three: order by text is not order by number."""


@dataclass(frozen=True)
class Fate:
    """What a record does to its handler, the first `failures` times (-1: always), after `seconds`."""

    kind: Literal["good", "poison", "bad", "slow", "down", "corrupt"] = "good"
    failures: int = -1
    seconds: float = 0.0
    key: str = "a"

    def strikes(self, runs: int) -> bool:
        """Say whether the n-th run of the record goes wrong."""
        return self.kind != "good" and (self.failures < 0 or runs <= self.failures)

    def deadly(self, attempts: int) -> bool:
        """Say whether the record may be condemned at all."""
        lasting = self.failures < 0 or self.failures >= attempts
        return self.kind in ("poison", "corrupt") or (self.kind != "good" and lasting)


GOOD, POISON, BAD, SLOW, CORRUPT = (Fate(kind) for kind in ("good", "poison", "bad", "slow", "corrupt"))


@dataclass(frozen=True)
class Interruption:
    """How an owner ends, at a virtual second of its life. A crash leaves the checkpoint of `durable`."""

    how: Literal["stop", "cancel", "fence", "crash"]
    at: float
    durable: float = 0.0


def fates(*kinds: str, most: int = 14) -> st.SearchStrategy[list[Fate]]:
    """Records of a few keys, of these fates."""
    fate = st.builds(
        Fate,
        st.sampled_from(kinds),
        st.sampled_from([-1, -1, 1, 2]),
        st.sampled_from([0.0, 0.0, 0.5, 1.0]),
        st.sampled_from("abcd"),
    )
    return st.lists(fate, min_size=1, max_size=most)


def keyed(planted: Sequence[Fate], keys: Sequence[str]) -> list[Fate]:
    """Give the records keys in turn."""
    return [replace(fate, key=keys[index % len(keys)]) for index, fate in enumerate(planted)]


interruptions = st.builds(
    Interruption,
    st.sampled_from(["stop", "cancel", "fence", "crash"]),
    st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.3, 2.5, 4.0, 11.0, 30.0]),
    st.sampled_from([0.0, 0.5, 1.0, 3.0]),
)


@dataclass
class Bench:
    """One shard of these records, consumed by handlers of one kind."""

    fates: Sequence[Fate]
    kind: Kind = "record"
    attempts: int = 2
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    outage: bool = False
    """Whether everything fails at present."""
    late: int = 0
    """How many of the last records come one a second, not at once."""
    progress: Progress = field(default_factory=Progress)
    parked: tuple[str, ...] = ()
    epoch: int = 0
    """Owners so far."""
    runs: dict[int, int] = field(default_factory=dict[int, int])
    effects: list[int] = field(default_factory=list[int])
    settled: dict[int, Outcome] = field(default_factory=dict[int, Outcome])
    durable: set[int] = field(default_factory=set[int])
    """What the latest checkpoint covers: its records must not run again."""
    busy: set[str] = field(default_factory=set[str])
    stuck: list[float] = field(default_factory=list[float])
    """When attempts were found that would not end."""
    on_run: Callable[[Record], object] = lambda _: None
    may_start: Callable[[], bool] = lambda: True
    rejected: Callable[[Record], bool] = lambda _: False
    """The consumer's filter, the wrong way round."""
    unavailable_inside: bool = False
    """Whether a batch handler wraps an `Unavailable` into its `Partial`."""
    threads: int = 64
    """How many plain functions may run at a time."""
    observe: Callable[[float, int], None] | None = None
    """Told how long calls of the handler took."""
    tells: bool = False
    """Whether the consumer has a destination for successes."""
    skips: bool = True
    """Whether a batch handler leaves out what follows a failure under its key."""

    def __post_init__(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.loop = loop
        self.clock = VirtualClock()
        self.chance = SeededChance()
        self.letters = MemoryDeadLetters()
        self.successes = MemorySuccesses()
        self.ledger = MemoryLedger(self.clock)
        self.report = Recorder()
        self.tally = Tally()
        self.records = [self._planted(index, fate) for index, fate in enumerate(self.fates)]
        self.consumer = self._consumer()
        self.until: Callable[[], bool] = lambda: self.settling.clear or self.settling.halted is not None

    def _planted(self, index: int, fate: Fate) -> Record:
        """Four user records in turn share their sequence number, as those of an aggregate do."""
        group, subsequence = divmod(index, 4)
        return Record(
            data=str(index).encode(),
            key=fate.key,
            sequence_number=str(FIRST + group),
            origin=ORIGIN,
            arrived=self.clock.now().timestamp(),
            subsequence=subsequence,
            last=subsequence == 3 or index + 1 == len(self.fates),
            defect="corrupt aggregate" if fate.kind == "corrupt" else None,
        )

    # What one owner does

    async def live(self, interruption: Interruption | None = None, *, budget: float = 1e6) -> None:
        """One owner's life: from the durable progress on, to the end or the interruption; then compare."""
        self.settling = self._settling()
        self.epoch += 1
        began = self.loop.time()
        fence_at = interruption.at if interruption and interruption.how == "fence" else float("inf")
        self.engine = Engine(
            handling_of(self.consumer, state=None, threads=Threads(self.threads, name="bench"), stream_arn="arn"),
            self.settling,
            Surroundings(
                clock=self.clock,
                report=self.report,
                dead_letters=self.letters if self.consumer.dead_letters else None,
                ledger=self.ledger,
                successes=self.successes if self.tells else None,
                may_start=lambda: self.loop.time() - began < fence_at and self.may_start(),
                delay=lambda refusals: min(30.0, 2.0**refusals),
                on_stuck=lambda: self.stuck.append(self.loop.time()),
                observe=self.observe,
                tenure=Tenure(epoch=self.epoch),
            ),
        )
        unread = self.unread()
        self.engine.feed(unread[: len(unread) - self.late])
        async with asyncio.timeout(budget), asyncio.TaskGroup() as group:
            running = group.create_task(self.engine.run(until=self.until))
            for record in unread[len(unread) - self.late :]:
                await asyncio.sleep(1)
                self.engine.feed([record])
            if interruption is not None:
                await self._interrupt(interruption, running)
        self.check()
        if interruption is None or interruption.how != "crash":
            self.save()

    async def _interrupt(self, interruption: Interruption, running: asyncio.Task[None]) -> None:
        if interruption.how == "crash":
            await asyncio.sleep(min(interruption.durable, interruption.at))
            self.save()
            await asyncio.sleep(max(0.0, interruption.at - interruption.durable))
            running.cancel()
            return
        await asyncio.sleep(interruption.at)
        if interruption.how == "cancel":
            running.cancel()
        elif interruption.how == "stop":
            self.engine.stop()
        else:
            self.engine.feed(())

    def _settling(self) -> Settling:
        settling = Settling(
            ORIGIN.shard,
            rules_of(self.consumer, chance=self.chance, retention=DAY),
            progress=self.progress,
            parked=self.parked,
            tally=self.tally,
            report=self.report,
        )
        self.settled = dict.fromkeys(self.durable, Outcome.DUPLICATE)
        settling.listener = self._listen
        return settling

    def _listen(self, record: Record, outcome: Outcome) -> None:
        index = self.index(record)
        if index in self.durable:
            assert outcome is Outcome.DUPLICATE, f"record {index} was settled again: {outcome}"
        else:
            assert index not in self.settled, f"record {index} was settled twice"
            self.settled[index] = outcome
            if self.tells and outcome is Outcome.HANDLED:
                assert index in self.told, f"record {index} is settled and nobody was told"

    def unread(self) -> list[Record]:
        """Return what a reader would return from the frontier on; of an aggregate it reads the whole again."""
        frontier = self.progress.frontier
        return [each for each in self.records if frontier is None or each.sequence >= int(frontier.sequence_number)]

    def count_turns(self) -> Callable[[], int]:
        """Count, from now on, how often the loop turns without time going on."""
        turns = 0
        select = self.loop.select

        def counting(timeout: float | None) -> list[object]:
            nonlocal turns
            turns += 1
            assert turns < 20_000, "the loop spins"
            return select(timeout)

        self.loop.select = counting  # type: ignore[method-assign]
        return lambda: turns

    # What a checkpoint would carry

    def save(self) -> None:
        """Make the progress durable, as bytes."""
        self.progress = msgspec.msgpack.decode(msgspec.msgpack.encode(self.settling.progress()), type=Progress)
        self.parked = self.settling.parked
        self.durable = set(self.settled)

    def check(self) -> None:
        """Compare frontier, done set and unsettled records with what was really settled."""
        settled = [index in self.settled for index in range(len(self.records))]
        prefix = settled.index(False) if False in settled else len(settled)
        assert self.settling.frontier == (self.records[prefix - 1].position if prefix else None)
        progress = self.settling.progress()
        bits = int.from_bytes(progress.done, "little")
        assert [index for index in range(len(settled)) if bits >> index & 1] == [
            index - prefix for index in range(prefix, len(settled)) if settled[index]
        ]
        left = self.records[prefix] if progress.done else None
        assert progress.first == (left and Position(left.sequence_number, left.subsequence))
        assert [self.index(each) for each in self.settling.unsettled()] == [
            index for index, done in enumerate(settled) if not done
        ]
        dead = {index for index, outcome in self.settled.items() if outcome is Outcome.DEAD}
        assert dead <= {self.index(letter.record) for letter in self.letters.letters}, "passed before its letter was"

    # Handlers

    def _consumer(self) -> Consumer:
        batches = self.kind not in SINGLE
        settings: dict[str, Any] = {
            "source": Kinesis("stream"),
            "dead_letters": Sqs("dead"),
            "handler_timeout": TIMEOUT,
            "retry": Retry(attempts=self.attempts, initial=timedelta(seconds=1)),
            "outage": Outage(limit=LIMIT),
            "where": lambda record: not self.rejected(record),
            **self.settings,
        }
        decorate = consumer.batch if batches else consumer
        made: Consumer = decorate("bench", **settings)(getattr(self, f"on_{self.kind}"))
        return made

    def index(self, record: Record) -> int:
        """Return which of the records it is."""
        return int(record.data)

    def _begin(self, record: Record) -> Fate:
        """Note a run; what a checkpoint covers, or what is settled, must not run again."""
        index = self.index(record)
        assert index not in self.settled, f"record {index} runs again"
        assert record.attempt >= 1
        self.runs[index] = self.runs.get(index, 0) + 1
        self.on_run(record)
        return self.fates[index]

    def _strike(self, record: Record) -> Exception | None:
        """Return what goes wrong with this run, if anything does."""
        index = self.index(record)
        fate = self.fates[index]
        if self.outage:
            return ConnectionError("the world is down")
        if not fate.strikes(self.runs[index]):
            return None
        match fate.kind:
            case "poison":
                return Poison(f"record {index}")
            case "down":
                return Unavailable("not now", retry_after=timedelta(seconds=3))
            case _:
                return ValueError(f"record {index}")

    def _seconds(self, record: Record) -> float:
        fate = self.fates[self.index(record)]
        late = fate.kind == "slow" and fate.strikes(self.runs[self.index(record)])
        return 2 * TIMEOUT.total_seconds() if late else fate.seconds

    async def on_record(self, record: Record) -> None:
        """One record, in the loop."""
        self._enter(record)
        try:
            await asyncio.sleep(self._seconds(record))
            self._finish(record)
        finally:
            self.busy.discard(record.key)

    async def on_quick(self, record: Record) -> None:
        """One record, in the loop, which does not turn unless the record takes its time."""
        self._enter(record)
        try:
            if seconds := self._seconds(record):
                await asyncio.sleep(seconds)
            self._finish(record)
        finally:
            self.busy.discard(record.key)

    def on_thread(self, record: Record) -> None:
        """One record, in a thread."""
        self._enter(record)
        try:
            if seconds := self._seconds(record):
                self.loop.block(seconds)
            self._finish(record)
        finally:
            self.busy.discard(record.key)

    def _enter(self, record: Record) -> None:
        self._begin(record)
        assert record.key not in self.busy, "two attempts of one key overlap"
        self.busy.add(record.key)

    def _finish(self, record: Record) -> None:
        if error := self._strike(record):
            raise error
        self.effects.append(self.index(record))

    async def _run_batch(self, batch: Batch, on_error: Callable[[Record, Exception], None]) -> list[Record]:
        assert not self.busy, "two attempts of one shard overlap"
        self.busy.add("batch")
        done: list[Record] = []
        failed = set[str]()
        try:
            for record in batch:
                if record.key in failed and self.skips:
                    continue
                self._begin(record)
                await asyncio.sleep(self._seconds(record))
                if error := self._strike(record):
                    on_error(record, error)
                    failed.add(record.key)
                else:
                    done.append(record)
        finally:
            self.busy.discard("batch")
        return done

    async def on_bisect(self, batch: Batch) -> None:
        """A batch that fails without naming a culprit."""

        def give_up(_: Record, error: Exception) -> None:
            raise error

        self._affect(await self._run_batch(batch, give_up))

    async def on_naming(self, batch: Batch) -> None:
        """A batch that names its first culprit."""

        def name(record: Record, error: Exception) -> None:
            raise error if isinstance(error, Unavailable) else Failed(record, error)

        self._affect(await self._run_batch(batch, name))

    async def on_partial(self, batch: Batch) -> None:
        """A batch that knows who is who."""
        failed: dict[Record, BaseException] = {}

        def note(record: Record, error: Exception) -> None:
            if isinstance(error, Unavailable) and not self.unavailable_inside:
                raise error
            failed[record] = error

        done = await self._run_batch(batch, note)
        self._affect(done)
        if failed:
            raise Partial(done=done, failed=failed)

    def _affect(self, records: Iterable[Record]) -> None:
        self.effects += [self.index(each) for each in records]

    # What must be true at the end

    @property
    def dead(self) -> list[int]:
        """Which records have letters, in the order of sending."""
        return [self.index(letter.record) for letter in self.letters.letters]

    @property
    def told(self) -> list[int]:
        """Which records were told to be handled, in the order of sending, repeats included."""
        return [self.index(success.record) for success in self.successes.successes]

    def out_of_order(self) -> list[tuple[int, int]]:
        """Return pairs of one key whose first effects came the wrong way round, those given up on aside."""
        first = [index for index in dict.fromkeys(self.effects) if index not in self.dead]
        of_key: dict[str, list[int]] = {}
        for index in first:
            of_key.setdefault(self.fates[index].key, []).append(index)
        return [(a, b) for line in of_key.values() for a, b in pairwise(line) if a > b]
