"""Figures as people read them: short, in 80 columns, and never more exact than they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamkit.core.overview import State

UNKNOWN = "-"
MINUTE, HOUR, DAY = 60, 3600, 86400
_DIGITS = 12
"""Of a Kinesis shard's id."""
_THOUSANDS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))

COLOURS: dict[State, str] = {
    "reading": "green",
    "waiting": "bright_black",
    "ended": "bright_black",
    "free": "yellow",
    "held up": "yellow",
    "quarantine": "yellow",
    "silent": "red",
    "paused": "red",
    "halted": "red",
}


def span(seconds: float | None) -> str:
    """Return a time span in two units at most: 0.4s, 12s, 3m12s, 4h03m, 2d05h."""
    if seconds is None:
        return UNKNOWN
    whole = round(seconds)
    if seconds < 10:  # so far, a tenth can be read
        return f"{seconds:.1f}s" if seconds >= 0.05 else "0s"
    if whole < MINUTE:
        return f"{whole}s"
    if whole < HOUR:
        return f"{whole // MINUTE}m{whole % MINUTE:02}s"
    if whole < DAY:
        return f"{whole // HOUR}h{whole % HOUR // MINUTE:02}m"
    return f"{whole // DAY}d{whole % DAY // HOUR:02}h"


def count(number: float | None) -> str:
    """Return a number in five characters: 0, 7.5, 812, 12.3k, 4.0M."""
    if number is None:
        return UNKNOWN
    for size, letter in _THOUSANDS:
        if number >= size * 10 or (number >= size > 1e3):  # up to 9,999 all digits fit
            return f"{number / size:.1f}{letter}"
    return f"{number:.0f}" if number == round(number) or number >= 100 else f"{number:.1f}"


def many(number: int, noun: str) -> str:
    """Return a number with its noun: 1 letter, 1,200 letters."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def short(shard: str) -> str:
    """Return a Kinesis shard's number, which `--shard` takes too; another id as it is, less what all begin with."""
    name = shard.removeprefix("shardId-")
    return str(int(name)) if name.isascii() and name.isdigit() and len(name) == _DIGITS else name


def elided(text: str, width: int = 40) -> str:
    """Return a name that is too long without its middle: hosts differ at both ends."""
    if len(text) <= width:
        return text
    head = (width - 1) // 3
    return f"{text[:head]}…{text[head + 1 - width :]}"


def columns(heads: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[int] = (0,)) -> list[str]:
    """Return lines of aligned columns, all but the `left` ones aligned to the right. Styles take no room."""
    table = [list(heads), *[list(row) for row in rows]]
    widths = [max(len(click.unstyle(row[n])) for row in table) for n in range(len(heads))]
    return ["  ".join(_cell(row[n], widths[n], left=n in left) for n in range(len(heads))).rstrip() for row in table]


def _cell(text: str, width: int, *, left: bool) -> str:
    space = " " * (width - len(click.unstyle(text)))
    return text + space if left else space + text
