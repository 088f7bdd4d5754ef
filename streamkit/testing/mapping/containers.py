"""Containers of a function: processes of one virtual loop that are frozen between invocations, thawed, and killed.

    cold start --> running --answer--> frozen --next invocation--> running
                      |                   |
                      '--- time-out, crash, recycled --> dead

What a container's tasks have to do while it is frozen waits for the thaw, timers that came due included; that is how
work which outlives its invocation runs on inside of a later one. A dead container runs nothing ever again, not even
its `finally`.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from streamkit.testing.time import START, VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from datetime import datetime

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_FUNERAL_SECONDS = 3600.0
_HOME: ContextVar[Container | None] = ContextVar("_HOME", default=None)


class Container:
    """One container. Its module state is whatever `handler` closes over."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.handler: Callable[[Any, Any], object] | None = None
        """What its cold start gave."""
        self.dead = False
        self.frozen = False
        self._buried = False
        self.invocations = 0
        self.suspensions = 0
        """How often it stood still in the middle of an invocation."""
        self.stack = AsyncExitStack()
        """What lives as long as the process; closed when the world is over, for nobody would want the warnings."""
        self.on_exit: Callable[[], object] = int
        """Told when the process ended itself."""
        self._held: list[asyncio.Handle] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self._context = copy_context()
        self._context.run(_HOME.set, self)

    def __repr__(self) -> str:
        state = "dead" if self.dead else "frozen" if self.frozen else "running"
        return f"<Container {self.name}, {state}, {self.invocations} invocations>"

    def start(self, coroutine: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Start a task that lives and dies with this container."""
        loop = asyncio.get_running_loop()
        task = loop.create_task(coroutine, name=name, context=self._context.copy())
        self._tasks = [each for each in self._tasks if not each.done()]
        self._tasks.append(task)  # a dead container's tasks are not for the garbage collector to close
        return task

    def run(self, call: Callable[[], T]) -> T:
        """Call something as this container."""
        return self._context.copy().run(call)

    def freeze(self) -> None:
        """Run nothing until the thaw."""
        self.frozen = True

    def thaw(self) -> None:
        """Go on from where it was, a later moment notwithstanding."""
        self.frozen = False
        if not self.dead:
            self._release()

    def kill(self) -> None:
        """Run nothing ever again."""
        self.dead = not self._buried

    def suspend(self) -> None:
        """Freeze in the middle of an invocation."""
        self.suspensions += 1
        self.freeze()

    def exit(self) -> None:
        """End the process from the inside, as `os._exit` does."""
        self.kill()
        self.on_exit()

    async def bury(self) -> None:
        """Let what is left of it end, once the world it lived in is over."""
        self._buried = True
        self.dead = self.frozen = False
        self._release()
        for task in self._tasks:
            task.cancel()
        async with asyncio.timeout(_FUNERAL_SECONDS):
            for task in self._tasks:
                with suppress(Exception, asyncio.CancelledError):
                    await task
        await self.stack.aclose()

    def holds(self, handle: asyncio.Handle) -> bool:
        """Keep a callback that may not run now; return whether it was kept."""
        if self.dead or self.frozen:
            self._held.append(handle)
        return self.dead or self.frozen

    def _release(self) -> None:
        held, self._held = self._held, []
        for handle in held:
            if not handle.cancelled():
                handle._loop._add_callback(handle)  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio's own queue


def home() -> Container | None:
    """Return the container that is running; None outside of any."""
    return _HOME.get()


def current() -> Container:
    """Return the container that is running. Raises `RuntimeError` outside of any."""
    container = _HOME.get()
    if container is None:
        raise RuntimeError("expected to run in a container, got none")
    return container


class ContainerLoop(VirtualLoop):
    """A virtual loop whose callbacks belong to containers, or to the world around them."""

    def __init__(self, *, seed: int = 0, start: datetime = START) -> None:
        super().__init__(seed=seed, start=start)
        self.containers: list[Container] = []

    def container(self, name: str) -> Container:
        """Make a container."""
        made = Container(name)
        self.containers.append(made)
        return made

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Schedule; asyncio calls it for everything that runs at once."""
        context = copy_context() if context is None else context  # an empty context is false
        home = context.get(_HOME)
        if home is None:
            return super().call_soon(callback, *args, context=context)
        guarded = _Guarded(home, callback, args)
        guarded.handle = super().call_soon(guarded, context=context)
        return guarded.handle

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Schedule; asyncio calls it for everything that runs later."""
        context = copy_context() if context is None else context  # an empty context is false
        home = context.get(_HOME)
        if home is None:
            return super().call_at(when, callback, *args, context=context)
        guarded = _Guarded(home, callback, args)
        guarded.handle = handle = super().call_at(when, guarded, context=context)
        return handle


class _Guarded:
    """A callback of a container."""

    __slots__ = ("_args", "_callback", "_home", "handle")

    def __init__(self, home: Container, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._home = home
        self._callback = callback
        self._args = args
        self.handle: asyncio.Handle

    def __call__(self) -> None:
        if not self._home.holds(self.handle):
            self._callback(*self._args)

    def __repr__(self) -> str:
        return f"{self._callback!r} of {self._home!r}"


def run_mapped(main: Callable[[], Coroutine[Any, Any, T]], *, seed: int = 0, start: datetime = START) -> T:
    """Run `main` to its end in virtual time, as `run_virtual` does, on a loop that has containers.

    Raises its errors, `Deadlock`.
    """
    loop = ContainerLoop(seed=seed, start=start)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(_called(main, loop))


async def _called(main: Callable[[], Coroutine[Any, Any, T]], loop: ContainerLoop) -> T:
    """Call `main` where there is a running loop, so that it may make clocks before its first await."""
    try:
        return await main()
    finally:
        for container in loop.containers:
            await container.bury()
