"""A consumer as its `lambda_handler` runs: one `Function` a container, opened in its first invocation and kept."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from streamkit.runtimes.function.function import Function
from streamkit.testing.mapping.containers import current
from streamkit.testing.mapping.function import LambdaFunction
from streamkit.testing.mapping.services import Services
from streamkit.testing.mapping.wire import Wire
from streamkit.testing.time import SeededChance, VirtualClock

if TYPE_CHECKING:
    from streamkit.consumer import Consumer
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
    wire: Wire | None = None,
) -> LambdaFunction:
    """Deploy a consumer as a function over a world in memory: its memory of deliveries, its queue, its ledger.

    `wire` carries its requests to them, in whatever weather. Its events go to the world's report.
    """
    services = Services(world, wire or Wire())
    return LambdaFunction(
        lambda: _handler(consumer, world, services), name=consumer.name, timeout=timeout, faults=faults
    )


def _handler(consumer: Consumer, world: World, services: Services) -> Handler:
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
                report=world.report,
                leave=container.exit,
            )
            functions.append(await container.stack.enter_async_context(opening))
        return await functions[0].invoke(event, context)

    return handler
