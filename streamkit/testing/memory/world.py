"""One of each: a stream, a table, a dead-letter queue and a ledger, on one clock and one chance."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from msgspec.structs import replace

from streamkit.aws.change_source import ChangeSettings, ChangeSource
from streamkit.aws.kinesis import KinesisSource
from streamkit.consumer import DynamoDBStream
from streamkit.errors import Missing
from streamkit.ports import FunctionPorts, Ports, Rows
from streamkit.testing.dynamodb_streams import ChangeStreams, ChangingTable
from streamkit.testing.dynamodb_streams.service import calls
from streamkit.testing.kinesis import KinesisWorld
from streamkit.testing.kinesis.service import call_of
from streamkit.testing.memory.deliveries import MemoryDeliveries
from streamkit.testing.memory.halts import MemoryHalts
from streamkit.testing.memory.ledger import MemoryLedger
from streamkit.testing.memory.letters import MemoryDeadLetters, MemorySuccesses
from streamkit.testing.memory.recorder import Recorder
from streamkit.testing.memory.stream import MemorySource, MemoryStream
from streamkit.testing.memory.table import MemoryTable
from streamkit.testing.time import SeededChance, VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from streamkit.consumer import Consumer, Kinesis
    from streamkit.ports import Chance, Clock, Registration, Report, Source


class World:
    """What workers of one consumer share: a `runtimes.world.World` over a stream, a table, a queue and a ledger.

    A consumer of a `DynamoDBStream` reads `changing`, a table of its own, by the adapter that reads AWS too; so does
    one that has records pushed (`Kinesis(..., fan_out=True)`).

    Clock and chance are by default those of the running virtual loop. `report` is a `Recorder` for whoever wants
    one; workers are given theirs.
    """

    threaded = False
    """Heartbeats are tasks: virtual time has one loop."""

    def __init__(
        self,
        *,
        name: str = "stream",
        shards: int = 1,
        clock: Clock | None = None,
        chance: Chance | None = None,
        latency: Callable[[], float] = float,
    ) -> None:
        self.clock: Clock = clock or VirtualClock()
        self.chance: Chance = chance or SeededChance()
        self.kinesis = KinesisWorld(
            clock=lambda: self.clock.now().timestamp(),
            chance=random.Random(self.chance.token()),
        )
        self.stream = MemoryStream(self.kinesis, self.clock, name=name, shards=shards)
        self.source = MemorySource(self.stream)
        self._shards = shards
        self.table = MemoryTable(latency=latency)
        self.replays: dict[str, MemoryTable] = {}
        """The rows of replays, by their space."""
        self.letters = MemoryDeadLetters()
        self.successes = MemorySuccesses()
        self.ledger = MemoryLedger(self.clock)
        self.deliveries = MemoryDeliveries(latency=latency)
        self.halts = MemoryHalts()
        self.report = Recorder()

    @cached_property
    def changing(self) -> ChangingTable:
        """A table of the stream's name, made with its own stream when it is first asked for."""
        chance = random.Random(self.chance.token())
        streams = ChangeStreams(clock=lambda: self.clock.now().timestamp(), chance=chance)
        return ChangingTable(streams, self.clock, name=self.stream.name, shards=self._shards)

    @asynccontextmanager
    async def open(self, consumer: Consumer, report: Report) -> AsyncGenerator[Ports, None]:
        """Open what the consumer asks for. Raises `Missing` for any other stream or table than this world's."""
        declared = consumer.source
        own = {self.stream.name, self.kinesis.arn(self.stream.name)}
        if isinstance(declared, DynamoDBStream):
            own = {self.changing.name, self.changing.arn}
        if declared.stream not in own:
            raise Missing(f"expected the stream {self.stream.name!r} of this world, got {declared.stream!r}")
        yield Ports(
            source=self._source(consumer, report),
            registry=self.table,
            dead_letters=self.letters if consumer.dead_letters else None,
            successes=self.successes if consumer.on_success else None,
        )

    def _source(self, consumer: Consumer, report: Report) -> Source:
        declared = consumer.source
        if isinstance(declared, DynamoDBStream):
            return self._changes(declared, report)
        if declared.fan_out:
            return self._pushed(declared, consumer.name, report)
        return MemorySource(self.stream, compression=declared.compression, idle=declared.poll)

    def _pushed(self, declared: Kinesis, consumer: str, report: Report) -> KinesisSource:
        return KinesisSource(
            call_of(self.kinesis, now=lambda: self.clock.now().timestamp()),
            stream=declared.stream,
            clock=self.clock,
            chance=self.chance,
            report=report,
            compression=declared.compression,
            fan_out=declared.pushed_as(consumer),
        )

    def _changes(self, declared: DynamoDBStream, report: Report) -> ChangeSource:
        dynamodb, streams = calls(self.changing)
        settings = ChangeSettings()
        idle = declared.poll.total_seconds()
        return ChangeSource(
            dynamodb,
            streams,
            table=declared.table,
            clock=self.clock,
            chance=self.chance,
            report=report,
            settings=replace(settings, pacing=replace(settings.pacing, idle_seconds=idle, idle_limit_seconds=2 * idle)),
        )

    @asynccontextmanager
    async def rows(self, consumer: Consumer, registration: Registration) -> AsyncGenerator[Rows, None]:
        """Open the rows; a world has those of one registration, and of its replays. All write the same items."""
        replay = registration.replay
        table = self.table if replay is None else self.replays.setdefault(replay.space, MemoryTable())
        table.items = self.table.items
        yield Rows(leases=table, members=table, ledger=self.ledger, tables=table)

    @asynccontextmanager
    async def function(self, consumer: Consumer, report: Report) -> AsyncGenerator[FunctionPorts, None]:
        """Open what a function asks for (`runtimes.function.function.FunctionWorld`)."""
        yield FunctionPorts(
            memory=self.deliveries,
            halts=self.halts,
            dead_letters=self.letters if consumer.dead_letters else None,
            ledger=self.ledger,
            successes=self.successes if consumer.on_success else None,
        )

    def __repr__(self) -> str:
        return f"<World of {self.stream!r}, {self.table!r}, {self.letters!r}>"
