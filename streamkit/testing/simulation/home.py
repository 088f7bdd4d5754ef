"""A simulated process, as the loop sees it: what it has to run, and whether it may."""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, TypeVar

from streamkit.testing.time import NumberedTask

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from streamkit.testing.simulation.loop import FleetLoop

T = TypeVar("T")

_PRUNE = 512
"""Tasks of a process after which those that are done are forgotten."""


class Home:
    """What one simulated process has to run."""

    def __init__(self, name: str, loop: FleetLoop) -> None:
        self.name = name
        self.loop = loop
        self.queue: deque[asyncio.Handle] = deque()
        self.tasks: list[asyncio.Task[Any]] = []
        self.running = True
        self.dead = False
        self.listed = False
        """Whether the loop has it among those that can run."""
        self.context = copy_context()
        self.context.run(HOME.set, self)

    def start(self, coroutine: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Start a task of this process."""
        task = NumberedTask(
            coroutine,
            number=self.loop.number(),
            loop=self.loop,
            name=name,
            context=self.context.run(copy_context),
        )
        self.keep(task)
        return task

    def keep(self, task: asyncio.Task[Any]) -> None:
        """Remember a task, so that death does not let the garbage collector close it."""
        if len(self.tasks) >= _PRUNE:
            self.tasks = [each for each in self.tasks if not each.done()]
        self.tasks.append(task)

    def stop(self) -> None:
        """Run nothing from now on."""
        if self.loop.over:
            return
        self.running = False
        self.loop.rest(self)

    def resume(self) -> None:
        """Run on, with everything that came due meanwhile."""
        if not self.running and not self.dead:
            self.running = True
            self.loop.wake(self)

    def kill(self) -> None:
        """Run nothing ever again."""
        if self.loop.over:
            return
        self.dead = True
        self.stop()

    def __repr__(self) -> str:
        state = "dead" if self.dead else "running" if self.running else "stopped"
        return f"<{self.name}, {state}>"


HOME: ContextVar[Home] = ContextVar("HOME")
