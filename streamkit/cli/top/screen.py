"""What `streamkit top` looks like: values in, something for rich to draw out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from rich.console import Group
from rich.table import Table
from rich.text import Text

from streamkit.cli.figures import COLOURS, count, elided, short, span
from streamkit.cli.top.course import Course, in_order, sparkline

if TYPE_CHECKING:
    from rich.console import RenderableType

    from streamkit.cli.status import Report
    from streamkit.core.overview import Overview, ShardView

_SPARK = 12
_MARK = {True: ">", False: " "}
_ABOVE_AND_BELOW = 14
"""Lines that are no shards."""


class Looking(msgspec.Struct, frozen=True):
    """How a person looks at it."""

    sort: str = "shard"
    at: int = 0
    """Which line is chosen."""
    detail: bool = False


def screen(report: Report, course: Course, looking: Looking, *, height: int, trouble: str | None) -> RenderableType:
    """Return one screen."""
    view, shards = report.overview, in_order(report.overview.shards, looking.sort)
    parts: list[RenderableType] = [_head(report, course), Text()]
    if looking.detail and shards:
        parts.append(_detail(shards[min(looking.at, len(shards) - 1)], course))
    else:
        parts += [
            _shards(shards, view, course, looking, room=max(3, height - _ABOVE_AND_BELOW)),
            Text(),
            _workers(view),
        ]
    parts += [Text(f"! {line}", style="red", overflow="ellipsis", no_wrap=True) for line in view.attention[:3]]
    if trouble:
        parts.append(Text(f"! no news: {trouble}", style="red"))
    keys = "enter back" if looking.detail else f"s sort ({looking.sort})  ↑↓ choose  enter detail"
    return Group(*parts, Text(f"{keys}  q quit", style="dim"))


def _head(report: Report, course: Course) -> RenderableType:
    view = report.overview
    letters = "" if view.letters is None else f"   {view.letters:,} letters in the queue"
    title = Text.assemble((report.consumer, "bold"), f"  stream {report.stream}   table {report.table}{letters}")
    lag, rate = course.lag[""], course.rate[""]
    line = Text.assemble(
        ("lag ", "dim"),
        f"{span(lag[-1] if lag else None):>6} {sparkline(lag, 24)}   ",
        ("records/s ", "dim"),
        f"{count(rate[-1] if rate else None):>6} {sparkline(rate, 24)}",
    )
    return Group(title, line)


def _table(*heads: str) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    for head in heads:
        left = head in {"", "SHARD", "STATE", "OWNER", "WORKER"}
        table.add_column(head, justify="left" if left else "right", no_wrap=True)
    return table


def _shards(shards: list[ShardView], view: Overview, course: Course, looking: Looking, *, room: int) -> RenderableType:
    names = {each.worker: f"w{number}" for number, each in enumerate(view.workers, 1)}
    table = _table("", "SHARD", "STATE", "LAG", "", "RATE/S", "", "READ", "DEAD", "OWNER")
    first = max(0, min(looking.at - room // 2, len(shards) - room))
    for number, each in list(enumerate(shards))[first : first + room]:
        table.add_row(
            _MARK[number == looking.at],
            short(each.shard),
            Text(each.state, style=COLOURS[each.state]),
            span(each.lag_seconds),
            sparkline(course.lag[each.shard], _SPARK),
            count(each.rate),
            sparkline(course.rate[each.shard], _SPARK),
            count(each.waiting),
            count(each.dead),
            names.get(each.owner or "", "-"),
            style="bold" if number == looking.at else "",
        )
    more = len(shards) - room
    return Group(table, Text(f"  {more} more shards", style="dim")) if more > 0 else table


def _workers(view: Overview) -> RenderableType:
    table = _table("", "WORKER", "HEARTBEAT", "SHARDS", "RATE/S", "UP")
    for number, each in enumerate(view.workers[:5], 1):
        beat = {"beating": f"{span(each.beat_seconds)} ago", "unseen": "...", "silent": "SILENT"}[each.pulse]
        table.add_row(
            f"w{number}",
            elided(each.worker),
            Text(beat, style="red" if each.pulse == "silent" else ""),
            str(each.shards),
            count(each.rate),
            span(each.up_seconds),
        )
    more = len(view.workers) - 5
    return Group(table, Text(f"{more} more workers", style="dim")) if more > 0 else table


def _detail(each: ShardView, course: Course) -> RenderableType:
    facts = {
        "shard": each.shard,
        "state": each.state,
        "why": each.why or "-",
        "owner": each.owner or "-",
        "epoch": str(each.epoch),
        "frontier": each.frontier or "-",
        "lag": f"{span(each.lag_seconds):>6}  {sparkline(course.lag[each.shard], 50)}",
        "records/s": f"{count(each.rate):>6}  {sparkline(course.rate[each.shard], 50)}",
        "oldest": "-" if each.oldest_seconds is None else f"read and not settled, {span(each.oldest_seconds)} old",
        "read": f"{count(each.waiting)} records wait",
        "so far": f"{count(each.settled)} settled, {count(each.retried)} retried, {count(each.dead)} dead-lettered",
        "parked": f"{each.parked} keys",
        "told": f"{span(each.told_seconds)} ago",
    }
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in facts.items():
        table.add_row(name, text)
    return Group(table, Text())
