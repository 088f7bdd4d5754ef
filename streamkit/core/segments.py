"""Batch order: consecutive records, one batch at a time; a batch that fails is run again in pieces, left to right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.core.schedule import FOREVER, Attempt, Fresh

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from streamkit.core.records import Record

_Piece = list[tuple[int, "Record"]]


class Segments:
    """Batch order: consecutive records up to `size`, one attempt at a time, failed ones in pieces, left to right.

    A record that is held keeps the later ones of its key back: they are left out of the pieces that overtake it.
    """

    def __init__(self, *, size: int, linger: float) -> None:
        self._size = size
        self._linger = linger
        self._pieces: list[_Piece] = []
        self._fresh = Fresh()
        self._fresh_since = 0.0
        self._held: dict[int, float] = {}
        self._running: Attempt | None = None

    def add(self, ordinal: int, records: Sequence[Record], now: float) -> None:
        """Append records; a batch that is not full waits `linger` seconds from its first one."""
        if not self._fresh:
            self._fresh_since = now
        self._fresh.append(ordinal, records)

    def defer(self, ordinal: int, record: Record, now: float, *, until: float) -> None:
        """Append a record, held: others overtake it once it has come up."""
        self.add(ordinal, (record,), now)
        self._held[ordinal] = until

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
        for ordinal in attempt.ordinals if self._held else ():
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

    def drop(self, ordinal: int) -> None:
        """The held record is settled: its piece is gone."""
        self._held.pop(ordinal, None)
        self._pieces = [piece for piece in self._pieces if piece[0][0] != ordinal]

    def others(self, failing: Container[int]) -> bool:
        """Say whether a record without failures is under way, or not behind a failing one of its key."""
        if self._running is not None and any(each not in failing for each in self._running.ordinals):
            return True
        blocked = {record.key for piece in self._pieces for each, record in piece if each in failing}
        return any(record.key not in blocked for record in self._waiting())

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
            batch = self._cut(now)
            if not (self._pieces or self._held):
                self._running = batch
                return batch
            runnable, kept = self._part([*zip(batch.ordinals, batch.records, strict=True)], blocked, due)
            if kept:
                self._pieces.append(kept)
            if runnable:
                return self._start(runnable)
        return None

    def _waiting(self) -> Iterable[Record]:
        yield from self._fresh
        for piece in self._pieces:
            yield from (record for _, record in piece)

    def _cut(self, now: float) -> Attempt:
        self._fresh_since = now
        return self._fresh.cut(self._size)

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
