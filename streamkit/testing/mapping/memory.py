"""What functions remember, in memory: the rows and conditions of the checkpoint table (`streamkit.aws.memory`)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from streamkit.core.memory import Cell, Memo, ShardCell, SlotCell
from streamkit.errors import Overtaken, Undelivered
from streamkit.ports import Claimed
from streamkit.testing.mapping.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamkit.core.letters import Letter
    from streamkit.testing.memory import MemoryDeadLetters

_Row = tuple[str, str, int, int, str]
"""Stream, shard, slot, latest arrival in milliseconds, token; of a shard's one row the last three say nothing."""


class FunctionMemory:
    """A `Memory` over rows that all containers share."""

    def __init__(self, wire: Wire | None = None) -> None:
        self.rows: dict[_Row, Memo] = {}
        self.wire = wire or Wire()

    def __repr__(self) -> str:
        return f"<FunctionMemory, {len(self.rows)} memos>"

    async def claim(self, cell: Cell, memo: Memo, *, now: float) -> Claimed:
        """Make the claim durable, unless one that lives at `now` holds its row."""
        if isinstance(cell, ShardCell):
            return await self.wire.ask("claim", lambda: self._take(cell, memo, now))
        await self.wire.ask("claim", lambda: self.rows.setdefault(_row(cell, memo), memo))
        others = [each for each in await self.near(cell) if each.token != memo.token]
        return Claimed(placed=True, revision=memo.revision, memos=others)

    async def near(self, cell: Cell) -> Sequence[Memo]:
        """Return what deliveries left that may share records with one of this cell."""
        return await self.wire.ask("near", lambda: self._near(cell))

    async def write(self, cell: Cell, memo: Memo) -> None:
        """Replace the delivery's own memo, of the revision before this one. Raises `Overtaken`."""
        await self.wire.ask("write", lambda: self._write(_row(cell, memo), memo))

    async def forget(self, cell: Cell, memos: Sequence[Memo]) -> None:
        """Remove memos of this cell, unless they were written since."""
        for memo in memos:
            await self.wire.ask("forget", partial(self._forget, _row(cell, memo), memo))

    def _take(self, cell: ShardCell, memo: Memo, now: float) -> Claimed:
        row = _row(cell, memo)
        before = self.rows.get(row)
        if before is None:
            self.rows[row] = replace(memo, revision=1)
            return Claimed(placed=True, revision=1, memos=())
        again = before.token == memo.token
        if before.lives(now) and not again:
            return Claimed(placed=False, revision=0, memos=[before])
        revision = before.revision + 1
        self.rows[row] = replace(memo, revision=revision, trouble=before.trouble, known=before.known)
        return Claimed(placed=True, revision=revision, memos=[replace(before, until=None) if again else before])

    def _near(self, cell: Cell) -> list[Memo]:
        if isinstance(cell, ShardCell):
            found = self.rows.get((cell.stream, cell.shard, -1, 0, ""))
            return [] if found is None else [found]
        since = int(cell.earliest * 1000)
        slot = (cell.stream, cell.shard, cell.slot)
        return [memo for row, memo in sorted(self.rows.items(), key=_key) if row[:3] == slot and row[3] >= since]

    def _write(self, row: _Row, memo: Memo) -> None:
        there = self.rows.get(row)
        if there is None or there.token != memo.token or there.revision not in (memo.revision - 1, memo.revision):
            raise Overtaken(f"expected the claim of this delivery, got {there}")
        self.rows[row] = memo

    def _forget(self, row: _Row, memo: Memo) -> None:
        there = self.rows.get(row)
        if there is not None and (there.token, there.revision) == (memo.token, memo.revision):
            del self.rows[row]


class Outbox:
    """A `DeadLetters` over a queue in memory. Where the wire loses an answer, the letter may be there twice."""

    def __init__(self, letters: MemoryDeadLetters, wire: Wire) -> None:
        self._letters = letters
        self._wire = wire

    async def send(self, letters: Sequence[Letter]) -> None:
        """Keep the letters. Raises `Undelivered`, `Throttled`, `Unanswered`."""

        def effect() -> None:
            self._letters.requests += 1
            if self._letters.outage:
                raise Undelivered(letters, "the queue is down")
            self._letters.letters.extend(letters)

        await self._wire.ask("send", effect)


def _row(cell: Cell, memo: Memo) -> _Row:
    if isinstance(cell, SlotCell):
        return cell.stream, cell.shard, cell.slot, int(cell.latest * 1000), memo.token
    return cell.stream, cell.shard, -1, 0, ""


def _key(item: tuple[_Row, Memo]) -> _Row:
    return item[0]
