"""Per-record order: one lane a key. Lanes run concurrently; inside a lane strictly in order.

    fresh: a1 b1 a2 c1 b2 ...   --take-->   lanes: a [a1 under way, a2]  b [b1 held]

A record gets a lane only when somebody has to wait: when its handler waits or failed, or when an earlier record of its
key does. Until then records are tried straight from the stream, one `Stretch` after the other: that is in order for
every key, and costs next to nothing.
"""

from __future__ import annotations

import heapq
from collections import deque
from itertools import count
from typing import TYPE_CHECKING

from streamkit.core.schedule import FOREVER, Attempt, Fresh

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence

    from streamkit.core.records import Record


class Stretch:
    """Fresh records to be tried one after the other, by one runner, while no handler of them waits or fails.

    Asking it for the next record says that the one before was handled. It is `open` until one had to wait or failed:
    that one is an attempt of its own from there on, and what follows it is fresh again.
    """

    __slots__ = ("attempt", "first", "open", "records", "started")

    def __init__(self, first: int, records: Sequence[Record]) -> None:
        self.first = first
        """Ordinal of the first record."""
        self.records = records
        self.started = 0
        """How many of them were handed out."""
        self.open = True
        self.attempt: Attempt | None = None
        """The last of them, once it stands alone."""

    def __iter__(self) -> Iterator[Record]:
        for record in self.records:
            if not self.open:
                return
            self.started += 1
            yield record


class _Lane:
    """The unsettled records of one key. It is in one place: ready, held, or under way."""

    __slots__ = ("queue", "ticket")

    def __init__(self, ordinal: int, record: Record) -> None:
        self.queue = deque([(ordinal, record)])
        self.ticket = 0
        """Names the one valid entry of this lane among the held; 0 where it is not held."""


class Lanes:
    """Per-record order: the head of each key's lane may run."""

    def __init__(self, key_of: Callable[[int], str]) -> None:
        self._key_of = key_of
        self._fresh = Fresh()
        self._lanes: dict[str, _Lane] = {}
        self._ready: deque[_Lane] = deque()
        self._held: list[tuple[float, int, _Lane]] = []
        self._tickets = count(1)

    def add(self, ordinal: int, records: Sequence[Record], now: float) -> None:  # noqa: ARG002 - lanes do not linger
        """Append records."""
        self._fresh.append(ordinal, records)

    def defer(self, ordinal: int, record: Record, now: float, *, until: float) -> None:
        """Append a record, in a held lane of its own if its key has none."""
        if record.key in self._lanes or any(each.key == record.key for each in self._fresh):
            self.add(ordinal, (record,), now)
            return
        self._open_lane(ordinal, record)
        self.hold(ordinal, until)

    def take(self, now: float) -> Attempt | None:
        """Return the head of the lane that is ready for longest, else a fresh record that no lane holds back."""
        while self._held and self._held[0][0] <= now:
            _, ticket, lane = heapq.heappop(self._held)
            if lane.ticket == ticket:
                lane.ticket = 0
                self._ready.append(lane)
        return _head(self._ready.popleft()) if self._ready else self._take_fresh()

    def probe(self, now: float) -> Attempt | None:  # noqa: ARG002 - whether it is due or not
        """Return a fresh record, else the head of a lane that is ready, else of the one held for longest."""
        if (attempt := self._take_fresh()) is not None:
            return attempt
        if self._ready:
            return _head(self._ready.popleft())
        while self._held:
            _, ticket, lane = heapq.heappop(self._held)
            if lane.ticket == ticket:
                return _head(lane)
        return None

    def probeable(self) -> bool:
        """Say whether any record is fresh or ready, or held for a time only."""
        return self._any_fresh() or bool(self._ready) or self.wake_at() < FOREVER

    def retire(self, attempt: Attempt) -> None:
        """The head is settled: the lane is ready for its next record, or gone."""
        self._advance(attempt.records[0].key)

    def put_back(self, attempt: Attempt, groups: Sequence[Sequence[int]]) -> None:  # noqa: ARG002 - its lane is named
        """The head is to be run again."""
        for group in groups:
            self.hold(group[0], 0.0)

    def hold(self, ordinal: int, until: float) -> None:
        """Keep the lane back whose head this is."""
        lane = self._lanes[self._key_of(ordinal)]
        lane.ticket = next(self._tickets)
        if until < FOREVER:
            heapq.heappush(self._held, (until, lane.ticket, lane))

    def drop(self, ordinal: int) -> None:
        """The held head is settled."""
        self._advance(self._key_of(ordinal))

    def others(self, failing: Container[int]) -> bool:
        """Say whether some lane's head has not failed, or some record is fresh."""
        return self._any_fresh() or any(lane.queue[0][0] not in failing for lane in self._lanes.values())

    def wake_at(self) -> float:
        """Return when the next held lane is due."""
        while self._held and self._held[0][2].ticket != self._held[0][1]:
            heapq.heappop(self._held)
        return self._held[0][0] if self._held else FOREVER

    # The quick way

    def stretch(self, most: int) -> Stretch | None:
        """Return what may be tried without lanes, at most so many records; None where something older waits."""
        if self._ready or self.wake_at() < FOREVER or not self._any_fresh():
            return None
        ordinal, records = self._fresh.first(most)
        free = self._unhindered(records)
        return Stretch(ordinal, records[:free]) if free else None

    def close(self, stretch: Stretch) -> None:
        """All that was handed out of the stretch is settled."""
        stretch.open = False
        self._fresh.skip(stretch.started)

    def cut(self, stretch: Stretch) -> Attempt:
        """Return the last record handed out as an attempt under way, in its lane; those before it are settled."""
        self.close(stretch)
        last = stretch.started - 1
        stretch.attempt = self._open_lane(stretch.first + last, stretch.records[last])
        return stretch.attempt

    def _unhindered(self, records: Sequence[Record]) -> int:
        """Return how many of the records neither stand behind a lane nor have a defect."""
        lanes = self._lanes
        for index, record in enumerate(records):
            if record.defect is not None or (lanes and record.key in lanes):
                return index
        return len(records)

    # Lanes

    def _take_fresh(self) -> Attempt | None:
        """Return the first fresh record, in a new lane. What stands behind a lane joins it on the way."""
        if not self._any_fresh():
            return None
        ordinal, (record,) = self._fresh.first(1)
        self._fresh.skip(1)
        return self._open_lane(ordinal, record)

    def _any_fresh(self) -> bool:
        """Say whether there is a fresh record, once those at the front that stand behind a lane have joined it."""
        while self._fresh:
            if not self._lanes:
                return True
            ordinal, (record,) = self._fresh.first(1)
            lane = self._lanes.get(record.key)
            if lane is None:
                return True
            lane.queue.append((ordinal, record))
            self._fresh.skip(1)
        return False

    def _open_lane(self, ordinal: int, record: Record) -> Attempt:
        self._lanes[record.key] = lane = _Lane(ordinal, record)
        return _head(lane)

    def _advance(self, key: str) -> None:
        lane = self._lanes[key]
        lane.queue.popleft()
        lane.ticket = 0
        if lane.queue:
            self._ready.append(lane)
        else:
            del self._lanes[key]


def _head(lane: _Lane) -> Attempt:
    lane.ticket = 0
    ordinal, record = lane.queue[0]
    return Attempt((ordinal,), (record,))
