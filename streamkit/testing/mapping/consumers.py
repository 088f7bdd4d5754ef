"""A consumer as its `lambda_handler` runs: one `Function` a container, opened in its first invocation and kept."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from streamkit.ports import FunctionPorts
from streamkit.runtimes.function.function import Function
from streamkit.testing.mapping.containers import current
from streamkit.testing.mapping.function import LambdaFunction
from streamkit.testing.mapping.memory import FunctionMemory, Outbox
from streamkit.testing.time import SeededChance, VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from streamkit.consumer import Consumer
    from streamkit.ports import Report
    from streamkit.runtimes.function.function import Answer
    from streamkit.testing.mapping.faults import Faults
    from streamkit.testing.mapping.function import Context, Handler
    from streamkit.testing.memory import World


def deployed(
    consumer: Consumer,
    world: World,
    *,
    timeout: timedelta = timedelta(seconds=30),
    faults: Faults | None = None,
    memory: FunctionMemory | None = None,
) -> LambdaFunction:
    """Deploy a consumer as a function over a world in memory: its queue and ledger, its clock and its report.

    `memory` is what deliveries leave behind, in life the checkpoint table; pass one to look at it, to disturb the way
    there (`memory.wire`), or to deploy again.
    """
    services = _Services(world, memory or FunctionMemory())
    return LambdaFunction(lambda: _handler(consumer, services), name=consumer.name, timeout=timeout, faults=faults)


class _Services:
    """A `FunctionWorld` in memory."""

    def __init__(self, world: World, memory: FunctionMemory) -> None:
        self.world = world
        self.memory = memory

    @asynccontextmanager
    async def function(
        self,
        consumer: Consumer,
        report: Report,  # noqa: ARG002 - the port's
    ) -> AsyncGenerator[FunctionPorts]:
        """Open memory, queue and ledger."""
        letters = Outbox(self.world.letters, self.memory.wire) if consumer.dead_letters else None
        yield FunctionPorts(memory=self.memory, dead_letters=letters, ledger=self.world.ledger)


def _handler(consumer: Consumer, services: _Services) -> Handler:
    """Return what the import of the consumer's module gives to one container."""
    container = current()
    functions: list[Function] = []

    async def handler(event: Any, context: Context) -> Answer:  # noqa: ANN401 - the runtime's
        if not functions:
            opening = Function.open(
                consumer,
                services,
                clock=VirtualClock(),
                chance=SeededChance().fork(container.name),
                report=services.world.report,
                leave=container.exit,
            )
            functions.append(await container.stack.enter_async_context(opening))
        return await functions[0].invoke(event, context)

    return handler
