"""Who should hold which shard: by throughput, then by count, with as few moves as do (rule 6).

Pure, and in whole numbers: whoever starts from the same rows comes to the same end, in whatever order it read them.

A shard weighs what it was measured to bring, in coarse levels; one that nobody measured weighs as much as the others
do on average. Nothing here makes the sum of the squared loads grow, and what is done for throughput makes it smaller:
so there is no way around in a circle, and plans that are carried out come to rest.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Mapping
from heapq import heapify, heappop, heappush
from math import exp, log2
from typing import Literal, NamedTuple

STEPS = 4
"""Levels from a rate to its double: a fifth more each."""
STICKY = 0.75
"""A level changes when the rate has left it by so many steps: what swings around a border tells nobody to move."""
TOP_LEVEL = 100
"""33 million records a second."""
SMOOTHING_SECONDS = 60.0
"""Time constant of the moving average."""
WARM_UP_SECONDS = 30.0
"""A rate is told once it was measured for so long; until then it is the one of the owner before, if any."""
CLEAR = 0.25
"""Moves for throughput are worth their pause if a worker's load changes by this share of the average load."""
FIT = 0.75
"""Of the gap between two workers, a shard may fill this share: so the peak of the two sinks, and does not turn up
at the other."""
FINE = 0.1
"""Gaps below this share of the average load are not looked at."""
LEAST = 1.0
"""Records a second: a change of less is not worth a pause, whatever the average."""
AT_ONCE = 50
"""Shards that one worker gives, or gets, in one plan: each is paused until it is taken, 10 ms or so for each."""

KNOWN = 0.9
"""Throughput is looked at once it is known of this share of the shards; half the truth leads to moves and back."""

_UNIT = 16
_WEIGHTS = tuple(round(_UNIT * (2 ** (level / STEPS) - 1)) for level in range(TOP_LEVEL + 1))

Level = int
Cause = Literal["throughput", "count"]


class Meter:
    """Measures the records a second of a shard. `level` is what the others are told."""

    def __init__(self, level: Level | None, *, now: float) -> None:
        """`level` is what the owner before told."""
        self.level = level
        self._began = self._noted = now
        self._count = 0
        self._rate = 0.0

    def note(self, count: int, now: float) -> None:
        """Take in how many records came so far; the average over the time measured, then a moving one."""
        spent = now - self._noted
        if spent <= 0:
            return
        share = max(1 - exp(-spent / SMOOTHING_SECONDS), spent / (now - self._began))
        self._rate += share * ((count - self._count) / spent - self._rate)
        self._count, self._noted = count, now
        if now - self._began >= WARM_UP_SECONDS:
            self.level = level_of(self._rate, was=self.level)


def level_of(rate: float, *, was: Level | None = None) -> Level:
    """Return the level of a rate (records a second): the one it had, unless the rate has clearly left it."""
    exact = min(STEPS * log2(1 + rate), TOP_LEVEL)
    return was if was is not None and abs(exact - was) <= STICKY else round(exact)


def weights(levels: Mapping[str, Level | None]) -> dict[str, int]:
    """Return what each shard weighs. All weigh nothing where little was measured: then they are only counted."""
    known = [_WEIGHTS[min(level, TOP_LEVEL)] for level in levels.values() if level is not None]
    if not known or len(known) < KNOWN * len(levels):
        return dict.fromkeys(sorted(levels), 0)
    average = sum(known) // len(known)
    return {
        shard: average if level is None else _WEIGHTS[min(level, TOP_LEVEL)] for shard, level in sorted(levels.items())
    }


class Transfer(NamedTuple):
    """A shard that should change hands, and what for."""

    shard: str
    giver: str
    taker: str
    cause: Cause


class Share:
    """What one worker holds."""

    def __init__(self, worker: str) -> None:
        self.worker = worker
        self.load = 0
        self.shards: list[tuple[int, str]] = []
        """Weight and id, the lightest first."""

    def add(self, weight: int, shard: str) -> None:
        """Count a shard in."""
        insort(self.shards, (weight, shard))
        self.load += weight

    def give(self, index: int, to: Share) -> str:
        """Let another worker have the shard at this place; return its id."""
        weight, shard = self.shards.pop(index)
        self.load -= weight
        to.add(weight, shard)
        return shard


Shares = dict[str, Share]


def shares(workers: Iterable[str], owners: Mapping[str, str], weight: Mapping[str, int]) -> Shares:
    """Return what each of the workers holds; `owners` by shard."""
    held = {worker: Share(worker) for worker in sorted(workers)}
    for shard, owner in sorted(owners.items(), key=lambda item: (weight[item[0]], item[0])):
        held[owner].shards.append((weight[shard], shard))
        held[owner].load += weight[shard]
    return held


def deal(free: Iterable[str], held: Shares, weight: Mapping[str, int]) -> dict[str, str]:
    """Give each free shard to the least loaded; return the taker of each.

    The heaviest come first, so that the light ones can fill what they leave uneven.
    """
    takers: dict[str, str] = {}
    waiting = [(share.load, len(share.shards), worker) for worker, share in held.items()]
    heapify(waiting)
    for shard in sorted(free, key=lambda shard: (-weight[shard], shard)):
        load, count, worker = heappop(waiting)
        takers[shard] = worker
        heappush(waiting, (load + weight[shard], count + 1, worker))
    return takers


def transfers(held: Shares) -> list[Transfer]:
    """Return what should change hands: by throughput, then by count, at most `AT_ONCE` for a giver or a taker.

    None, where none would clearly help. Whoever starts from the same shares finds the same.
    """
    owners = {shard: worker for worker, share in held.items() for _, shard in share.shards}
    heavy = _by_throughput(held)
    light = _by_count(_after(held, heavy))
    causes: dict[str, Cause] = dict.fromkeys(light, "count")
    causes |= dict.fromkeys(heavy, "throughput")
    takers = heavy | light
    wanted = [Transfer(shard, owners[shard], taker, causes[shard]) for shard, taker in takers.items()]
    return _bounded([each for each in wanted if each.giver != each.taker])


def _bounded(wanted: list[Transfer]) -> list[Transfer]:
    """Return those that come first, as many as giver and taker can do at once."""
    gives, takes = Counter[str](), Counter[str]()
    for index, each in enumerate(wanted):
        gives[each.giver] += 1
        takes[each.taker] += 1
        if max(gives[each.giver], takes[each.taker]) > AT_ONCE:
            return wanted[:index]
    return wanted


def _after(held: Shares, takers: Mapping[str, str]) -> Shares:
    """Return the shares once these shards have changed hands."""
    weight = {shard: each for share in held.values() for each, shard in share.shards}
    owners = {shard: worker for worker, share in held.items() for _, shard in share.shards}
    return shares(held, owners | dict(takers), weight)


def _by_throughput(held: Shares) -> dict[str, str]:
    """Return the new owners that make loads even, in the order of their finding; nobody, if it is not clear."""
    average = sum(share.load for share in held.values()) / max(1, len(held))
    spread = [share.load for share in held.values()]
    worth = max(CLEAR * average, LEAST * _UNIT)
    if max(spread, default=0) - min(spread, default=0) < worth:
        return {}
    owners = {shard: worker for worker, share in held.items() for _, shard in share.shards}
    after = _after(held, {})
    found = _evened(after, average)
    change = {worker: abs(after[worker].load - share.load) for worker, share in held.items()}
    clear = {
        shard: taker
        for shard, taker in found.items()
        if taker != owners[shard] and max(change[taker], change[owners[shard]]) >= worth
    }
    lower = _squares(_after(held, clear)) < _squares(held)
    return clear if lower else {}


def _squares(held: Shares) -> int:
    return sum(share.load**2 for share in held.values())


def _evened(held: Shares, average: float) -> dict[str, str]:
    """Let the most loaded give to the least loaded, as long as a shard fits; return the new owners."""
    found: dict[str, str] = {}
    most = [(-share.load, worker) for worker, share in held.items()]
    least = [(share.load, worker) for worker, share in held.items()]
    heapify(most)
    heapify(least)
    for _ in range(2 * sum(len(share.shards) for share in held.values()) + len(held)):
        giver, taker = _top(most, held, -1), _top(least, held, 1)
        if giver is None or taker is None or giver.load - taker.load <= FINE * average:
            break
        index = _fitting(giver.shards, giver.load - taker.load)
        if index is None:
            heappop(most)  # one hot shard, and nothing to be done about it
            continue
        found[giver.give(index, taker)] = taker.worker
        for share in (giver, taker):
            heappush(most, (-share.load, share.worker))
            heappush(least, (share.load, share.worker))
    return found


def _top(heap: list[tuple[int, str]], held: Shares, sign: int) -> Share | None:
    """Return the first of a heap, if any; entries whose load has changed since are dropped."""
    while heap and heap[0][0] != sign * held[heap[0][1]].load:
        heappop(heap)
    return held[heap[0][1]] if heap else None


def _fitting(shards: list[tuple[int, str]], gap: int) -> int | None:
    """Return the place of the shard that comes nearest to filling half the gap; None if none fits."""
    middle = bisect_left(shards, (gap // 2, ""))
    near = [index for index in (middle - 1, middle) if 0 <= index < len(shards)]
    fits = [index for index in near if 0 < shards[index][0] <= FIT * gap]
    return min(fits, key=lambda index: abs(2 * shards[index][0] - gap), default=None)


def _by_count(held: Shares) -> dict[str, str]:
    """Return the new owners that make counts even, and loads no less so: the lightest shards go."""
    found: dict[str, str] = {}
    most = [(-len(share.shards), -share.load, worker) for worker, share in held.items()]
    least = [(len(share.shards), share.load, worker) for worker, share in held.items()]
    heapify(most)
    heapify(least)
    while most and least:
        giver, taker = held[most[0][2]], held[least[0][2]]
        if (-len(giver.shards), -giver.load) != most[0][:2]:
            heappop(most)
        elif (len(taker.shards), taker.load) != least[0][:2]:
            heappop(least)
        elif len(giver.shards) - len(taker.shards) < 2:  # noqa: PLR2004 - a difference of one is balanced
            break
        elif 0 < 2 * giver.shards[0][0] > giver.load - taker.load:
            heappop(least)  # few shards, but heavy ones
        else:
            found[giver.give(0, taker)] = taker.worker
            for share in (giver, taker):
                heappush(most, (-len(share.shards), -share.load, share.worker))
                heappush(least, (len(share.shards), share.load, share.worker))
    return found
