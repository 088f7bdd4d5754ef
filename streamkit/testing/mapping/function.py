"""A Lambda function in virtual time: a pool of containers, one invocation at a time in each."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from streamkit.testing.mapping.containers import Container, ContainerLoop
from streamkit.testing.mapping.faults import Faults
from streamkit.testing.time import SeededChance

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from streamkit.ports import Chance
    from streamkit.testing.mapping.feeds import Entry

MOST_BYTES = 6 * 1024 * 1024
"""Of an event (https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html)."""
LONGEST = timedelta(minutes=15)

Kind = Literal["answered", "failed", "timed out", "crashed", "throttled", "lost", "too large"]
Handler = Callable[[Any, Any], object]
"""A function of event and context: plain, or `async def`, or returning an awaitable."""


class Outcome(msgspec.Struct, frozen=True):
    """How an invocation ended, as its caller sees it."""

    kind: Kind
    answer: object = None
    """What came back, through JSON, if `answered`."""
    error: str = ""
    """Type and message of the exception, if `failed`."""

    @property
    def counts(self) -> bool:
        """Whether the function ran and the caller knows how it ended: only that can cost a retry."""
        return self.kind not in ("throttled", "lost", "too large")


class Context:
    """The context object of one invocation, in virtual time."""

    memory_limit_in_mb = 128
    function_version = "$LATEST"
    client_context = None
    identity = None

    def __init__(self, function: LambdaFunction, container: Container, request_id: str, deadline: float) -> None:
        self.function_name = function.name
        self.invoked_function_arn = function.arn
        self.aws_request_id = request_id
        self.log_group_name = f"/aws/lambda/{function.name}"
        self.log_stream_name = container.name
        self._deadline = deadline

    def get_remaining_time_in_millis(self) -> int:
        """Return what is left of the time-out."""
        return max(0, int((self._deadline - asyncio.get_running_loop().time()) * 1000))


class LambdaFunction:
    """A function as Lambda runs it: a cold start where no container is idle, else the one that was used last.

    `cold` is what importing the handler's module is in life: it is called once a container and returns the handler, so
    that what it makes is that container's own. A handler that keeps nothing needs no more than `LambdaFunction.of`.
    Raises `TypeError` outside of `run_mapped`.
    """

    def __init__(
        self,
        cold: Callable[[], Handler],
        *,
        name: str = "function",
        timeout: timedelta = timedelta(seconds=30),
        concurrency: int = 1000,
        faults: Faults | None = None,
        cold_start: timedelta = timedelta(milliseconds=300),
    ) -> None:
        if not timedelta() < timeout <= LONGEST:
            raise ValueError(f"timeout: expected more than 0 and at most 15 min, got {timeout}")
        self.name = name
        self.arn = f"arn:aws:lambda:us-east-1:123456789012:function:{name}"
        self.timeout = timeout
        self.concurrency = concurrency
        """Reserved concurrency: what comes beyond is throttled."""
        self.faults = faults or Faults()
        self.running = 0
        self._cold = cold
        self._cold_start = cold_start.total_seconds()
        self._loop = _running()
        self._chance = SeededChance().fork(f"function {name}")
        self._idle: list[Container] = []

    @classmethod
    def of(cls, handler: Handler, *, timeout: timedelta = timedelta(seconds=30)) -> LambdaFunction:
        """Make a function of a handler that shares nothing with its container."""
        return cls(lambda: handler, timeout=timeout)

    def __repr__(self) -> str:
        return f"<LambdaFunction {self.name}, {self.running} running, {len(self._idle)} idle>"

    async def invoke(self, event: Entry) -> Outcome:
        """Invoke and wait for the outcome. Not to be cancelled: nobody can call an invocation back."""
        payload = msgspec.json.encode(event)
        if len(payload) > MOST_BYTES:
            return Outcome("too large")
        if self.running >= self.concurrency or self._hit(self.faults.throttled):
            return Outcome("throttled")
        self.running += 1
        container = (
            self._idle.pop() if self._idle else self._loop.container(f"{self.name}-{len(self._loop.containers)}")
        )
        await self._travel()
        outcome = await self._run(container, payload)
        await self._travel()
        self.running -= 1
        ended = outcome.kind in ("answered", "failed")
        return Outcome("lost") if ended and self._hit(self.faults.lost) else outcome

    async def _run(self, container: Container, payload: bytes) -> Outcome:
        """Run to the end, or to the death of the container."""
        container.thaw()
        handler = container.handler or await self._start(container)
        if isinstance(handler, Outcome):
            return handler
        container.invocations += 1
        limit = self.timeout.total_seconds()
        context = Context(self, container, request_id(self._chance), self._loop.time() + limit)
        task = container.start(_call(handler, payload, context), name=context.aws_request_id)
        crash = self._moment() if self._hit(self.faults.crashed) else limit
        await self._ended(task, container, min(limit, crash))
        if not task.done():
            return self._cut(container, "crashed" if crash < limit or container.dead else "timed out")
        container.freeze()
        if self._hit(self.faults.recycled):
            container.kill()
        else:
            self._idle.append(container)
        return task.result()

    async def _start(self, container: Container) -> Handler | Outcome:
        """Start a container cold. Return its handler, or how the module failed: then the container is gone."""
        await asyncio.sleep(self._cold_start)
        try:
            container.handler = container.run(self._cold)
        except Exception as error:  # noqa: BLE001 - whatever importing a module raises
            container.kill()
            return Outcome("failed", error=_told(error))
        return container.handler

    async def _ended(self, task: asyncio.Task[Outcome], container: Container, limit: float) -> None:
        """Wait until the task has ended, at most so many seconds."""
        ended: asyncio.Future[None] = self._loop.create_future()

        def end(_: object) -> None:
            if not ended.done():
                ended.set_result(None)

        task.add_done_callback(end)
        container.on_exit = lambda: end(None)
        if self._hit(self.faults.stalled):
            self._loop.call_later(self._moment(), self._stall, container, task)
        timer = self._loop.call_later(limit, end, None)
        await ended
        timer.cancel()

    def _stall(self, container: Container, task: asyncio.Task[Outcome]) -> None:
        """Let a container stand still for a while, unless it has answered meanwhile."""
        if task.done():
            return
        container.suspend()
        seconds = 2 * self.timeout.total_seconds() * self._chance.fraction()
        self._loop.call_later(seconds, lambda: None if task.done() or container in self._idle else container.thaw())

    def _cut(self, container: Container, kind: Kind) -> Outcome:
        """End an invocation that did not end by itself."""
        if kind == "timed out" and self._hit(self.faults.zombies):
            container.suspend()
            self._idle.append(container)
        else:
            container.kill()
        return Outcome(kind)

    async def _travel(self) -> None:
        await asyncio.sleep(self.faults.latency.total_seconds() * self._chance.fraction())

    def _moment(self) -> float:
        return self.faults.within.total_seconds() * self._chance.fraction()

    def _hit(self, share: float) -> bool:
        return share > 0.0 and self._chance.fraction() < share


def request_id(chance: Chance) -> str:
    """Draw an id as AWS gives to requests."""
    digits = chance.token()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


async def _call(handler: Handler, payload: bytes, context: Context) -> Outcome:
    """Call the handler as Lambda's runtime does: the event parsed from JSON, the answer written as JSON."""
    try:
        answer = handler(json.loads(payload), context)
        if inspect.isawaitable(answer):
            answer = await _awaited(answer)
        return Outcome("answered", json.loads(json.dumps(answer)))
    except Exception as error:  # noqa: BLE001 - whatever a handler raises, and an answer that is no JSON
        return Outcome("failed", error=_told(error))


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


async def _awaited(answer: Awaitable[object]) -> object:
    return await answer


def _running() -> ContainerLoop:
    loop = asyncio.get_running_loop()
    if not isinstance(loop, ContainerLoop):
        raise TypeError(f"expected to run under run_mapped, got a {type(loop).__name__}")
    return loop
