"""What the demo looks like. Without a terminal, plain lines now and then."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.box import Box
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from streamkit.cli.demo.verdict import Check, Total, Verdict

_LABEL = 13
_BOX = Box("    \n    \n ── \n    \n ── \n ── \n    \n    \n")
"""Lines under the heads and between sections, nothing else."""
_MARKS = {True: Text("✓", style="bold green"), False: Text("✗", style="bold red")}
_QUARTERS = 4

Advance = Callable[[int], None]


class Screen:
    """The demo's voice."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=False)

    def title(self, text: str) -> None:
        """Say what this is."""
        self._console.print(f"\n  [bold]{text}[/]\n")

    def note(self, label: str, text: str, *, style: str = "") -> None:
        """Say one thing that happened."""
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(width=_LABEL, style="cyan", no_wrap=True)
        grid.add_column(style=style, overflow="fold")
        grid.add_row(label, text)
        self._console.print(Padding(grid, (0, 0, 0, 2), expand=False))

    @contextmanager
    def progress(self, label: str, total: int, *, aloud: bool = False) -> Generator[Advance]:
        """Show how far something is, out of `total`; the bar goes when it is done.

        Without a terminal, only what is `aloud` is told of, quarter by quarter.
        """
        if not self._console.is_terminal:
            yield self._quarters(label, total) if aloud else lambda _: None
            return
        bar = Progress(
            TextColumn(f"  [cyan]{label:<{_LABEL}}[/] "),
            BarColumn(bar_width=None, complete_style="green", finished_style="green"),
            TaskProgressColumn(f"{{task.completed:>6,.0f}} of {total:,}"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            expand=True,
            refresh_per_second=5,
        )
        with bar:
            task = bar.add_task(label, total=total)
            yield lambda done: bar.update(task, completed=done)

    def _quarters(self, label: str, total: int) -> Advance:
        told = 0

        def advance(done: int) -> None:
            nonlocal told
            if done * _QUARTERS // total > told:
                told = done * _QUARTERS // total
                self.note(label, f"{done:,} of {total:,}")

        return advance

    def verdict(self, verdict: Verdict) -> None:
        """Show everything that was found."""
        self.blank()
        for table in (_carriers(verdict.carriers), _letters(verdict.reasons), _checks(verdict.checks)):
            self._console.print(Padding(table, (0, 0, 0, 1), expand=False))

    def objections(self, verdict: Verdict) -> None:
        """Say what does not add up."""
        for check in verdict.checks:
            if not check.holds:
                self.note("does not hold", f"{check.claim}: {check.objection()}", style="red")

    def blank(self) -> None:
        """Leave a line empty."""
        self._console.print()

    def last(self, verdict: Verdict) -> None:
        """Say the last line: plain, whole, and nothing after it."""
        style = "bold green" if verdict.holds else "bold red"
        self._console.print(Text(verdict.sentence, style=style), soft_wrap=True)


def _carriers(carriers: dict[str, Total]) -> Table:
    table = _table("carrier", "flights", "cancelled", "late", "late %", "mean delay", title="arrival delays")
    for column in table.columns[1:]:
        column.justify = "right"
    for carrier, each in sorted(carriers.items(), key=lambda item: -item[1].flights):
        table.add_row(carrier, *_figures(each))
    table.add_section()
    table.add_row("all", *_figures(sum(carriers.values(), Total())), style="bold")
    return table


def _figures(total: Total) -> tuple[str, ...]:
    landed = max(1, total.flights - total.cancelled)
    return (
        f"{total.flights:,}",
        str(total.cancelled or ""),
        f"{total.late:,}",
        f"{total.late / landed:.0%}",
        f"{total.delay_minutes / landed:+.1f} min",
    )


def _letters(reasons: dict[str, int]) -> Table:
    table = _table("records", "reason", title="dead letters")
    table.columns[0].justify = "right"
    for reason, count in reasons.items():
        table.add_row(str(count), reason)
    return table


def _checks(checks: tuple[Check, ...]) -> Table:
    table = _table("", "is it so?", "found", title="checked in the stream, the tables, the queue and the file")
    for check in checks:
        table.add_row(_MARKS[check.holds], check.claim, check.figures)
    return table


def _table(*columns: str, title: str) -> Table:
    heads = (Column(each, header_style="dim") for each in columns)
    return Table(*heads, box=_BOX, title=f" {title}", title_justify="left", title_style="bold")
