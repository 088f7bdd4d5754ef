"""What happened, in order: enough to read, to compare two runs, and to know that a fault was seen at all."""

from __future__ import annotations

from collections import Counter, deque
from hashlib import blake2b
from typing import NamedTuple


class Happening(NamedTuple):
    """One thing that happened, at a virtual second, in a process or service."""

    at: float
    who: str
    what: str

    def __str__(self) -> str:
        return f"{self.at:9.3f}  {self.who:<12} {self.what}"


class History:
    """The latest happenings, a digest of all, and a count of each kind of fault and recovery."""

    def __init__(self, *, keep: int) -> None:
        self.latest: deque[Happening] = deque(maxlen=keep)
        self.seen: Counter[str] = Counter()
        self._digest = blake2b(digest_size=16)
        self.length = 0

    def note(self, at: float, who: str, what: str) -> None:
        """Append."""
        self.length += 1
        self.latest.append(Happening(at, who, what))
        self._digest.update(f"{at:.6f} {who} {what}\n".encode())

    def saw(self, what: str) -> None:
        """Count a fault or a way to recover."""
        self.seen[what] += 1

    @property
    def digest(self) -> str:
        """Names the whole history: equal runs have equal digests."""
        return self._digest.hexdigest()
