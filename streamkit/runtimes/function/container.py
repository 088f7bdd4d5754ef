"""What a container keeps between invocations: an event loop, and consumers opened in it. Nothing of any invocation.

Each thread has its own, so two threads that invoke at once share nothing. Lambda freezes the process between
invocations: then nothing is under way in a loop, and the clients' idle connections are made anew when they broke.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from contextlib import AsyncExitStack, suppress
from contextvars import Context, copy_context
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from streamkit.clock import SystemChance, SystemClock
from streamkit.config import configure
from streamkit.runtimes.function.function import Function

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamkit.consumer import Consumer
    from streamkit.events import Event
    from streamkit.ports import Clock, Report
    from streamkit.runtimes.function.deadline import Context as LambdaContext
    from streamkit.runtimes.function.function import Answer
    from streamkit.runtimes.health.meters import Meters

_RANKS = {"debug": 0, "info": 1, "warning": 2, "error": 3}
_STUCK = 70
"""Exit status (EX_SOFTWARE)."""


def handle(consumer: Consumer, event: object, context: LambdaContext) -> Answer:
    """Invoke the consumer in this thread's container, which is made at the first invocation."""
    container: Container | None = getattr(_here, "container", None)
    if container is None:
        container = _here.container = Container()
    return container.invoke(consumer, event, context)


def close() -> None:
    """Close this thread's container, if there is one: for tests. In Lambda nothing tells a container of its end."""
    container: Container | None = _here.__dict__.pop("container", None)
    if container is not None:
        container.close()


class Container:
    """One event loop and the consumers opened in it."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._functions: dict[Consumer, Function] = {}
        self._emitters: dict[Consumer, Callable[[], None]] = {}
        self._kept = Context()
        """What lifespans set of context variables: as long-lived as they are."""

    def invoke(self, consumer: Consumer, event: object, context: LambdaContext) -> Answer:
        """Run one invocation to its end. Raises `RuntimeError` where an event loop runs already."""
        _expect_no_loop()
        function = self._functions.get(consumer)
        if function is None:
            function = self._functions[consumer] = self._runner.run(self._open(consumer), context=self._kept)
        loop = self._runner.get_loop()
        invocation = loop.create_task(function.invoke(event, context), context=self._surroundings())
        try:
            return loop.run_until_complete(invocation)  # Runner.run would hook into SIGINT, at a tenth of a millisecond
        finally:
            self._end(invocation)
            if (emit := self._emitters.get(consumer)) is not None:
                emit()

    def _end(self, invocation: asyncio.Task[Answer]) -> None:
        """Cancel what a KeyboardInterrupt or an exit left under way: it would go on inside the next invocation.

        Every task on the way up raises it out of the loop once more.
        """
        while not invocation.done():
            invocation.cancel()
            with suppress(BaseException):
                self._runner.get_loop().run_until_complete(invocation)

    def close(self) -> None:
        """Close the lifespans and the loop."""
        self._runner.run(self._stack.aclose(), context=self._kept)
        self._runner.close()

    def _surroundings(self) -> Context:
        """Return the caller's context variables, and those of lifespans: a runner would keep the first caller's."""
        context = copy_context()
        for variable, value in self._kept.items():
            if variable not in context:
                context.run(variable.set, value)
        return context

    async def _open(self, consumer: Consumer) -> Function:
        """Open a consumer as the environment wants it: its own clients, its own lifespan."""
        from streamkit.aws.function import AwsFunctionWorld

        file = os.environ.get("STREAMKIT_CONFIG")
        configured = configure([consumer], file=Path(file) if file else None, environment=os.environ)
        clock, chance = SystemClock(), SystemChance()
        opening = Function.open(
            configured.consumers[0],
            AwsFunctionWorld(clock=clock, chance=chance),
            clock=clock,
            chance=chance,
            report=reporter(configured.worker.log_level, clock=clock),
            leave=lambda: os._exit(_STUCK),
        )
        function = await self._stack.enter_async_context(opening)
        if configured.worker.metrics is not None:
            self._emitters[consumer] = _emitting(function.meters, clock)
        return function


def _expect_no_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    msg = "lambda_handler: expected a thread in which no event loop runs, got one inside a running loop"
    raise RuntimeError(msg)


def _emitting(meters: Meters, clock: Clock) -> Callable[[], None]:
    """Return what writes a line of metrics, of what was counted since the last one."""
    from streamkit.runtimes.health.emf import Emitter, to_stdout

    meters.time_handlers()
    emitter = Emitter(meters.consumer, to_stdout)
    return lambda: emitter.emit(meters.samples(), clock.now())


def reporter(level: str, *, clock: Clock) -> Report:
    """Return what writes the events of `level` and above as lines of JSON, which Lambda takes from standard output."""
    least = _RANKS[level]
    encode = msgspec.json.Encoder().encode

    def report(event: Event) -> None:
        if _RANKS[event.level] < least:
            return
        at = clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"timestamp": at, "level": event.level, "event": event.name, **msgspec.structs.asdict(event)}
        sys.stdout.write(encode(line).decode() + "\n")
        sys.stdout.flush()

    return report


_here = threading.local()
