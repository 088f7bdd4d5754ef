"""`streamkit top`, running: looks at the rows every few seconds, and listens to the keyboard."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import termios
import tty
from contextlib import contextmanager
from typing import TYPE_CHECKING

from msgspec.structs import replace
from rich.console import Console
from rich.live import Live

from streamkit.cli.status import reported
from streamkit.cli.top.course import SORTS, Course, in_order
from streamkit.cli.top.screen import Looking, screen
from streamkit.core.overview import Observer
from streamkit.errors import Throttled, Unanswered

if TYPE_CHECKING:
    from collections.abc import Generator

    from streamkit.aws.desk import Desk, Subject
    from streamkit.cli.status import Report
    from streamkit.events import Event

_PATIENCE = 0.5
"""Of a lease: twice as long as a worker takes from one beat to the next."""
_KEYS = {"\x1b[A": "up", "\x1b[B": "down", "k": "up", "j": "down", "\r": "enter", "\n": "enter", "s": "sort"}
_KEY = re.compile(r"\x1b\[.|.", re.DOTALL)
_QUIT = frozenset({"q", "\x03", "\x04"})


class Top:
    """What is shown, and how."""

    def __init__(self, *, sort: str) -> None:
        self.looking = Looking(sort=sort)
        self.left = asyncio.Event()
        self.changed = asyncio.Event()
        self.trouble: str | None = None
        self.report: Report | None = None
        self.course = Course()
        self._observer = Observer()

    async def look(self, at: Desk) -> None:
        """Look once. A table that does not answer is said so, and looked at again."""
        try:
            look = await at.look()
        except (Throttled, Unanswered) as error:
            self.trouble = type(error).__name__
        else:
            self.trouble = None
            self._observer.note(look)
            self.report = reported(at, self._observer.overview(look, patience=_PATIENCE * self._observer.lease(look)))
            self.course.note(self.report.overview)
        self.changed.set()

    def press(self, typed: str) -> None:
        """Heed keys, as many as were typed since the last time."""
        for key in _KEY.findall(typed.replace("\x1bO", "\x1b[")):
            if key in _QUIT:
                self.left.set()
            elif key in _KEYS:
                self.looking = pressed(self.looking, _KEYS[key], lines=self._lines())
        self.changed.set()

    def _lines(self) -> int:
        return len(in_order(self.report.overview.shards, "shard")) if self.report else 0


def pressed(looking: Looking, key: str, *, lines: int) -> Looking:
    """Return how a person looks at it after a key."""
    match key:
        case "up":
            return replace(looking, at=max(0, looking.at - 1))
        case "down":
            return replace(looking, at=max(0, min(lines - 1, looking.at + 1)))
        case "sort":
            return replace(looking, sort=SORTS[(SORTS.index(looking.sort) + 1) % len(SORTS)], at=0)
        case _:
            return replace(looking, detail=not looking.detail)


async def watch(subject: Subject, *, every: float, sort: str) -> None:
    """Show it until a person leaves."""
    from streamkit.aws.desk import desk
    from streamkit.clock import SystemChance, SystemClock

    def ignore(_: Event) -> None:
        """The screen is full."""

    top, console = Top(sort=sort), Console(no_color=bool(os.environ.get("NO_COLOR")) or None)
    async with desk(subject, clock=SystemClock(), chance=SystemChance(), report=ignore) as at:
        await top.look(at)
        with _keyboard(top), Live(console=console, screen=True, auto_refresh=False) as live:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(_looks(top, at, every)), group.create_task(_draws(top, live))]
                await top.left.wait()
                for task in tasks:
                    task.cancel()


async def _looks(top: Top, at: Desk, every: float) -> None:
    while True:
        await asyncio.sleep(every)
        await top.look(at)


async def _draws(top: Top, live: Live) -> None:
    while True:
        top.changed.clear()
        if top.report is not None:
            height = live.console.size.height
            live.update(screen(top.report, top.course, top.looking, height=height, trouble=top.trouble), refresh=True)
        await top.changed.wait()


@contextmanager
def _keyboard(top: Top) -> Generator[None]:
    """Hear single keys while it is open."""
    if not sys.stdin.isatty():
        yield
        return
    number, loop = sys.stdin.fileno(), asyncio.get_running_loop()
    before = termios.tcgetattr(number)
    tty.setcbreak(number)
    loop.add_reader(number, lambda: top.press(os.read(number, 16).decode(errors="replace")))
    try:
        yield
    finally:
        loop.remove_reader(number)
        termios.tcsetattr(number, termios.TCSADRAIN, before)
