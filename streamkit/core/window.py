"""The window: which records of one shard are settled.

    settled ......... | frontier | .......... unsettled (some of it done, out of order)
                        ordinal `_settled`      up to ordinal `_admitted`

Every (sub)record admitted after the inherited frontier has an ordinal: 0, 1, 2 ... The frontier is the end of the
contiguous settled prefix; what is settled beyond it is the done set, kept as one bit a record (rule 17).
"""

from __future__ import annotations

from itertools import islice
from operator import attrgetter, lt
from typing import TYPE_CHECKING

from streamkit.core.kpl import DECODING
from streamkit.core.positions import Position, Progress

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from streamkit.core.records import Record

_HISTORY = 2
"""Settled records kept, so that the frontier and the place before it can be named."""
_SLACK = 1024
"""Settled records that may pile up before the lists are cut."""
_DIGITS = bytes.maketrans(b"\x00\x01", b"01")
_WHOLE = float("inf")


class Window:
    """Frontier and done set of one shard, from the progress a checkpoint carried."""

    def __init__(self, progress: Progress, *, decoding: int = DECODING) -> None:
        """`decoding` names the rules by which (sub)records are counted; bits of other rules are dropped."""
        self._decoding = decoding
        self._inherited = progress.frontier
        self._first = progress.first
        self._ahead = unpack(progress.done) if progress.decoding == decoding and progress.first else bytearray()
        self._records: list[Record] = []
        self._flags = bytearray()
        self._base = 0
        self._settled = 0
        self._admitted = 0
        self._floor = _floor(progress.frontier)

    def __len__(self) -> int:
        """Return how many records lie between the frontier and the last one admitted."""
        return self._admitted - self._settled

    @property
    def settled(self) -> int:
        """Return how many records the frontier has passed since this window was opened."""
        return self._settled

    @property
    def clear(self) -> bool:
        """Say whether everything admitted is settled."""
        return self._settled == self._admitted

    def extend(self, records: Sequence[Record]) -> int | None:
        """Give records that are all new consecutive ordinals; return the first.

        None, with nothing changed, where some may have been settled before: then `admit` looks at each.
        """
        if self._admitted < len(self._ahead) or not _ascend(records) or _place(records[0]) <= self._floor:
            return None
        first = self._admitted
        self._floor = _place(records[-1])
        self._admitted += len(records)
        self._records += records
        self._flags += bytes(len(records))
        return first

    def admit(self, record: Record) -> int | None:
        """Give the record its ordinal; None if it is a duplicate: at or below the frontier, read before, or done."""
        place = _place(record)
        if place <= self._floor:
            return None
        self._floor = place
        ordinal = self._admitted
        if ordinal == 0 and self._ahead and not self._is_first(record):
            self._ahead = bytearray()
        self._admitted += 1
        self._records.append(record)
        done = ordinal < len(self._ahead) and self._ahead[ordinal]
        self._flags.append(0)
        if not done:
            return ordinal
        self.settle(ordinal)
        return None

    def skip(self) -> None:
        """Records may be missing after the last one admitted, if there is one: what ran ahead was counted with them.

        Before the first one, it tells itself whether it is the one that is counted from (rule 17).
        """
        if self._admitted:
            del self._ahead[self._admitted :]

    def known(self, records: Sequence[Record]) -> int:
        """Return how many of these, up to the first that is none, would be duplicates if they were admitted now."""
        floor, ordinal = self._floor, self._admitted
        for count, record in enumerate(records):
            if (place := _place(record)) <= floor:
                continue
            misled = ordinal == 0 and not self._is_first(record)
            if misled or ordinal >= len(self._ahead) or not self._ahead[ordinal]:
                return count
            floor, ordinal = place, ordinal + 1
        return len(records)

    def settle(self, ordinal: int) -> None:
        """Mark the record; the frontier passes it as soon as everything before it is marked."""
        self._flags[ordinal - self._base] = 1
        if ordinal != self._settled:
            return
        index = self._flags.find(0, ordinal - self._base)
        self._settled = self._admitted if index < 0 else self._base + index
        if self._settled - self._base > _SLACK:
            cut = self._settled - self._base - _HISTORY
            del self._records[:cut]
            del self._flags[:cut]
            self._base += cut

    def is_settled(self, ordinal: int) -> bool:
        """Say whether the record is marked, or the frontier has passed it."""
        return ordinal < self._settled or bool(self._flags[ordinal - self._base])

    def settle_all(self, ordinals: Sequence[int]) -> None:
        """Mark these records, in ascending order: at one stroke if they are consecutive."""
        first, last = ordinals[0], ordinals[-1]
        if last - first + 1 != len(ordinals):
            for ordinal in ordinals:
                self.settle(ordinal)
            return
        self._flags[first + 1 - self._base : last + 1 - self._base] = b"\x01" * (last - first)
        self.settle(first)

    def record(self, ordinal: int) -> Record:
        """Return an admitted record that the frontier has not passed."""
        return self._records[ordinal - self._base]

    @property
    def edge(self) -> Record | None:
        """The record the frontier stands behind, if it was passed by this window."""
        return self._records[self._settled - 1 - self._base] if self._settled else None

    @property
    def frontier(self) -> Position | None:
        """The end of the contiguous settled prefix."""
        return self._place_before(self._settled)

    def unsettled(self) -> list[Record]:
        """Return the admitted records that are not settled, in stream order."""
        start = self._settled - self._base
        return [record for record, flag in zip(self._records[start:], self._flags[start:], strict=True) if not flag]

    def progress(self, also: Collection[int] = ()) -> Progress:
        """Return what a checkpoint has to carry; or would have to, once these ordinals were settled `also`.

        Bits taken over for records not read again yet are kept. They are counted from the first record after the
        frontier; where that one is not read yet, the frontier named here stays one record behind (never back).
        """
        start = self._settled
        flags = self._flags[start - self._base :] + self._ahead[self._admitted :]
        for ordinal in also:
            flags[ordinal - self._settled] = 1
        if also:
            start = self._passed(also)
            del flags[: start - self._settled]
        if start and start == self._admitted and any(flags):
            start -= 1
            flags = bytearray(b"\x01") + flags
        flags = flags.rstrip(b"\x00")
        if not flags:
            return Progress(frontier=self._place_before(start))
        first = self._first if start == self._admitted else _named(self.record(start))
        return Progress(frontier=self._place_before(start), first=first, done=pack(flags), decoding=self._decoding)

    def edge_after(self, also: Collection[int]) -> Record | None:
        """The record the frontier would stand behind, once these ordinals were settled too."""
        passed = self._passed(also)
        return self._records[passed - 1 - self._base] if passed else None

    def _passed(self, also: Collection[int]) -> int:
        """Return how many records the frontier would have passed, once these ordinals were settled too."""
        flags = self._flags[self._settled - self._base :]
        for ordinal in also:
            flags[ordinal - self._settled] = 1
        first = flags.find(0)
        return self._admitted if first < 0 else self._settled + first

    def _place_before(self, ordinal: int) -> Position | None:
        return self._records[ordinal - 1 - self._base].position if ordinal else self._inherited

    def _is_first(self, record: Record) -> bool:
        return self._first == _named(record)


def _named(record: Record) -> Position:
    return Position(record.sequence_number, record.subsequence)


_number, _last, _foreign = attrgetter("sequence_number"), attrgetter("last"), attrgetter("foreign")


def _ascend(records: Sequence[Record]) -> bool:
    """Say whether all are to be settled here and in ascending order; numbers of one length compare as texts do."""
    numbers = [*map(_number, records)]
    if len(set(map(len, numbers))) != 1 or any(map(_foreign, records)):
        return False
    if all(map(_last, records)):
        return all(map(lt, numbers, islice(numbers, 1, None)))
    places = [(each.sequence_number, _WHOLE if each.last else each.subsequence) for each in records]
    return all(map(lt, places, islice(places, 1, None)))


def _place(record: Record) -> tuple[int, float]:
    return record.sequence, _WHOLE if record.last else record.subsequence


def _floor(frontier: Position | None) -> tuple[int, float]:
    if frontier is None:
        return (-1, _WHOLE)
    return (int(frontier.sequence_number), _WHOLE if frontier.subsequence is None else frontier.subsequence)


def pack(flags: bytearray) -> bytes:
    """Return flags, one byte each and at least one of them set, as bits; bit i is bit i % 8 of byte i // 8."""
    bits = int(flags[::-1].translate(_DIGITS), 2)
    return bits.to_bytes((len(flags) + 7) // 8, "little")


def unpack(done: bytes) -> bytearray:
    """Return the flags of bits, up to the last that is set."""
    if not done:
        return bytearray()
    digits = f"{int.from_bytes(done, 'little'):b}".encode()
    return bytearray(digits[::-1].translate(bytes.maketrans(b"01", b"\x00\x01")))
