"""Workers as processes of one virtual loop, that can be killed and frozen: real `Worker`s over the world in memory.

A killed process runs nothing any more, no `finally` either: its callbacks are set aside, as SIGKILL would. A frozen
one (SIGSTOP, a suspended VM) goes on from there when it is thawed, later than it thinks.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack

from streamkit import Checkpoint, Consumer, Kinesis, Outage, Record, Retry, Sqs, consumer
from streamkit.consumer import Settings
from streamkit.events import Event
from streamkit.runtimes.worker import Options, Worker
from streamkit.testing import VirtualClock, VirtualLoop, World

if TYPE_CHECKING:
    from streamkit.core.settlement import Tally
    from streamkit.runtimes.apart.ward import Ward

T = TypeVar("T")
Start = Literal["TRIM_HORIZON", "LATEST"] | datetime
LEASE = timedelta(seconds=10)
TICK = 1.0
TAKEOVER = 1.05 * LEASE.total_seconds() + 2 * TICK + 1.0
"""A dead worker's shards are taken within this (rule 2): suspicion, a tick to see it, a tick to act, a second."""

_process = contextvars.ContextVar[str]("process", default="")
_Callback = tuple[Callable[..., object], tuple[Any, ...], contextvars.Context]


class ProcessLoop(VirtualLoop):
    """A virtual loop whose callbacks belong to processes."""

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self._still: dict[str, list[_Callback]] = {}

    def call_soon(
        self, callback: Callable[..., object], *args: object, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """Schedule; asyncio calls it for everything that runs at once."""
        if context is None:
            context = contextvars.copy_context()
        return super().call_soon(self._guarded, callback, args, context, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: object, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """Schedule; asyncio calls it for everything that runs later."""
        if context is None:
            context = contextvars.copy_context()
        return super().call_at(when, self._guarded, callback, args, context, context=context)

    def _guarded(self, callback: Callable[..., object], args: tuple[Any, ...], context: contextvars.Context) -> None:
        aside = self._still.get(_process.get())
        if aside is None:
            callback(*args)
        else:
            aside.append((callback, args, context))

    def freeze(self, process: str) -> None:
        """Let nothing of this process run."""
        self._still.setdefault(process, [])

    def thaw(self, process: str) -> None:
        """Let it go on, from where it was."""
        for callback, args, context in self._still.pop(process, []):
            self.call_soon(callback, *args, context=context)


@dataclass
class Handled:
    """One effect of a handler."""

    record: Record
    value: int
    process: str
    at: float


@dataclass
class Process:
    """One worker process."""

    name: str
    worker: Worker
    task: asyncio.Task[Tally]
    loop: ProcessLoop

    def kill(self) -> None:
        """SIGKILL."""
        self.loop.freeze(self.name)

    def thaw(self) -> None:
        """SIGCONT, after `kill` was a SIGSTOP."""
        self.loop.thaw(self.name)

    def drain(self) -> None:
        """SIGTERM."""
        self.worker.drain("SIGTERM")


def running(cluster: Cluster) -> Process:
    """Return the process whose code this is."""
    return next(each for each in cluster.processes if each.name == _process.get())


@dataclass
class Cluster:
    """A world, and the workers that share it."""

    shards: int = 1
    latency: Callable[[], float] = float
    ward: Callable[[Consumer], Ward | None] = lambda _: None
    """Makes a process apart for suspects."""
    processes: list[Process] = field(default_factory=list[Process])
    handled: list[Handled] = field(default_factory=list[Handled])
    seen: set[int] = field(default_factory=set[int])
    """The payloads handled at all."""
    log: list[tuple[float, str, Event]] = field(default_factory=list[tuple[float, str, Event]])

    def __post_init__(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, ProcessLoop)
        self.loop = loop
        self.world = World(shards=self.shards, latency=self.latency)

    # The world's side

    def put(self, *values: int, keys: int = 5) -> None:
        """Put numbers, each under one of a few keys."""
        for value in values:
            self.world.stream.put(f"key-{value % keys}", value)

    # The workers' side

    def consumer(
        self,
        handler: Callable[[Record], Awaitable[None]] | None = None,
        *,
        start: Start = "TRIM_HORIZON",
        **settings: Unpack[Settings],
    ) -> Consumer:
        """Make a consumer that notes what it handles."""

        async def note(record: Record) -> None:
            if handler is not None:
                await handler(record)
            self.handled.append(Handled(record, record.json(), _process.get(), self.loop.time()))
            self.seen.add(self.handled[-1].value)

        defaults: Settings = {
            "checkpoint": Checkpoint(lease=LEASE),
            "retry": Retry(attempts=2, initial=timedelta(seconds=1)),
            "outage": Outage(limit=timedelta(minutes=10)),
        }
        source = Kinesis("stream", start=start)
        return consumer("cluster", source=source, dead_letters=Sqs("dead"), **defaults)(note).using(**settings)

    def start(self, made: Consumer | None = None, *, until_idle: float | None = None, grace: float = 25.0) -> Process:
        """Start a worker process."""
        name = f"process-{len(self.processes) + 1}"

        def report(event: Event) -> None:
            self.log.append((self.loop.time(), name, event))

        worker = Worker(
            [made or self.consumer()],
            self.world,
            clock=VirtualClock(),
            chance=self.world.chance.fork(name),  # type: ignore[attr-defined]
            report=report,
            options=Options(
                until_idle=None if until_idle is None else timedelta(seconds=until_idle),
                grace=timedelta(seconds=grace),
                on_stuck=lambda: None,
                ward=self.ward,
            ),
        )
        process = Process(name, worker, self.spawn(name, worker.run()), self.loop)
        self.processes.append(process)
        return process

    def spawn(self, name: str, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run it as a process of this name: one that `loop.freeze` stops."""
        context = contextvars.copy_context()
        context.run(_process.set, name)
        return self.loop.create_task(work, name=name, context=context)

    async def until(self, condition: Callable[[], bool], *, within: float = 600.0) -> float:
        """Wait for it; return the seconds it took."""
        began = self.loop.time()
        while not condition():
            assert self.loop.time() - began < within, f"expected it within {within} s"
            for process in self.processes:
                if process.task.done() and process.task.exception():
                    raise process.task.exception() or AssertionError
            await asyncio.sleep(0.1)
        return self.loop.time() - began

    async def until_handled(self, *values: int, within: float = 600.0) -> float:
        """Wait until all of these were handled."""
        wanted = set(values)
        return await self.until(lambda: wanted <= self.seen, within=within)

    async def close(self) -> None:
        """Let everything end."""
        for process in self.processes:
            process.thaw()
            process.drain()
        await asyncio.sleep(0)
        for process in self.processes:
            process.task.cancel()
        for process in self.processes:
            with suppress(asyncio.CancelledError, Exception):
                await process.task

    # What happened

    @property
    def values(self) -> list[int]:
        """The payloads handled, in the order of their effects."""
        return [each.value for each in self.handled]

    @property
    def repeated(self) -> list[int]:
        """The payloads that were handled more than once."""
        return sorted(value for value, times in Counter(self.values).items() if times > 1)

    @property
    def disorder(self) -> list[tuple[int, int]]:
        """Pairs of one key whose first effects came the wrong way round; numbers were put in their order."""
        lines: dict[str, dict[int, None]] = {}
        for each in self.handled:
            lines.setdefault(each.record.key, {})[each.value] = None
        return [pair for line in lines.values() for pair in pairwise(line) if pair[0] > pair[1]]

    def events(self, name: str, *, of: Process | None = None) -> list[Any]:
        """Return the events of this name."""
        return [event for _, process, event in self.log if event.name == name and (of is None or process == of.name)]

    def when(self, name: str, *, of: Process | None = None) -> list[float]:
        """Return when these events happened."""
        return [at for at, process, event in self.log if event.name == name and (of is None or process == of.name)]


def simulate(
    main: Callable[[Cluster], Awaitable[T]], *, seed: int = 0, shards: int = 1, latency: Callable[[], float] = float
) -> T:
    """Run `main` with a cluster of its own, in virtual time."""

    async def run() -> T:
        made = Cluster(shards, latency)
        try:
            return await main(made)
        finally:
            await made.close()

    with asyncio.Runner(loop_factory=lambda: ProcessLoop(seed=seed)) as runner:
        return runner.run(run())
