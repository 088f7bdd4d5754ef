"""What a mapping does with one batch, from its first invocation until the last record is settled or given up. Pure.

+---------------- batch -----------------+
|  settled  |  piece  |  piece  |  piece  |       invoked is always the first piece, and nothing beside it
+----------------------------------------+

all settled            -> the next piece
failed from record n   -> what is before n is settled; the rest is a new piece with a new budget of retries
failed as a whole      -> halved, if the mapping bisects, at no cost; else one retry less
no retry left          -> the piece is given up, good records behind the bad one included
too old                -> the expired records in front are given up
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Literal

import msgspec

from streamkit.core.records import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamkit.testing.mapping.answers import Verdict
    from streamkit.testing.mapping.terms import Terms

Condition = Literal["RetryAttemptsExhausted", "RecordAgeExceeded"]


class Discard(msgspec.Struct, frozen=True):
    """Records that a mapping gave up: what goes to its on-failure destination."""

    records: tuple[Record, ...]
    condition: Condition
    invocations: int
    """The document's `approximateInvokeCount`: counted anew after each piece of progress. For records too old it is
    one more than there were, also where there was none (recorded)."""
    error: str | None = None


class Step(msgspec.Struct, frozen=True):
    """What an invocation, or the passing of time, did."""

    settled: tuple[Record, ...] = ()
    discard: Discard | None = None


class _Piece(msgspec.Struct, frozen=True):
    records: tuple[Record, ...]
    invocations: int = 0


class Course:
    """One batch on its way. Ask for the `piece`, say how its invocation `ended`, until it is `over`."""

    def __init__(self, records: Sequence[Record], terms: Terms) -> None:
        self._terms = terms
        self._pieces = deque([_Piece(tuple(records))])

    def __repr__(self) -> str:
        waiting = [len(piece.records) for piece in self._pieces]
        return f"<Course, pieces of {waiting} records to go>"

    @property
    def over(self) -> bool:
        """Whether every record was settled or given up."""
        return not self._pieces

    @property
    def piece(self) -> tuple[Record, ...]:
        """The records to invoke next; none when it is over."""
        return self._pieces[0].records if self._pieces else ()

    def expired(self, before: float) -> Step:
        """Give up the records in front that arrived before a moment (epoch seconds)."""
        piece = self._pieces[0]
        young = (at for at, record in enumerate(piece.records) if record.arrived >= before)
        old = next(young, len(piece.records))
        if not old:
            return Step()
        self._replace(piece.records[old:])
        return Step(discard=Discard(piece.records[:old], "RecordAgeExceeded", piece.invocations + 1))

    def ended(self, verdict: Verdict) -> Step:
        """Take in how the invocation of `piece` ended."""
        piece = self._pieces[0]
        at = len(piece.records) if verdict.failed_from is None else verdict.failed_from
        if at:
            self._replace(piece.records[at:])
            return Step(settled=piece.records[:at])
        if self._terms.bisect_batch_on_function_error and not verdict.reported and len(piece.records) > 1:
            self._halve(piece.records)
            return Step()
        return self._retry(piece, verdict.error)

    def _retry(self, piece: _Piece, error: str | None) -> Step:
        tried = piece.invocations + 1
        if self._terms.maximum_retry_attempts in range(tried):
            self._pieces.popleft()
            return Step(discard=Discard(piece.records, "RetryAttemptsExhausted", tried, error))
        self._pieces[0] = _Piece(piece.records, tried)
        return Step()

    def _halve(self, records: tuple[Record, ...]) -> None:
        middle = len(records) // 2
        self._pieces.popleft()
        self._pieces.extendleft((_Piece(records[middle:]), _Piece(records[:middle])))

    def _replace(self, rest: tuple[Record, ...]) -> None:
        """Go on with what is left of the first piece, its retries counted anew."""
        self._pieces.popleft()
        if rest:
            self._pieces.appendleft(_Piece(rest))
