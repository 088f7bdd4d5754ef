"""What runs next: the two ways to take a shard's records, behind one face.

`Lanes` runs single records, concurrently over keys, in order within a key. `Segments` runs batches one at a time and
halves those that fail, left to right; a half that succeeded is never run again.

A schedule knows order only. Whether something may run at all is decided in `settlement`.
"""

from __future__ import annotations

import heapq
from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Protocol

import msgspec

from streamkit.core.records import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Sequence

FOREVER = float("inf")


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """One call of the handler: the records it is for, with their ordinals in the window."""

    ordinals: tuple[int, ...]
    records: tuple[Record, ...]


class Schedule(Protocol):
    """Order of the unsettled records of one shard. Times are monotonic seconds."""

    def add(self, ordinal: int, record: Record, now: float) -> None:
        """Append a record."""
        ...

    def take(self, now: float) -> Attempt | None:
        """Return what may run now, which then is under way until `retire` or `put_back`; None if nothing may."""
        ...

    def probe(self, now: float) -> Attempt | None:
        """Return one attempt to try the world with: a fresh one, else the one not tried for longest."""
        ...

    def probeable(self) -> bool:
        """Say whether `probe` has anything to try."""
        ...

    def retire(self, attempt: Attempt) -> None:
        """All records of the attempt are settled."""
        ...

    def put_back(self, attempt: Attempt, groups: Sequence[Sequence[int]]) -> None:
        """The attempt is over; these groups of its ordinals are to be run again, as such."""
        ...

    def hold(self, ordinal: int, until: float) -> None:
        """Keep one record back, and with it the later ones of its key. FOREVER waits for another `hold`."""
        ...

    def defer(self, ordinal: int, until: float) -> None:
        """Let others go before a record that was just added, if nothing of its key stands before it."""
        ...

    def drop(self, ordinal: int) -> None:
        """The held record is settled without another attempt."""
        ...

    def others(self, failing: Container[int]) -> bool:
        """Say whether a record that is not among `failing` is under way or could be taken."""
        ...

    def wake_at(self) -> float:
        """Return when something held, or lingering, will be due; FOREVER if nothing is."""
        ...


class _Lane:
    """The unsettled records of one key. It is in one place: ready, held, or under way."""

    __slots__ = ("queue", "ticket")

    def __init__(self) -> None:
        self.queue: deque[tuple[int, Record]] = deque()
        self.ticket = 0
        """Names the one valid entry of this lane among the held; 0 where it is not held."""


class Lanes:
    """Per-record order: the head of each key's lane may run."""

    def __init__(self, key_of: Callable[[int], str]) -> None:
        self._key_of = key_of
        self._lanes: dict[str, _Lane] = {}
        self._ready: deque[_Lane] = deque()
        self._held: list[tuple[float, int, _Lane]] = []
        self._tickets = count(1)

    def add(self, ordinal: int, record: Record, now: float) -> None:  # noqa: ARG002 - lanes do not linger
        """Append a record to the lane of its key."""
        lane = self._lanes.get(record.key)
        if lane is None:
            lane = self._lanes[record.key] = _Lane()
            self._ready.append(lane)
        lane.queue.append((ordinal, record))

    def take(self, now: float) -> Attempt | None:
        """Return the head of the lane that is ready for longest."""
        while self._held and self._held[0][0] <= now:
            _, ticket, lane = heapq.heappop(self._held)
            if lane.ticket == ticket:
                lane.ticket = 0
                self._ready.append(lane)
        return self._head(self._ready.popleft()) if self._ready else None

    def probe(self, now: float) -> Attempt | None:  # noqa: ARG002 - whether it is due or not
        """Return the head of a fresh lane, else of the lane held for longest."""
        if self._ready:
            return self._head(self._ready.popleft())
        while self._held:
            _, ticket, lane = heapq.heappop(self._held)
            if lane.ticket == ticket:
                return self._head(lane)
        return None

    def probeable(self) -> bool:
        """Say whether any lane is ready, or held for a time only."""
        return bool(self._ready) or self.wake_at() < FOREVER

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

    def defer(self, ordinal: int, until: float) -> None:
        """Keep a lane back that begins with this record."""
        lane = self._lanes[self._key_of(ordinal)]
        if lane.queue[0][0] == ordinal and lane in self._ready:
            self._ready.remove(lane)
            self.hold(ordinal, until)

    def drop(self, ordinal: int) -> None:
        """The held head is settled."""
        self._advance(self._key_of(ordinal))

    def others(self, failing: Container[int]) -> bool:
        """Say whether some lane's head has not failed."""
        return any(lane.queue[0][0] not in failing for lane in self._lanes.values())

    def wake_at(self) -> float:
        """Return when the next held lane is due."""
        while self._held and self._held[0][2].ticket != self._held[0][1]:
            heapq.heappop(self._held)
        return self._held[0][0] if self._held else FOREVER

    def _head(self, lane: _Lane) -> Attempt:
        lane.ticket = 0
        ordinal, record = lane.queue[0]
        return Attempt((ordinal,), (record,))

    def _advance(self, key: str) -> None:
        lane = self._lanes[key]
        lane.queue.popleft()
        lane.ticket = 0
        if lane.queue:
            self._ready.append(lane)
        else:
            del self._lanes[key]


_Piece = list[tuple[int, Record]]


class Segments:
    """Batch order: consecutive records up to `size`, one attempt at a time, failed ones in pieces, left to right.

    A record that is held keeps the later ones of its key back: they are left out of the pieces that overtake it.
    """

    def __init__(self, *, size: int, linger: float) -> None:
        self._size = size
        self._linger = linger
        self._pieces: list[_Piece] = []
        self._fresh: deque[tuple[int, Record]] = deque()
        self._fresh_since = 0.0
        self._held: dict[int, float] = {}
        self._running: Attempt | None = None

    def add(self, ordinal: int, record: Record, now: float) -> None:
        """Append a record; a batch that is not full waits `linger` seconds from its first one."""
        if not self._fresh:
            self._fresh_since = now
        self._fresh.append((ordinal, record))

    def take(self, now: float) -> Attempt | None:
        """Return the leftmost piece that may run, else a new batch if it is full or has lingered."""
        return self._pick(now, due=now)

    def probe(self, now: float) -> Attempt | None:
        """Return what has not failed, a batch that is not full included, else the held record that is due first."""
        attempt = self._pick(now, due=-FOREVER, linger=0.0)
        if attempt is not None or not self.probeable():
            return attempt
        _, first = min((until, ordinal) for ordinal, until in self._heads())
        piece = next(piece for piece in self._pieces if piece[0][0] == first)
        self._pieces.remove(piece)
        return self._start(piece)

    def probeable(self) -> bool:
        """Say whether nothing is under way and any record waits for a time only."""
        return self._running is None and (bool(self._fresh) or any(until < FOREVER for _, until in self._heads()))

    def retire(self, attempt: Attempt) -> None:
        """The whole attempt is settled."""
        self._running = None
        for ordinal in attempt.ordinals:
            self._held.pop(ordinal, None)

    def put_back(self, attempt: Attempt, groups: Sequence[Sequence[int]]) -> None:
        """The attempt is over; insert the groups as pieces, by their first ordinal."""
        self._running = None
        by_ordinal = dict(zip(attempt.ordinals, attempt.records, strict=True))
        for ordinal in attempt.ordinals:
            self._held.pop(ordinal, None)
        self._pieces += [[(each, by_ordinal[each]) for each in group] for group in groups]
        self._pieces.sort(key=lambda piece: piece[0][0])

    def hold(self, ordinal: int, until: float) -> None:
        """Keep a record back that stands alone in its piece."""
        self._held[ordinal] = until

    def defer(self, ordinal: int, until: float) -> None:
        """Keep a record back, and with it the later ones of its key."""
        self.hold(ordinal, until)

    def drop(self, ordinal: int) -> None:
        """The held record is settled: its piece is gone."""
        self._held.pop(ordinal, None)
        self._pieces = [piece for piece in self._pieces if piece[0][0] != ordinal]

    def others(self, failing: Container[int]) -> bool:
        """Say whether a record without failures is under way, or not behind a failing one of its key."""
        if self._running is not None and any(each not in failing for each in self._running.ordinals):
            return True
        blocked = {record.key for piece in self._pieces for each, record in piece if each in failing}
        return any(record.key not in blocked for _, record in self._waiting())

    def wake_at(self) -> float:
        """Return when a held record or a lingering batch will be due."""
        if self._running is not None:
            return FOREVER
        linger = self._fresh_since + self._linger if self._fresh else FOREVER
        return min([linger, *(until for _, until in self._heads())])

    def _heads(self) -> Iterable[tuple[int, float]]:
        """Return the first record of each key in pieces, and until when it is held: only it keeps the key back."""
        seen: set[str] = set()
        for piece in self._pieces:
            for ordinal, record in piece:
                if record.key not in seen:
                    seen.add(record.key)
                    yield ordinal, self._held.get(ordinal, -FOREVER)

    def _pick(self, now: float, *, due: float, linger: float | None = None) -> Attempt | None:
        """Return what may run of pieces and new batches, where records held beyond `due` may not."""
        if self._running is not None:
            return None
        linger = self._linger if linger is None else linger
        blocked: set[str] = set()
        for index, piece in enumerate(self._pieces):
            runnable, kept = self._part(piece, blocked, due)
            if runnable:
                self._pieces[index : index + 1] = [kept] if kept else []
                return self._start(runnable)
        while len(self._fresh) >= self._size or (self._fresh and now >= self._fresh_since + linger):
            runnable, kept = self._part(self._cut(now), blocked, due)
            if kept:
                self._pieces.append(kept)
            if runnable:
                return self._start(runnable)
        return None

    def _waiting(self) -> Iterable[tuple[int, Record]]:
        yield from self._fresh
        for piece in self._pieces:
            yield from piece

    def _cut(self, now: float) -> _Piece:
        piece = [self._fresh.popleft() for _ in range(min(self._size, len(self._fresh)))]
        self._fresh_since = now
        return piece

    def _start(self, piece: _Piece) -> Attempt:
        self._running = Attempt(tuple(each for each, _ in piece), tuple(record for _, record in piece))
        return self._running

    def _part(self, piece: _Piece, blocked: set[str], due: float) -> tuple[_Piece, _Piece]:
        """Part what may run from what is held, or stands behind something held. Adds to `blocked`."""
        runnable: _Piece = []
        kept: _Piece = []
        for ordinal, record in piece:
            if record.key in blocked or self._held.get(ordinal, -FOREVER) > due:
                blocked.add(record.key)
                kept.append((ordinal, record))
            else:
                runnable.append((ordinal, record))
        return runnable, kept
