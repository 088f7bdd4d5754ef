"""One shard's lease, held by this worker: its one writer, one write at a time (rules 1, 4, 5)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec.structs import replace

from streamkit.engine.retry import FullJitter, insist
from streamkit.errors import LeaseLost, Refused, Throttled, Unanswered
from streamkit.events import CheckpointDelayed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamkit.core.leasing import ShardRow
    from streamkit.ports import Chance, Leases, Report


async def take(leases: Leases, seen: ShardRow, *, me: str, chance: Chance) -> ShardRow | None:
    """Try once to take a shard; return its row as it is from that moment, or None.

    None means that another was faster, or that no answer came: a take that was applied all the same leaves a row that
    names `me`, which the next tick takes anew.
    """
    wanted = replace(seen, owner=me, epoch=seen.epoch + 1, revision=seen.revision + 1, token=chance.token())
    try:
        return replace(await leases.take(seen, wanted), prefers=None)
    except (Refused, Throttled, Unanswered):
        return None


class Lease:
    """The right to write one shard's row."""

    def __init__(self, row: ShardRow, leases: Leases, *, chance: Chance, wait: FullJitter, report: Report) -> None:
        self.row = row
        self._leases = leases
        self._chance = chance
        self._wait = wait
        self._report = report
        self._writing = asyncio.Lock()
        self._unresolved: tuple[ShardRow, Sequence[ShardRow]] | None = None

    async def write(self, *, children: Sequence[ShardRow] = (), **changes: object) -> None:
        """Change the row; returning means it is durable. Waits for as long as the table does not answer.

        A write that was sent and not answered, or whose caller was cancelled, is in doubt: the very same write is sent
        again until it is known, before anything newer. Raises `LeaseLost`.
        """
        async with self._writing:
            await self._resolve()
            wanted = replace(self.row, revision=self.row.revision + 1, token=self._chance.token(), **changes)
            self._unresolved = (wanted, children)
            await self._resolve()

    async def _resolve(self) -> None:
        if self._unresolved is None:
            return
        wanted, children = self._unresolved
        await insist(lambda: self._send(wanted, children), self._wait, self._delayed)
        self.row, self._unresolved = wanted, None

    async def _send(self, wanted: ShardRow, children: Sequence[ShardRow]) -> None:
        try:
            await self._leases.write(self.row, wanted, children=children)
        except Refused as refused:
            if refused.row is not None and refused.row.token == wanted.token:
                return
            msg = f"{self.row!r} is now {refused.row!r}"
            raise LeaseLost(msg) from refused

    def _delayed(self, error: str, seconds: float) -> None:
        self._report(CheckpointDelayed(shard=self.row.id, error=error, delay_seconds=seconds))

    def __repr__(self) -> str:
        return repr(self.row)
