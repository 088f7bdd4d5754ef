"""The services that a function's containers share, each request over the wire."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from streamkit.errors import Undelivered, Untold
from streamkit.ports import FunctionPorts
from streamkit.testing.memory import MemoryDeliveries

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from streamkit.consumer import Consumer
    from streamkit.core.letters import Letter
    from streamkit.core.successes import Success
    from streamkit.ports import Report
    from streamkit.testing.mapping.wire import Wire
    from streamkit.testing.memory import MemoryDeadLetters, MemorySuccesses, World
    from streamkit.testing.memory.deliveries import Request

T = TypeVar("T")


class Services:
    """A `FunctionWorld` over a world in memory: its memory of deliveries, its queue, its ledger."""

    def __init__(self, world: World, wire: Wire) -> None:
        self._world = world
        self._wire = wire

    @asynccontextmanager
    async def function(self, consumer: Consumer, report: Report) -> AsyncGenerator[FunctionPorts]:
        """Open memory, queue and ledger."""
        world, wire = self._world, self._wire
        letters = Outbox(world.letters, wire) if consumer.dead_letters else None
        memory = Deliveries(world.deliveries, wire)
        yield FunctionPorts(
            memory=memory,
            halts=world.halts,
            dead_letters=letters,
            ledger=world.ledger,
            successes=Told(world.successes, wire) if consumer.on_success else None,
        )


class Deliveries(MemoryDeliveries):
    """The memory of deliveries, over the wire. Rows, conditions and outages are those of the one behind it."""

    def __init__(self, behind: MemoryDeliveries, wire: Wire) -> None:
        super().__init__()
        self.shards = behind.shards
        self.slots = behind.slots
        self.requests = behind.requests
        self._behind = behind
        self._wire = wire

    async def _asked(self, request: Request, effect: Callable[[], T]) -> T:
        def taken() -> T:
            if self._behind.outage is not None:
                raise self._behind.outage
            return effect()

        self.requests[request] += 1
        return await self._wire.ask(request, taken)


class Outbox:
    """A queue in memory, over the wire. Where the answer is lost, a letter may be sent again."""

    def __init__(self, behind: MemoryDeadLetters, wire: Wire) -> None:
        self._behind = behind
        self._wire = wire

    async def send(self, letters: Sequence[Letter]) -> None:
        """Keep the letters. Raises `Undelivered`, `Throttled`, `Unanswered`."""

        def taken() -> None:
            self._behind.requests += 1
            if self._behind.outage:
                raise Undelivered(letters, "the queue is down")
            self._behind.letters.extend(letters)

        await self._wire.ask("send", taken)


class Told:
    """A queue for successes in memory, over the wire."""

    def __init__(self, behind: MemorySuccesses, wire: Wire) -> None:
        self._behind = behind
        self._wire = wire

    async def send(self, successes: Sequence[Success]) -> None:
        """Keep them. Raises `Untold`, `Throttled`, `Unanswered`."""

        def taken() -> None:
            self._behind.requests += 1
            if self._behind.outage:
                raise Untold(successes, "the queue is down")
            self._behind.successes.extend(successes)

        await self._wire.ask("send", taken)
