"""One shard: an ordered log that only grows at its end, is trimmed at its start, and may be closed."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, NamedTuple

from streamkit.testing.kinesis.limits import MOST_BYTES_READ, Limits, Quota
from streamkit.testing.kinesis.numbers import CLOSING_COUNTER, HashRange, sequence_number
from streamkit.testing.kinesis.values import (
    ChildShard,
    HashKeyRange,
    SequenceNumberRange,
    ShardDescription,
    Stored,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


class Slice(NamedTuple):
    """Consecutive records, the position to go on from, and the arrival of the last one while others wait behind."""

    records: list[Stored]
    position: int
    bytes: int
    waiting_since: float | None


class Shard:
    """A log of records with parallel columns, so that every search is a bisection.

    `era` is the second its numbers start with, `opened_at` and `closed_at` are epoch seconds. Positions are sequence
    numbers as integers and mean "from here on"; they stay valid when records are trimmed.
    """

    def __init__(self, index: int, keys: HashRange, *, era: int, opened_at: float, parents: Sequence[str] = ()) -> None:
        self.id = f"shardId-{index:012d}"
        self.index = index
        self.keys = keys
        self.era = era
        self.opened_at = opened_at
        self.closed_at: float | None = None
        self.parents = tuple(parents)
        self.children: list[ChildShard] = []
        self.first = self._number(counter=0, arrived=era)
        self._counter = 0
        self._numbers: list[int] = []
        self._arrivals: list[float] = []
        self._ends: list[int] = []
        """Bytes appended ever, up to and including each record."""
        self._records: list[Stored] = []
        self._appended_bytes = 0
        self._read_calls, self._read_bytes, self._written_records, self._written_bytes = (Quota() for _ in range(4))

    def __repr__(self) -> str:
        """Tell the state."""
        state = "open" if self.closed_at is None else "closed"
        return f"<Shard {self.id}, {state}, {len(self._records)} records kept>"

    @property
    def tip(self) -> int:
        """The position after the last record."""
        return self._numbers[-1] + 1 if self._numbers else self._number(counter=self._counter, arrived=self.era)

    def append(self, data: bytes, partition_key: str, *, now: float) -> Stored:
        """Store a record behind all others; arrival times never go back."""
        arrived = max(now, self._arrivals[-1] if self._arrivals else 0.0)
        self._counter += 1
        number = self._number(counter=self._counter, arrived=int(arrived))
        stored = Stored(str(number), arrived, data, partition_key)
        self._appended_bytes += len(data) + len(partition_key)
        self._numbers.append(number)
        self._arrivals.append(arrived)
        self._ends.append(self._appended_bytes)
        self._records.append(stored)
        return stored

    def read(self, position: int, *, horizon: float, limit: int) -> Slice:
        """Return what lies from `position` on and arrived after `horizon`: up to `limit` records or 10 MiB."""
        start = max(bisect_left(self._numbers, position), bisect_right(self._arrivals, horizon))
        if start == len(self._records):
            return Slice([], max(position, self.tip), 0, None)
        before = self._ends[start - 1] if start else self._ends[0] - self._weight(0)
        stop = min(start + limit, bisect_right(self._ends, before + MOST_BYTES_READ))  # no record is larger
        waiting_since = self._arrivals[stop - 1] if stop < len(self._records) else None
        after, weight = self._numbers[stop - 1] + 1, self._ends[stop - 1] - before
        return Slice(self._records[start:stop], after, weight, waiting_since)

    def at_time(self, moment: float) -> int:
        """Return the position of the first record that arrived at `moment` or later."""
        index = bisect_left(self._arrivals, moment)
        return self._numbers[index] if index < len(self._numbers) else self.tip

    def continuation(self, position: int) -> str:
        """Return the lowest number that the next record from `position` on has, or may have."""
        index = bisect_left(self._numbers, position)
        if index < len(self._numbers):
            return str(self._numbers[index])
        arrived = int(self._arrivals[-1]) if self._arrivals else self.era
        return str(self._number(counter=self._counter + 1, arrived=arrived))

    def trim(self, horizon: float) -> None:
        """Free records older than `horizon`, once they are half of all: `read` hides them anyway."""
        stale = bisect_right(self._arrivals, horizon)
        if stale * 2 < len(self._records):
            return
        for column in (self._numbers, self._arrivals, self._ends, self._records):
            del column[:stale]

    def close(self, now: float) -> None:
        """Take no more records."""
        self.closed_at = now

    def may_read(self, limits: Limits, now: float) -> bool:
        """Count a call of GetRecords, if one is left in this second."""
        allowed = self._read_calls.allows(1, rate=limits.read_calls, now=now) and self._read_bytes.allows(
            1, rate=limits.read_bytes, now=now
        )
        if allowed:
            self._read_calls.spend(1)
        return allowed

    def was_read(self, amount_bytes: int) -> None:
        """Count the bytes of an answer."""
        self._read_bytes.spend(amount_bytes)

    def may_write(self, size_bytes: int, limits: Limits, now: float) -> bool:
        """Count a record to append, if it still fits into this second."""
        records, weight = self._written_records, self._written_bytes
        allowed = records.allows(1, rate=limits.write_records, now=now) and weight.allows(
            size_bytes, rate=limits.write_bytes, now=now
        )
        if allowed:
            records.spend(1)
            weight.spend(size_bytes)
        return allowed

    @property
    def description(self) -> ShardDescription:
        """What listings say."""
        ending = None
        if self.closed_at is not None:
            ending = str(self._number(counter=CLOSING_COUNTER, arrived=int(self.closed_at)))
        return ShardDescription(
            self.id,
            wire(self.keys),
            SequenceNumberRange(str(self.first), ending),
            self.parents[0] if self.parents else None,
            self.parents[1] if len(self.parents) > 1 else None,
        )

    def _number(self, *, counter: int, arrived: int) -> int:
        return sequence_number(opened=self.era, shard=self.index, counter=counter, arrived=arrived)

    def _weight(self, index: int) -> int:
        record = self._records[index]
        return len(record.data) + len(record.partition_key)


def wire(keys: HashRange) -> HashKeyRange:
    """Write a range as AWS does."""
    return HashKeyRange(str(keys.start), str(keys.end))
