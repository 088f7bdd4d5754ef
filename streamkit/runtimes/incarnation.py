"""One incarnation of a worker, for one consumer.

join with a heartbeat row --> run the shards that fall to it --> leave a tombstone
     ^                                   |
     '----- asleep too long, or declared dead: begin anew (rules 2, 3)
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from msgspec.structs import replace

from streamkit.core.leasing import Member
from streamkit.core.ledger import Tenure
from streamkit.core.settlement import Settling
from streamkit.engine.engine import Surroundings
from streamkit.engine.retry import FullJitter, HalfJitter
from streamkit.errors import ConfigurationError, DeclaredDead, WorldError
from streamkit.events import WorkerFenced, WorkerStarted
from streamkit.runtimes.chart import Chart
from streamkit.runtimes.coordinator import Coordinator
from streamkit.runtimes.fence import FENCE, Fence
from streamkit.runtimes.heart import Heart, start_thread
from streamkit.runtimes.lease import Lease
from streamkit.runtimes.process import Stopping
from streamkit.runtimes.setup import rules_of
from streamkit.runtimes.shard import ShardRun
from streamkit.runtimes.shard_terms import Terms
from streamkit.runtimes.trial import Means, Trial, trial_of
from streamkit.runtimes.waiting import came

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from streamkit.consumer import Consumer
    from streamkit.core.leasing import ShardRow
    from streamkit.ports import Chance
    from streamkit.runtimes.process import Opened, Process

_RELEASE_SECONDS = 5.0
"""How long, after the grace period, a drained shard may take to checkpoint and release."""
_PULSE_SECONDS = 0.5
_BEAT_SECONDS = 5.0
"""What one heartbeat's request may take, and some."""
SMALL_FLEET = 40
"""Workers that may look at each other every second; larger fleets look less often."""


class Incarnation:
    """A worker's life under one name that is never used again."""

    def __init__(self, opened: Opened, process: Process) -> None:
        self._opened = opened
        self._process = process
        self._clock = process.clock
        self._lease = opened.consumer.checkpoint.lease.total_seconds()
        self._fence = Fence(lease=self._lease, clock=self._clock)
        self._heart = Heart(
            Member(
                worker=f"{process.name}-{process.chance.token()[:12]}",
                started=self._clock.now().timestamp(),
                lease=self._lease,
            ),
            lease=self._lease,
            clock=self._clock,
            fence=self._fence,
            well=self._is_well,
        )
        self._coordinator = Coordinator(opened, self._heart, process=process, open_run=self._open_run)
        self._means = Means(
            quarters=process.quarters,
            consumer=opened.consumer,
            clock=process.clock,
            report=process.report,
        )
        self._pulse = self._clock.monotonic()
        self._joined = False

    def idle_since(self) -> float:
        """Return since when (monotonic) there is nothing left to do; infinity while there is."""
        return self._coordinator.idle_since()

    @property
    def runs(self) -> Sequence[ShardRun]:
        """The shards run at present."""
        return self._coordinator.runs

    def stuck(self) -> str | None:
        """Say why only a new process would help, if that is so (`/livez`)."""
        silent = self._clock.monotonic() - self._heart.turned
        return f"the heart has not turned for {silent:.0f} s" if silent > self._lease + _BEAT_SECONDS else None

    def unready(self) -> str | None:
        """Say why it does not do all that falls to it, if that is so (`/readyz`)."""
        if not self._joined:
            return "it has not joined the table's workers"
        if self._fence.left < FENCE * self._lease / 2:
            return "the table has not confirmed a heartbeat for half a lease"
        return self._coordinator.unready()

    async def live(self) -> None:
        """Join, work until the process stops or the fence is down, and leave."""
        try:
            await self._join()
        except (DeclaredDead, Stopping):  # the answers came so late that others gave it up: the next incarnation tries
            return
        async with self._beating():
            await self._work()
        await self._leave()

    async def _join(self) -> None:
        opened, process = self._opened, self._process
        await process.insist(lambda: opened.rows.members.join(self._heart.member))
        self._joined = True
        process.report(
            WorkerStarted(
                worker=self._heart.member.worker,
                consumer=opened.consumer.name,
                stream=opened.registration.stream.name,
                table=opened.consumer.table,
            )
        )

    async def _work(self) -> None:
        stop, coordinator = self._process.stop, self._coordinator
        grace = self._process.grace.total_seconds()
        try:
            async with asyncio.TaskGroup() as group:
                while not stop.is_set():
                    self._look_at_fence()
                    await coordinator.tick(group)
                    await came(
                        stop, within=tick_seconds(coordinator.fleet, lease=self._lease, chance=self._process.chance)
                    )
                for run in coordinator.runs:
                    run.drain(grace=grace)
                late = asyncio.get_running_loop().call_later(grace + _RELEASE_SECONDS, _give_up, coordinator.runs)
        except* _Fenced:
            if isinstance(self._heart.failure, ConfigurationError):
                raise self._heart.failure from None
        else:
            late.cancel()

    def _look_at_fence(self) -> None:
        if not self._fence.holds():
            self._process.report(WorkerFenced(worker=self._heart.member.worker))
            _give_up(self._coordinator.runs)  # a process for suspects heeds no cancellation
            raise _Fenced

    async def _leave(self) -> None:
        """Leave a tombstone, so that the shards are free at once (rule 7)."""
        if not self._fence.holds():
            return
        member = self._heart.member
        try:
            await self._opened.rows.members.beat(replace(member.beaten(()), state="left"))
        except (DeclaredDead, WorldError):
            return

    # Heartbeats

    def _is_well(self) -> bool:
        """Say whether the loop still turns: only then may the heart beat (rule 2)."""
        return self._clock.monotonic() - self._pulse < patience_of(self._opened.consumer)

    async def _feel_pulse(self) -> None:
        while True:
            self._pulse = self._clock.monotonic()
            await asyncio.sleep(_PULSE_SECONDS)

    @asynccontextmanager
    async def _beating(self) -> AsyncGenerator[None]:
        """Beat in a thread of its own, or as a task where the world has no threads."""
        opened, world = self._opened, self._process.world
        async with asyncio.TaskGroup() as group:
            pulse = group.create_task(self._feel_pulse())
            if world.threaded:
                stop_thread = start_thread(self._heart, lambda: world.rows(opened.consumer, opened.registration))
                try:
                    yield
                finally:
                    await asyncio.to_thread(stop_thread)
            else:
                stop = asyncio.Event()
                group.create_task(self._heart.beat(opened.rows.members, stop))
                try:
                    yield
                finally:
                    stop.set()
            pulse.cancel()

    # Shards

    def _open_run(self, row: ShardRow) -> ShardRun:
        """Make the run of a shard just taken."""
        opened, process = self._opened, self._process
        consumer, retention = opened.consumer, opened.registration.stream.retention
        chart = Chart(row.vitals, clock=self._clock, report=process.report)
        settling = Settling(
            row.id,
            rules_of(consumer, chance=process.chance, retention=retention),
            progress=row.progress,
            parked=row.parked,
            tally=process.meters.tally,
            report=chart.note,
        )
        if row.marked is not None and consumer.mode == "at_most_once":
            settling.interrupted(row.marked)
        wait = FullJitter(initial=timedelta(seconds=0.1), maximum=timedelta(seconds=2), chance=process.chance)
        return ShardRun(
            Lease(row, opened.rows.leases, chance=process.chance, wait=wait, report=process.report),
            settling,
            Terms(
                handling=opened.handling,
                around=self._surroundings(Tenure(opened.registration.space, row.epoch)),
                checkpoint=consumer.checkpoint,
                budget=process.budget,
                tally=process.meters.tally,
                retention_seconds=retention.total_seconds(),
                halt_on_gap=consumer.on_gap == "halt",
                kpl_only=consumer.source.kpl_only,
                open_reader=opened.ports.source.reader,
                children_of=self._coordinator.children_of,
                tables=opened.rows.tables,
                wave=_wave(consumer),
                trial=self._trial(row, settling),
                is_trimmed=self._coordinator.is_trimmed,
            ),
            chart,
        )

    def _trial(self, row: ShardRow, settling: Settling) -> Trial | None:
        """Return how suspects are tried, if there are any; what is handled at most once is no danger to a successor."""
        consumer = self._opened.consumer
        if consumer.mode == "at_most_once":
            return None
        return trial_of(row, settling, consumer.checkpoint, self._means)

    def _surroundings(self, tenure: Tenure) -> Surroundings:
        opened, process = self._opened, self._process
        wait = HalfJitter(initial=timedelta(seconds=0.5), maximum=timedelta(seconds=30), chance=process.chance)
        return Surroundings(
            clock=self._clock,
            report=process.report,
            dead_letters=opened.ports.dead_letters,
            ledger=opened.rows.ledger,
            tenure=tenure,
            successes=opened.ports.successes,
            may_start=self._fence.holds,
            until=self._fence.until,
            delay=wait.after,
            on_stuck=process.on_stuck,
            observe=process.meters.handler.note if process.meters.handler else None,
        )


def _wave(consumer: Consumer) -> int | None:
    """Return how many records are marked and not settled at most, where nothing is to be handled twice."""
    if consumer.mode != "at_most_once":
        return None
    return min(consumer.checkpoint.window, 2 * (consumer.batch_size if consumer.batches else consumer.concurrency))


def patience_of(consumer: Consumer) -> float:
    """Return for how many seconds the loop may stand still before it counts as stuck (rule 2)."""
    return max(consumer.handler_timeout.total_seconds(), consumer.checkpoint.lease.total_seconds())


def tick_seconds(workers: int, *, lease: float, chance: Chance) -> float:
    """Return the pause until the next look, of a fleet of so many workers.

    Everybody reads everybody's row at each look. So a large fleet looks less often, up to four times a lease: that is
    what a fail-over may take longer. And not in step, which nobody who once started together would get out of.
    """
    least = min(1.0, max(0.1, lease / 10))
    return min(lease / 4, least * max(1.0, workers / SMALL_FLEET)) * (0.8 + 0.2 * chance.fraction())


class _Fenced(Exception):
    """This incarnation is over."""


def _give_up(runs: Sequence[ShardRun]) -> None:
    for run in runs:
        run.give_up()
