"""How far a replay has come, as a person sees it: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

from streamkit.cli.figures import count, span

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamkit.core.replay import Headway
    from streamkit.ports import Clock

_EVERY_SECONDS = 10.0
_LEAST = 0.002
"""Of the whole, that has to be done before an estimate means anything."""


class Progress:
    """Shows headway on standard error: with rich on a terminal, where it is installed."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._began: tuple[float, float] | None = None
        """When the first headway was told, and how far it was."""
        self._shown = float("-inf")
        self._stack = ExitStack()
        self._draw: Callable[[float, str], None] | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty() and find_spec("rich") is not None:
            self._draw = self._bar()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def show(self, headway: Headway) -> None:
        """Show it, if it is time."""
        now = self._clock.monotonic()
        self._began = self._began or (now, headway.fraction)
        text = described(headway, left=self._left(headway.fraction, now))
        if self._draw is not None:
            self._draw(headway.fraction, text)
        elif now - self._shown >= _EVERY_SECONDS:
            self._shown = now
            click.echo(f"{headway.fraction:6.1%}  {text}", err=True)

    def _left(self, fraction: float, now: float) -> float | None:
        """Return the seconds that are left at the pace so far, if anything can be said."""
        began, before = self._began or (now, fraction)
        if fraction - before < _LEAST or fraction >= 1:
            return None
        return (now - began) * (1 - fraction) / (fraction - before)

    def _bar(self) -> Callable[[float, str], None]:
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn
        from rich.progress import Progress as Bar

        bar = Bar(
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.description}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._stack.enter_context(bar)
        task = bar.add_task("", total=1.0)
        return lambda fraction, text: bar.update(task, completed=fraction, description=text)


def described(headway: Headway, *, left: float | None) -> str:
    """Return one line about it: for 80 columns."""
    parts = [f"{headway.ended}/{headway.shards} shards", f"{count(headway.settled)} records"]
    if headway.dead:
        parts.append(f"{count(headway.dead)} dead")
    if headway.standing:
        parts.append(f"{len(headway.standing)} standing still")
    if left is not None:
        parts.append(f"about {span(left)} left")
    return ", ".join(parts)
