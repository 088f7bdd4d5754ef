"""One of each: a stream, a table, a dead-letter queue and a ledger, on one clock and one chance."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from streamkit.testing.kinesis import KinesisWorld
from streamkit.testing.memory.ledger import MemoryLedger
from streamkit.testing.memory.letters import MemoryDeadLetters
from streamkit.testing.memory.recorder import Recorder
from streamkit.testing.memory.stream import MemorySource, MemoryStream
from streamkit.testing.memory.table import MemoryTable
from streamkit.testing.time import SeededChance, VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamkit.ports import Chance, Clock


class World:
    """What workers of one consumer share. Clock and chance are by default those of the running virtual loop.

    Ports: `source`, `table` (registry, leases and members), `letters`, `ledger`, `clock`, `chance`, `report`.
    """

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

    def __repr__(self) -> str:
        return f"<World of {self.stream!r}, {self.table!r}, {self.letters!r}>"
