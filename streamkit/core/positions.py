"""Places in a shard: where to start, and how far it is settled."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import msgspec

MAX_DIGITS = 129
"""AWS allows sequence numbers of up to 129 digits (SequenceNumber pattern of the Kinesis API)."""


class Position(msgspec.Struct, frozen=True):
    """The place just after a record: everything up to and including it is behind.

    `subsequence` is None where all user records of the sequence number are behind.
    """

    sequence_number: str
    subsequence: int | None = None

    @property
    def place(self) -> tuple[int, float]:
        """What positions of one shard are ordered by."""
        return int(self.sequence_number), float("inf") if self.subsequence is None else self.subsequence

    def covers(self, sequence: int, subsequence: int) -> bool:
        """Say whether the (sub)record lies at or below this place."""
        mine = int(self.sequence_number)
        if sequence != mine:
            return sequence < mine
        return self.subsequence is None or subsequence <= self.subsequence

    def stored(self) -> str:
        """Return a string that sorts like the number: DynamoDB numbers hold 38 digits only (rule 17)."""
        significant = self.sequence_number.lstrip("0") or "0"
        tail = "" if self.subsequence is None else f"+{self.subsequence}"
        return f"{len(significant):03d}:{self.sequence_number}{tail}"

    @classmethod
    def parse(cls, stored: str) -> Position:
        """Read `stored` back. Raises `ValueError` for anything else."""
        length, _, rest = stored.partition(":")
        number, plus, subsequence = rest.partition("+")
        if not _digits(number) or (plus and not _digits(subsequence)):
            msg = f"expected a position like '056:4959...' or '056:4959...+3', got {stored[:80]!r}"
            raise ValueError(msg)
        position = cls(number, int(subsequence) if plus else None)
        if position.stored() != stored:
            msg = f"expected the length {len(number.lstrip('0') or '0'):03d} before the number, got {length[:80]!r}"
            raise ValueError(msg)
        return position


def _digits(text: str) -> bool:
    """Say whether the text is a number that Python converts at any length it may have here."""
    return text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS


class Progress(msgspec.Struct, frozen=True):
    """How far a shard is settled, as the checkpoint carries it (rule 17).

    Bit i of `done` (little-endian: bit i % 8 of byte i // 8) is the i-th (sub)record after the frontier.
    """

    frontier: Position | None = None
    """The end of the contiguous settled prefix; None while nothing is settled."""
    first: Position | None = None
    """The first (sub)record after the frontier; None where `done` is empty. Names it by number and subsequence."""
    done: bytes = b""
    decoding: int = 0
    """Version of the rules by which (sub)records are counted; with another version the bits mean nothing."""


class Since(msgspec.Struct, frozen=True):
    """Start at the first record that arrived at or after a moment (seconds since the epoch, service's clock)."""

    epoch: float

    @property
    def at(self) -> datetime:
        """The moment, in UTC."""
        return datetime.fromtimestamp(self.epoch, UTC)


Start = Literal["TRIM_HORIZON"] | Since
"""Where a shard without a frontier begins."""

Place = Start | Position
"""Where a reader is opened."""
