"""One of each: a stream, a table, a dead-letter queue and a ledger, on one clock and one chance."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from streamkit.errors import Missing
from streamkit.ports import Ports, Rows
from streamkit.testing.kinesis import KinesisWorld
from streamkit.testing.memory.ledger import MemoryLedger
from streamkit.testing.memory.letters import MemoryDeadLetters
from streamkit.testing.memory.recorder import Recorder
from streamkit.testing.memory.stream import MemorySource, MemoryStream
from streamkit.testing.memory.table import MemoryTable
from streamkit.testing.time import SeededChance, VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from streamkit.consumer import Consumer
    from streamkit.ports import Chance, Clock, Registration, Report


class World:
    """What workers of one consumer share: a `runtimes.world.World` over a stream, a table, a queue and a ledger.

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
        self.table = MemoryTable(latency=latency)
        self.letters = MemoryDeadLetters()
        self.ledger = MemoryLedger(self.clock)
        self.report = Recorder()

    @asynccontextmanager
    async def open(self, consumer: Consumer, report: Report) -> AsyncGenerator[Ports, None]:  # noqa: ARG002 - the port's
        """Open what the consumer asks for. Raises `Missing` for any other stream than this world's."""
        wanted = consumer.source.stream
        if wanted not in {self.stream.name, self.kinesis.arn(self.stream.name)}:
            raise Missing(f"expected the stream {self.stream.name!r} of this world, got {wanted!r}")
        declared = consumer.source
        yield Ports(
            source=MemorySource(self.stream, compression=declared.compression, idle=declared.poll),
            registry=self.table,
            dead_letters=self.letters if consumer.dead_letters else None,
        )

    @asynccontextmanager
    async def rows(
        self,
        consumer: Consumer,  # noqa: ARG002 - the port's
        registration: Registration,  # noqa: ARG002 - the port's
    ) -> AsyncGenerator[Rows, None]:
        """Open the rows; a world has those of one registration."""
        yield Rows(leases=self.table, members=self.table, ledger=self.ledger)

    def __repr__(self) -> str:
        return f"<World of {self.stream!r}, {self.table!r}, {self.letters!r}>"
