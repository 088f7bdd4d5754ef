"""The worker: one process that runs consumers until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from msgspec.structs import asdict

from streamkit.core.settlement import Tally
from streamkit.errors import ConfigurationError
from streamkit.events import WorkerDraining, WorkerStopped
from streamkit.runtimes.budget import Budget
from streamkit.runtimes.crew import Crew
from streamkit.runtimes.health.meters import Meters
from streamkit.runtimes.process import Process
from streamkit.runtimes.trial import Quarters

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamkit.consumer import Consumer
    from streamkit.ports import Chance, Clock, Report
    from streamkit.runtimes.apart.ward import Ward
    from streamkit.runtimes.health.watching import Health
    from streamkit.runtimes.world import World
    from streamkit.settings import Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How one worker process runs."""

    until_idle: timedelta | None = None
    """Stop once every shard is caught up and settled for so long."""
    health: Address | None = None
    """Where to serve health and metrics, if anywhere."""
    emit_every: timedelta | None = None
    """How often to write metrics to standard output, for CloudWatch; None is never."""
    grace: timedelta = timedelta(seconds=25)
    """How long attempts may take to end after the worker was asked to stop."""
    on_stuck: Callable[[], None] = field(default=lambda: os._exit(70))
    """What ends the process when an attempt cannot be ended (EX_SOFTWARE)."""
    ward: Callable[[Consumer], Ward | None] = field(default=lambda _: None)
    """Makes a process apart for records that may have killed others, if the consumer can have one."""


class Worker:
    """Runs consumers in one process. `run` returns after a drain; `drain` may be called from a signal handler."""

    def __init__(
        self,
        consumers: Sequence[Consumer],
        world: World,
        *,
        clock: Clock,
        chance: Chance,
        report: Report,
        options: Options,
    ) -> None:
        if not consumers:
            msg = "expected at least one consumer, got none"
            raise ConfigurationError(msg)
        self._clock = clock
        self._report = report
        self._until_idle = options.until_idle
        self._stop = asyncio.Event()
        self._name = f"{socket.gethostname()}-{os.getpid()}"
        timed = options.health is not None or options.emit_every is not None
        self._meters = [Meters(consumer.name, report, timed=timed) for consumer in consumers]
        quarters = Quarters(ward=options.ward)
        budget = Budget(sum(consumer.read_ahead_bytes for consumer in consumers))

        def process(meters: Meters) -> Process:
            return Process(
                name=self._name,
                world=world,
                clock=clock,
                chance=chance,
                report=meters.note,
                budget=budget,
                meters=meters,
                stop=self._stop,
                grace=options.grace,
                on_stuck=options.on_stuck,
                quarters=quarters,
            )

        self._crews = [Crew(each, process(meters)) for each, meters in zip(consumers, self._meters, strict=True)]
        self._health = _health(options.health, self._crews, clock) if options.health else None
        self._emit_every = options.emit_every

    @property
    def tally(self) -> Tally:
        """What was done, over all consumers."""
        return sum((meters.tally for meters in self._meters), Tally())

    def drain(self, cause: str) -> None:
        """Stop: finish what is under way, checkpoint, release, leave (rule 7)."""
        if not self._stop.is_set():
            self._report(WorkerDraining(worker=self._name, cause=cause))
            self._stop.set()

    async def run(self) -> Tally:
        """Run until drained; return what was done. A consumer that cannot run ends them all, with its error."""
        async with AsyncExitStack() as stack:
            if self._health is not None:
                await stack.enter_async_context(self._health.serving(self._report, self._stop))
            if self._emit_every is not None:
                from streamkit.runtimes.health.emf import emitting

                every = self._emit_every.total_seconds()
                await stack.enter_async_context(emitting(self._crews, clock=self._clock, every=every, stop=self._stop))
            return await self._run()

    async def _run(self) -> Tally:
        try:
            async with asyncio.TaskGroup() as group:
                for crew in self._crews:
                    group.create_task(crew.run())
                if self._until_idle is not None:
                    group.create_task(self._drain_when_idle(self._until_idle.total_seconds()))
        finally:
            if any(crew.has_lived for crew in self._crews):
                self._report(WorkerStopped(worker=self._name, **asdict(self.tally)))
        return self.tally

    async def _drain_when_idle(self, seconds: float) -> None:
        while not self._stop.is_set():
            idle_since = max(crew.idle_since() for crew in self._crews)
            if self._clock.monotonic() - idle_since >= seconds:
                self.drain("idle")
            await asyncio.sleep(min(1.0, seconds / 4))


def _health(address: Address, crews: Sequence[Crew], clock: Clock) -> Health:
    from streamkit.runtimes.health.watching import Health

    return Health(address, crews, clock=clock, patience=max(crew.patience for crew in crews))
