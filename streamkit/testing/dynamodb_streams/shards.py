"""One shard of a table's stream: its keys, its changes, its life of four hours."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Final

from streamkit.core.lineage import Shard

ROLL_SECONDS: Final = 4 * 3600.0
RETENTION_SECONDS: Final = 24 * 3600.0
KEYS: Final = 2**32
"""Hashes of keys are below this; each open shard has a range of them."""


@dataclass(slots=True)
class StoredShard:
    """A shard with what is in it. Times are seconds since the epoch."""

    id: str
    parent: str | None
    keys: tuple[int, int]
    """First and last hash, inclusive."""
    opened: float
    first: int
    """No change of it has a lower sequence number."""
    closed: float | None = None
    last: int | None = None
    """Once closed: no change of it has a higher sequence number."""
    trimmed: int = 0
    """The highest sequence number that was dropped."""
    numbers: list[int] = field(default_factory=list[int])
    changes: list[tuple[float, bytes]] = field(default_factory=list[tuple[float, bytes]])
    """When each was written, and its JSON."""

    def holds(self, key_hash: int) -> bool:
        """Whether changes of this key come here."""
        return self.keys[0] <= key_hash <= self.keys[1]

    def append(self, number: int, written: float, data: bytes) -> None:
        """Take the next change."""
        self.numbers.append(number)
        self.changes.append((written, data))

    def close(self, now: float, number: int) -> None:
        """Take no more."""
        self.closed, self.last = now, number

    def trim(self, before: float) -> None:
        """Drop what was written before a moment."""
        count = bisect_left(self.changes, before, key=lambda change: change[0])
        if count:
            self.trimmed = self.numbers[count - 1]
            del self.numbers[:count], self.changes[:count]

    def gone(self, before: float) -> bool:
        """Whether nothing of it is left, nor will come."""
        return self.closed is not None and self.closed < before and not self.numbers

    def since(self, number: int, limit: int) -> tuple[list[bytes], int | None]:
        """Return up to `limit` changes from a number on, and the number to go on from: None at the end of the shard."""
        at = bisect_left(self.numbers, number)
        found = [data for _, data in self.changes[at : at + limit]]
        more = at + len(found) < len(self.numbers)
        if self.closed is not None and not more:
            return found, None
        return found, self.numbers[at + len(found) - 1] + 1 if found else number

    def described(self) -> dict[str, object]:
        """Return the shard as DescribeStream has it."""
        numbers = {"StartingSequenceNumber": str(self.first)}
        if self.last is not None:
            numbers["EndingSequenceNumber"] = str(self.last)
        parent = {} if self.parent is None else {"ParentShardId": self.parent}
        return {"ShardId": self.id, "SequenceNumberRange": numbers, **parent}

    def listed(self) -> Shard:
        """Return the shard as the ports have it."""
        return Shard(self.id, () if self.parent is None else (self.parent,))
