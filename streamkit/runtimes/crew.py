"""One consumer in a worker process: opened once, then one incarnation after the other."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import datetime
from math import ceil
from typing import TYPE_CHECKING

from msgspec.structs import replace

from streamkit.core.positions import Since
from streamkit.engine.handling import Threads
from streamkit.errors import ConfigurationError
from streamkit.ports import Ports, Registration
from streamkit.runtimes.carrying import Carrying
from streamkit.runtimes.health.meters import gauges
from streamkit.runtimes.identity import same_stream
from streamkit.runtimes.incarnation import Incarnation, patience_of
from streamkit.runtimes.process import Opened, Stopping
from streamkit.runtimes.setup import handling_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamkit.consumer import Consumer
    from streamkit.core.lineage import Stream
    from streamkit.core.positions import Start
    from streamkit.metrics import Sample
    from streamkit.runtimes.process import Process

SHARDS_A_BUCKET = 500
"""Whose checkpoints, every 2 s, are a quarter of the writes that one partition gives (1,000 a second)."""
_THREADS = 512
"""The most threads for handlers that are plain functions; they start as they are needed."""


class Crew:
    """One consumer in a worker."""

    def __init__(self, consumer: Consumer, process: Process) -> None:
        self._consumer = consumer
        self._process = process
        self._incarnation: Incarnation | None = None

    @property
    def name(self) -> str:
        """Name of the consumer."""
        return self._consumer.name

    @property
    def patience(self) -> float:
        """Seconds for which the loop may stand still before it counts as stuck."""
        return patience_of(self._consumer)

    @property
    def has_lived(self) -> bool:
        """Say whether it got as far as an incarnation."""
        return self._incarnation is not None

    def stuck(self) -> str | None:
        """Say why only a new process would help, if that is so (`/livez`)."""
        return self._incarnation.stuck() if self._incarnation else None

    def unready(self) -> str | None:
        """Say why it does not do all that falls to it, if that is so (`/readyz`)."""
        if self._process.stop.is_set():
            return "it drains"
        return self._incarnation.unready() if self._incarnation else "stream, table or queue were not opened yet"

    def samples(self, now: datetime) -> Iterator[Sample]:
        """Give what is counted, and how things stand at this moment."""
        meters = self._process.meters
        yield from meters.samples()
        yield from gauges(meters.consumer, self._incarnation.runs if self._incarnation else (), now=now.timestamp())

    def idle_since(self) -> float:
        """Return since when (monotonic) there is nothing left to do; infinity while there is."""
        return self._incarnation.idle_since() if self._incarnation else float("inf")

    async def run(self) -> None:
        """Live until the process stops. Raises `ConfigurationError`."""
        process, consumer = self._process, self._consumer
        async with AsyncExitStack() as stack:
            ports = await stack.enter_async_context(process.world.open(consumer, process.report))
            if consumer.source.changes:
                ports = replace(ports, source=Carrying(ports.source))
            try:
                registration = await self._register(ports)
            except Stopping:
                return
            rows = await stack.enter_async_context(process.world.rows(consumer, registration))
            state = await stack.enter_async_context(consumer.lifespan()) if consumer.lifespan else None
            threads = Threads(min(16 * consumer.concurrency, _THREADS), name=f"streamkit-{consumer.name}")
            stack.callback(threads.close)
            handling = handling_of(consumer, state=state, threads=threads, stream_arn=registration.stream.arn)
            opened = Opened(consumer, ports, rows, registration, handling)
            while not process.stop.is_set():
                self._incarnation = Incarnation(opened, process)
                await self._incarnation.live()

    async def _register(self, ports: Ports) -> Registration:
        """Bind the table to this consumer and stream, or make sure it is bound to them (rules 10, 13, 15)."""
        consumer, stream = self._consumer, await ports.source.identify()
        found = await self._process.insist(ports.registry.recorded) or await self._first(ports, stream)
        if found.consumer != consumer.name:
            msg = (
                f"table {consumer.table}: expected the rows of consumer {consumer.name!r}, "
                f"got those of {found.consumer!r}; give each consumer a table of its own"
            )
            raise ConfigurationError(msg)
        same_stream(found.stream, stream, table=consumer.table)
        return replace(found, stream=stream)

    async def _first(self, ports: Ports, stream: Stream) -> Registration:
        """Register, with as many buckets as the stream has use for; whoever is first is it (rule 9)."""
        insist = self._process.insist
        shards = len(await insist(ports.source.shards))
        wanted = Registration(self._consumer.name, stream, self._first_start(), ceil(max(1, shards) / SHARDS_A_BUCKET))
        return await insist(lambda: ports.registry.register(wanted))

    def _first_start(self) -> Start:
        start = self._consumer.source.start
        if isinstance(start, datetime):
            return Since(start.timestamp())
        return "TRIM_HORIZON" if start == "TRIM_HORIZON" else Since(self._process.clock.now().timestamp())
