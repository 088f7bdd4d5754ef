"""One consumer in a worker process: its incarnations, one after the other.

join with a heartbeat row --> run the shards that fall to it --> leave a tombstone
^                                   |
'----- asleep too long, or declared dead: begin anew (rules 2, 3)
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from msgspec.structs import replace

from streamkit.core.leasing import Member
from streamkit.core.positions import Since
from streamkit.core.settlement import Settling, Tally
from streamkit.engine.engine import Surroundings
from streamkit.engine.retry import FullJitter, HalfJitter
from streamkit.errors import ConfigurationError, DeclaredDead, WorldError
from streamkit.events import WorkerFenced, WorkerStarted
from streamkit.ports import Ports, Registration
from streamkit.runtimes.budget import Budget
from streamkit.runtimes.coordinator import Coordinator, Rows
from streamkit.runtimes.fence import Fence
from streamkit.runtimes.heart import Heart, start_thread
from streamkit.runtimes.lease import Lease
from streamkit.runtimes.setup import handling_of, rules_of
from streamkit.runtimes.shard import ShardRun, Terms
from streamkit.runtimes.waiting import came

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from streamkit.consumer import Consumer
    from streamkit.core.leasing import ShardRow
    from streamkit.core.positions import Start
    from streamkit.engine.engine import Handling
    from streamkit.ports import Chance, Clock, Members, Report, World

_RELEASE_SECONDS = 5.0
"""How long, after the grace period, a drained shard may take to checkpoint and release."""
_THREADS = 512
"""The most threads for handlers that are plain functions; they start as they are needed."""
_PULSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What the crews of one process share."""

    name: str
    world: World
    clock: Clock
    chance: Chance
    report: Report
    budget: Budget
    tally: Tally
    stop: asyncio.Event
    grace: timedelta
    on_stuck: Callable[[], None]


class Crew:
    """One consumer in a worker."""

    def __init__(self, consumer: Consumer, process: Process) -> None:
        self._consumer = consumer
        self._process = process
        self._lease = consumer.checkpoint.lease.total_seconds()
        self._clock = process.clock
        self._coordinator: Coordinator | None = None
        self._pulse = 0.0

    def idle_since(self) -> float:
        """Return since when (monotonic) there is nothing left to do; infinity while there is."""
        return self._coordinator.idle_since() if self._coordinator else float("inf")

    async def run(self) -> None:
        """Run incarnations until the process stops. Raises `ConfigurationError`."""
        process, consumer = self._process, self._consumer
        async with AsyncExitStack() as stack:
            ports = await stack.enter_async_context(process.world.open(consumer, process.report))
            registration = await self._register(ports)
            state = await stack.enter_async_context(consumer.lifespan()) if consumer.lifespan else None
            threads = ThreadPoolExecutor(min(16 * consumer.concurrency, _THREADS), f"streamkit-{consumer.name}")
            stack.callback(threads.shutdown, wait=False, cancel_futures=True)
            handling = handling_of(consumer, state=state, threads=threads, stream_arn=registration.stream.arn)
            while not process.stop.is_set():
                await self._live(ports, registration, handling)

    async def _register(self, ports: Ports) -> Registration:
        """Bind the table to this consumer and stream, or make sure it is bound to them (rules 10, 13, 15)."""
        consumer, stream = self._consumer, await ports.source.identify()
        wanted = Registration(consumer.name, stream, self._first_start())
        found = await ports.registry.register(wanted)
        if found.consumer != consumer.name:
            msg = (
                f"table {consumer.table}: expected the rows of consumer {consumer.name!r}, "
                f"got those of {found.consumer!r}; give each consumer a table of its own"
            )
            raise ConfigurationError(msg)
        if (found.stream.arn, found.stream.incarnation) != (stream.arn, stream.incarnation):
            msg = (
                f"table {consumer.table}: expected the rows of {stream.arn} made {stream.incarnation}, got those of "
                f"{found.stream.arn} made {found.stream.incarnation}: a different stream; name a new table for it"
            )
            raise ConfigurationError(msg)
        return replace(found, stream=stream)

    def _first_start(self) -> Start:
        start = self._consumer.source.start
        if isinstance(start, datetime):
            return Since(start.timestamp())
        return "TRIM_HORIZON" if start == "TRIM_HORIZON" else Since(self._clock.now().timestamp())

    # One incarnation

    async def _live(self, ports: Ports, registration: Registration, handling: Handling) -> None:
        process = self._process
        member = Member(
            worker=f"{process.name}-{process.chance.token()[:12]}",
            started=self._clock.now().timestamp(),
        )
        fence = Fence(lease=self._lease, clock=self._clock)
        heart = Heart(member, lease=self._lease, clock=self._clock, fence=fence, well=self._is_well)
        await ports.members.join(member)
        process.report(
            WorkerStarted(
                worker=member.worker,
                consumer=self._consumer.name,
                stream=registration.stream.name,
                table=self._consumer.table,
            )
        )
        async with self._beating(heart, ports.members):
            await self._work(ports, registration, handling, heart, fence)
        await self._leave(ports.members, heart, fence)

    async def _work(
        self, ports: Ports, registration: Registration, handling: Handling, heart: Heart, fence: Fence
    ) -> None:
        self._coordinator = coordinator = Coordinator(
            Rows(source=ports.source, leases=ports.leases, members=ports.members),
            heart,
            start=registration.start,
            lease=self._lease,
            clock=self._clock,
            chance=self._process.chance,
            report=self._process.report,
            open_run=lambda row: self._open_run(row, ports, registration, handling, fence),
        )
        grace = self._process.grace.total_seconds()
        tick = min(1.0, max(0.1, self._lease / 10))
        try:
            async with asyncio.TaskGroup() as group:
                while not self._process.stop.is_set():
                    if not fence.holds():
                        raise _Fenced
                    await coordinator.tick(group, grace=grace)
                    await came(self._process.stop, within=tick)
                for run in coordinator.runs:
                    run.drain(grace=grace)
                late = asyncio.get_running_loop().call_later(grace + _RELEASE_SECONDS, _cancel_all, coordinator.runs)
        except* _Fenced:
            self._process.report(WorkerFenced(worker=heart.member.worker))
        else:
            late.cancel()

    def _open_run(
        self, row: ShardRow, ports: Ports, registration: Registration, handling: Handling, fence: Fence
    ) -> ShardRun:
        process, consumer = self._process, self._consumer
        retention = registration.stream.retention
        settling = Settling(
            row.id,
            rules_of(consumer, chance=process.chance, retention=retention),
            progress=row.progress,
            parked=row.parked,
            tally=process.tally,
            report=process.report,
        )
        around = Surroundings(
            clock=self._clock,
            report=process.report,
            dead_letters=ports.dead_letters,
            ledger=ports.ledger,
            may_start=fence.holds,
            delay=HalfJitter(initial=_seconds(0.5), maximum=_seconds(30), chance=process.chance).after,
            on_stuck=process.on_stuck,
        )
        wait = FullJitter(initial=_seconds(0.1), maximum=_seconds(2), chance=process.chance)
        assert self._coordinator is not None  # noqa: S101 - it is the one that calls this
        return ShardRun(
            Lease(row, ports.leases, chance=process.chance, wait=wait, report=process.report),
            settling,
            Terms(
                handling=handling,
                around=around,
                checkpoint=consumer.checkpoint,
                budget=process.budget,
                retention_seconds=retention.total_seconds(),
                halt_on_gap=consumer.on_gap == "halt",
                open_reader=ports.source.reader,
                children_of=self._coordinator.children_of,
            ),
        )

    # Heartbeats

    def _is_well(self) -> bool:
        """Say whether the loop still turns: only then may the heart beat (rule 2)."""
        patience = max(self._consumer.handler_timeout.total_seconds(), self._lease)
        return self._clock.monotonic() - self._pulse < patience

    async def _feel_pulse(self) -> None:
        while True:
            self._pulse = self._clock.monotonic()
            await asyncio.sleep(_PULSE_SECONDS)

    @asynccontextmanager
    async def _beating(self, heart: Heart, members: Members) -> AsyncIterator[None]:
        """Beat in a thread of its own, or as a task where the world has no threads."""
        self._pulse = self._clock.monotonic()
        async with asyncio.TaskGroup() as group:
            pulse = group.create_task(self._feel_pulse())
            if self._process.world.threaded:
                stop_thread = start_thread(heart, lambda: self._process.world.open_members(self._consumer))
                try:
                    yield
                finally:
                    await asyncio.to_thread(stop_thread)
            else:
                stop = asyncio.Event()
                group.create_task(heart.beat(members, stop))
                try:
                    yield
                finally:
                    stop.set()
            pulse.cancel()

    async def _leave(self, members: Members, heart: Heart, fence: Fence) -> None:
        """Leave a tombstone, so that the shards are free at once (rule 7)."""
        if not fence.holds():
            return
        try:
            await members.beat(replace(heart.member, counter=heart.member.counter + 1, state="left", holds=()))
        except (DeclaredDead, WorldError):
            return


class _Fenced(Exception):
    """This incarnation is over."""


def _cancel_all(runs: Sequence[ShardRun]) -> None:
    for run in runs:
        run.give_up()


def _seconds(value: float) -> timedelta:
    return timedelta(seconds=value)
