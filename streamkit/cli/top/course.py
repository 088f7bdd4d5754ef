"""The course of figures: what the last looks showed, as a line of blocks."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streamkit.core.overview import Overview, ShardView

BLOCKS = " ▁▂▃▄▅▆▇█"
LENGTH = 60
"""Looks remembered."""
SORTS = ("shard", "lag", "rate", "state")
_WORST = ("halted", "paused", "quarantine", "held up", "silent", "free", "waiting", "reading", "ended")


def sparkline(values: Sequence[float], width: int) -> str:
    """Return the last `width` values as blocks, the highest of them all full; a value above 0 is never blank."""
    shown = list(values)[-width:]
    highest = max(shown, default=0.0)
    if highest <= 0:
        return " " * (width - len(shown)) + "▁" * len(shown)
    steps = [max(1, round(value / highest * (len(BLOCKS) - 1))) for value in shown]
    return "".join(BLOCKS[step] for step in steps).rjust(width)


class Course:
    """Lag and rate over the last looks, by shard and in all."""

    def __init__(self) -> None:
        self.lag: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=LENGTH))
        self.rate: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=LENGTH))

    def note(self, view: Overview) -> None:
        """Remember one look; forget shards that are gone."""
        for each in view.shards:
            self.lag[each.shard].append(each.lag_seconds or 0.0)
            self.rate[each.shard].append(each.rate or 0.0)
        self.lag[""].append(max((each.lag_seconds or 0.0 for each in view.shards), default=0.0))
        self.rate[""].append(sum(each.rate or 0.0 for each in view.shards))
        known = {"", *(each.shard for each in view.shards)}
        for line in (self.lag, self.rate):
            for gone in line.keys() - known:
                del line[gone]


def in_order(shards: Iterable[ShardView], sort: str) -> list[ShardView]:
    """Return shards worst first by what they are sorted by; by id where that says nothing."""
    shown = sorted((each for each in shards if each.state != "ended"), key=lambda each: each.shard)
    match sort:
        case "lag":
            return sorted(shown, key=lambda each: -(each.lag_seconds or 0.0))
        case "rate":
            return sorted(shown, key=lambda each: -(each.rate or 0.0))
        case "state":
            return sorted(shown, key=lambda each: _WORST.index(each.state))
        case _:
            return shown
