"""A fleet of workers over one stream, and what befalls it. `simulate(seed)` is one whole run."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, cast

from streamkit.consumer import Consumer, Sqs
from streamkit.core.policy import Checkpoint, Outage, Retry
from streamkit.core.records import Batch, Record
from streamkit.errors import ConfigurationError
from streamkit.runtimes.worker import Options, Worker
from streamkit.signals import Partial, Poison, Unavailable
from streamkit.testing.memory import MemoryTable
from streamkit.testing.simulation.changed import ChangedTable
from streamkit.testing.simulation.history import History
from streamkit.testing.simulation.home import HOME
from streamkit.testing.simulation.keys import event_of
from streamkit.testing.simulation.letters import OUTAGE_SECONDS
from streamkit.testing.simulation.loop import FleetLoop
from streamkit.testing.simulation.mix import Mix
from streamkit.testing.simulation.modes import READING, collect
from streamkit.testing.simulation.polled import PolledStream
from streamkit.testing.simulation.process import Clock, Process
from streamkit.testing.simulation.pushed import PushedStream
from streamkit.testing.simulation.referee import Referee
from streamkit.testing.simulation.services import ProcessWorld
from streamkit.testing.simulation.wards import SIGHT, SimulatedWard
from streamkit.testing.simulation.weather import Weather

if TYPE_CHECKING:
    from collections import Counter
    from typing import Any

    from streamkit.engine.transaction import Transaction
    from streamkit.testing.simulation.book import Entry, Run
    from streamkit.testing.simulation.home import Home
    from streamkit.testing.simulation.referee import Sight
    from streamkit.testing.simulation.site import Site

SITES: dict[str, Callable[[Mix, Clock], Site]] = {
    "polled": PolledStream,
    "pushed": PushedStream,
    "changed": ChangedTable,
}
GRACE_SECONDS = 5.0
"""How long handlers may go on after SIGTERM."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one run showed."""

    seed: int
    violation: str | None
    digest: str
    seen: Counter[str]
    history: History
    virtual_seconds: float
    drained_after: float
    repeats: int


class SinkDown(Exception):
    """What handlers meet during an outage of what they write to."""


class Fleet:
    """The processes of one run."""

    def __init__(self, mix: Mix, *, keep: int) -> None:
        self.mix = mix
        self.rng = random.Random(f"fleet {mix.seed}")
        self.loop = FleetLoop(random.Random(f"schedule {mix.seed}"))
        self.loop.thread_seconds = self._thread_seconds
        self.history = History(keep=keep)
        self.weather = Weather(mix, random.Random(f"weather {mix.seed}"), bereaved=self.bereaved, saw=self.history.saw)
        self.site = SITES[mix.source](mix, Clock(self.loop, drift=0.0, skew=0.0, boot=0.0))
        self.table = MemoryTable()
        self.referee = Referee(mix, self.loop, self.history, self.table, self.site)
        self.loop.look = self.referee.sight
        self.consumer = self._consumer()
        self.processes: dict[Home, Process] = {}
        self.wards: dict[Home, SimulatedWard] = {}
        self.workers: dict[Process, Worker] = {}
        self._started = 0
        self.quiet = False
        """Whether the trouble is over."""
        self.closed = False
        """Whether no process is started any more."""

    # -- processes

    def launch(self) -> Process:
        """Start a worker process."""
        mix, rng = self.mix, self.rng
        clock = Clock(
            self.loop,
            drift=rng.uniform(-mix.drift, mix.drift),
            skew=rng.uniform(-mix.skew, mix.skew),
            boot=rng.uniform(0.0, 100_000.0),
        )
        for fault, much in (("clock drifts", mix.drift), ("clock askew", mix.skew)):
            if much:
                self.history.saw(fault)
        self._started += 1
        process = Process(f"worker-{self._started}", self.loop, clock, self.weather, self.history)
        self.processes[process.home] = process
        self.history.note(self.loop.time(), process.name, "started")
        process.home.start(self._run(process), name=process.name)
        return process

    async def _run(self, process: Process) -> None:
        worker = Worker(
            [self.consumer],
            ProcessWorld(process, self.site, self.table, self.referee),
            clock=process.clock,
            chance=process.chance,
            report=lambda event: self.referee.event(process, event),
            options=Options(
                grace=timedelta(seconds=GRACE_SECONDS),
                on_stuck=lambda: self._stuck(process),
                ward=lambda _: SimulatedWard(self, process) if self.mix.wards else None,
            ),
        )
        self.workers[process] = worker
        try:
            await worker.run()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - any end but an orderly one is a finding
            self._fell(process, error)
        finally:
            self.workers.pop(process, None)
            if not process.home.dead:
                self.history.note(self.loop.time(), process.name, "ended")

    def _fell(self, process: Process, error: BaseException) -> None:
        """Only the end of a stream ends its workers, with an error that says so."""
        _, others = BaseExceptionGroup("", [error]).split(ConfigurationError)
        if others is not None or not self.referee.book.era:
            self.referee.violated("no worker falls", f"{process.name}: {leaves(error)}")
            return
        self.history.saw("stopped for another stream")
        self.history.note(self.loop.time(), process.name, f"stops: {leaves(error)}")

    def _stuck(self, process: Process) -> None:
        if self.mix.kind != "thread":
            self.referee.violated("what can be cancelled is never called stuck", process.name)
        process.kill("stuck")
        self.bereaved(process)

    def bereaved(self, process: Process) -> None:
        """A process died: mostly, somebody starts another."""
        self.workers.pop(process, None)
        if self.weather.happens(0.8):
            self.after(self.rng.uniform(0.0, 2 * self.mix.lease), self.relaunch)

    def relaunch(self) -> None:
        """Start another, unless the run is about to end."""
        if not self.closed:
            self.launch()

    def after(self, seconds: float, call: Callable[[], object]) -> None:
        """Call outside of all processes."""
        self.loop.call_later(seconds, call, context=self.loop.world.context)

    def some(self) -> Process | None:
        """Return one of the workers that run, if any."""
        able = [process for process in self.workers if process.alive]
        return self.rng.choice(able) if able else None

    # -- the consumer

    def _consumer(self) -> Consumer:
        mix = self.mix
        handlers: dict[str, Any] = {
            "async": self._handle,
            "thread": self._handle_in_thread,
            "batch": self._handle_batch,
            "transactional": self._handle_transactional,
            "at_most_once": self._handle,
        }
        return Consumer(
            name="simulated",
            handler=handlers[mix.kind],
            batches=mix.kind == "batch",
            mode=mix.kind if mix.kind in ("transactional", "at_most_once") else "at_least_once",
            source=self.site.declared(),
            dead_letters=Sqs("letters"),
            concurrency=mix.concurrency,
            retry=Retry(attempts=mix.attempts, maximum=timedelta(seconds=2)),
            outage=Outage(maximum=timedelta(seconds=4), limit=timedelta(seconds=OUTAGE_SECONDS)),
            checkpoint=Checkpoint(
                interval=timedelta(seconds=mix.interval),
                records=mix.checkpoint_records,
                lease=timedelta(seconds=mix.lease),
                window=mix.window,
            ),
            dedupe_key=event_of if mix.keyed else None,
            on_dead_letter=mix.on_dead_letter,
            handler_timeout=timedelta(seconds=mix.timeout),
            batch_size=mix.batch_size,
            linger=timedelta(seconds=0.1),
        )

    async def _handle(self, record: Record) -> None:
        with self._seen(record) as (process, run):
            await self._act(process, record, run)

    async def _handle_transactional(self, record: Record, *, tx: Transaction) -> None:
        with self._seen(record) as (process, run):
            await self._act(process, record, run)
            await collect(record, tx, reading=self.mix.seed in READING)

    @contextmanager
    def _seen(self, record: Record) -> Generator[tuple[Process, Run]]:
        """Let the referee see a handler from its start to its end."""
        process = self.processes[HOME.get()]
        run = self.referee.began(process, record, self.referee.handed(process, record, self._sight()))
        try:
            yield process, run
        except BaseException as error:
            self.referee.ended(process, record, run, error)
            raise
        self.referee.ended(process, record, run)

    def _sight(self) -> Sight:
        """Return what the engine started the handler upon that runs here: in a ward it begins a little later."""
        return SIGHT.get() or self.referee.sight()

    async def _act(self, process: Process, record: Record, run: Run) -> None:
        entry, weather, rng = self.referee.book.of(record), self.weather, self.weather.rng
        self.history.saw(f"handler {entry.behaviour}")
        if entry.behaviour == "killer":
            await asyncio.sleep(weather.way())
            if (ward := self.wards.get(HOME.get())) is not None:
                ward.die_of(entry)
            else:
                process.kill("by a record")
                self.bereaved(process)
            await asyncio.sleep(0)
        if weather.sink_down:
            self.history.saw("sink down")
            if self.mix.outage_signal:
                raise Unavailable("sink")
            raise SinkDown
        match entry.behaviour:
            case "poison":
                raise Poison("poison")
            case "bad":
                raise ValueError("bad")
            case "slow":
                await asyncio.sleep(rng.uniform(0.0, 0.8 * self.mix.timeout))
            case "flaky" if entry.failures < self.mix.attempts - 1:
                entry.failures += 1
                await asyncio.sleep(weather.way())
                raise ConnectionError("flaky")
            case "hanging" if entry.failures < self.mix.attempts - 1:
                entry.failures += 1
                try:
                    await asyncio.sleep(1e9)
                finally:
                    await asyncio.sleep(0)
                    await asyncio.sleep(weather.way())
            case _:
                pass
        await self._effect(process, record, run, entry)

    async def _effect(self, process: Process, record: Record, run: Run, entry: Entry) -> None:
        rates, rng = self.weather.rates, self.weather.rng
        if self.mix.kind == "transactional":
            return  # it takes place with the commit
        await process.tell("effect", lambda: self.referee.effect(process, record, run), lossy=False)
        if rates.lost_effects and entry.failures < self.mix.attempts - 1 and rng.random() < rates.lost_effects:
            entry.failures += 1
            self.history.saw("effect unheard")
            raise ConnectionError("lost")

    def _thread_seconds(self) -> float:
        """Return how long a thread takes: now and then longer than the handler may, or than anybody waits."""
        rng, mix = self.weather.rng, self.mix
        drawn = rng.random()
        if drawn < mix.bad / 200 + mix.stuck and not self.quiet:
            return mix.timeout + rng.uniform(31.0, 40.0)
        return rng.uniform(0.8, 2.0) * mix.timeout if drawn < mix.bad / 10 else rng.uniform(0.0, 0.2)

    def _handle_in_thread(self, record: Record) -> None:
        process = self.processes[HOME.get()]
        row = self.referee.handed(process, record, cast("Sight", self.loop.thread_saw))
        run = self.referee.began(process, record, row, handed=self.loop.thread_began)
        entry = self.referee.book.of(record)
        self.history.saw(f"handler {entry.behaviour}")
        error: Exception | None = None
        if self.weather.sink_down:
            error = Unavailable("sink") if self.mix.outage_signal else SinkDown()
        elif entry.behaviour == "poison":
            error = Poison("poison")
        elif entry.behaviour == "bad":
            error = ValueError("bad")
        elif entry.behaviour == "flaky" and entry.failures < self.mix.attempts - 1:
            entry.failures += 1
            error = ConnectionError("flaky")
        else:
            self.referee.effect(process, record, run)
        self.referee.ended(process, record, run, error)
        run.ended = self.loop.thread_ends
        if error is not None:
            raise error

    async def _handle_batch(self, batch: Batch) -> None:
        """Handle one by one; at a failure say who is who, or nothing. What is done counts from the end of the batch."""
        process = self.processes[HOME.get()]
        runs: list[tuple[Record, Run]] = []
        cause: BaseException | None = None
        row, handed = self.referee.handed(process, batch[0], self._sight()), self.loop.time()
        try:
            for record in batch:
                run = self.referee.began(process, record, row, handed=handed)
                try:
                    await self._act(process, record, run)
                except BaseException as error:
                    self.referee.ended(process, record, run, error)
                    named = isinstance(error, Exception) and not isinstance(error, Unavailable)
                    if named and self.weather.happens(0.5):
                        raise Partial(done=batch[: len(runs)], failed={record: error}) from error
                    cause = error
                    raise
                runs.append((record, run))
        finally:
            for record, run in runs:
                self.referee.ended(process, record, run, cause)


def leaves(error: BaseException) -> str:
    """Tell the errors inside a group."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return ", ".join(leaves(each) for each in group.exceptions)
    return repr(error)
