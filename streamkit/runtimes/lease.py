"""One shard's lease, held by this worker: its one writer, one write at a time (rules 1, 4, 5)."""

from __future__ import annotations

import asyncio
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from streamkit.core.quarantine import MOST
from streamkit.engine.retry import FullJitter, insist
from streamkit.errors import Cancelled, LeaseLost, Refused, Throttled, Unanswered, WorldError
from streamkit.events import CheckpointDelayed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from streamkit.core.leasing import ShardRow
    from streamkit.core.quarantine import Death
    from streamkit.ports import Chance, Leases, Report


async def take(
    leases: Leases, seen: ShardRow, *, me: str, chance: Chance, died: Death | None = None
) -> ShardRow | None:
    """Try once to take a shard; return its row as it is from that moment, or None.

    `died` tells of its owner's death: its shards are free, and it may be one of their records that killed it (rule 22).

    None means that another was faster, or that no answer came: a take that was applied all the same leaves a row that
    names `me`, which the next tick takes anew.
    """
    wanted = replace(seen, owner=me, epoch=seen.epoch + 1, revision=seen.revision + 1, token=chance.token())
    if died is not None and len(seen.deaths) < MOST:
        wanted = replace(wanted, deaths=(*seen.deaths, died))
    try:
        return replace(await leases.take(seen, wanted), prefers=None)
    except (Refused, Throttled, Unanswered):
        return None


@dataclass(frozen=True, slots=True)
class Step:
    """One change of the row, with what has to happen in the same transaction."""

    changes: Mapping[str, object]
    _: KW_ONLY
    children: Sequence[ShardRow] = ()
    send: Callable[[ShardRow, ShardRow], Awaitable[None]] | None = None
    """How the row is replaced by the wanted one, if not by a write of its own (`ports.Transactions.commit`)."""
    may_send: Callable[[], bool] = lambda: True
    """Asked right before each request: once it says no, nothing is sent any more."""
    applied: Callable[[], None] = lambda: None
    """Called when it is known to be durable, with no await between that and the end of the write."""


class _Pending:
    """A step on its way."""

    __slots__ = ("doubtful", "step", "wanted")

    def __init__(self, wanted: ShardRow, step: Step) -> None:
        self.wanted = wanted
        self.step = step
        self.doubtful = False
        """Whether a request of it may still be under way."""


class Lease:
    """The right to write one shard's row."""

    def __init__(self, row: ShardRow, leases: Leases, *, chance: Chance, wait: FullJitter, report: Report) -> None:
        self.row = row
        self._leases = leases
        self._chance = chance
        self._wait = wait
        self._report = report
        self._writing = asyncio.Lock()
        self._unresolved: _Pending | None = None

    async def write(self, *, children: Sequence[ShardRow] = (), **changes: object) -> None:
        """Change the row; returning means it is durable. Waits for as long as the table does not answer.

        A write that was sent and not answered, or whose caller was cancelled, is in doubt: the very same write is sent
        again until it is known, before anything newer. Raises `LeaseLost`.
        """
        await self.commit(lambda: Step(changes, children=children))

    async def commit(self, make: Callable[[], Step]) -> None:
        """Take a step that `make` returns once everything before it is known; returning means it is durable.

        Raises `LeaseLost`; and `Cancelled` if nothing of it happened, nor ever will, for its own writes' sake.
        """
        async with self._writing:
            await self._resolve()
            wanted = self._after(step := make())
            self._unresolved = mine = _Pending(wanted, step)
            await self._resolve(mine)

    def _after(self, step: Step) -> ShardRow:
        return replace(self.row, revision=self.row.revision + 1, token=self._chance.token(), **step.changes)

    async def _resolve(self, mine: _Pending | None = None) -> None:
        """Find out what became of the step on its way. That one was cancelled is told to whoever took it only."""
        pending = self._unresolved
        if pending is None:
            return
        try:
            await insist(lambda: self._send(pending), self._wait, self._delayed)
        except Cancelled:
            if not (pending.doubtful and await self._has_happened(pending)):
                self._unresolved = None
                if pending is mine:
                    raise
                return
        self.row, self._unresolved = pending.wanted, None
        pending.step.applied()

    async def _send(self, pending: _Pending) -> None:
        """Send it; what came of it is in doubt until there is an answer that settles it."""
        wanted, before = pending.wanted, pending.doubtful
        if not pending.step.may_send():
            msg = f"{self.row!r} may be another's by now"
            raise LeaseLost(msg)
        pending.doubtful = True
        try:
            await self._write(wanted, pending.step)
        except (Cancelled, Throttled):
            pending.doubtful = before
            raise
        except Refused as refused:
            if refused.row is not None and refused.row.token == wanted.token:
                return
            msg = f"{self.row!r} is now {refused.row!r}"
            raise LeaseLost(msg) from refused
        except WorldError as error:
            if before or pending.step.send is None or isinstance(error, Unanswered):
                raise
            pending.doubtful = False
            raise Cancelled({}, str(error)) from error

    async def _write(self, wanted: ShardRow, step: Step) -> None:
        if step.send is not None:
            await step.send(self.row, wanted)
        else:
            await self._leases.write(self.row, wanted, children=step.children)

    async def _has_happened(self, pending: _Pending) -> bool:
        """Find out whether a cancelled step has taken effect after all, and see to it that it cannot any more.

        An earlier request of it was not answered, so it may be under way still: a new revision of the row stops it.
        Raises `LeaseLost`.
        """
        sealed = replace(self.row, revision=self.row.revision + 1, token=self._chance.token())
        try:
            await insist(lambda: self._leases.write(self.row, sealed), self._wait, self._delayed)
        except Refused as refused:
            token = refused.row.token if refused.row else ""
            if token == pending.wanted.token:
                return True
            if token != sealed.token:
                msg = f"{self.row!r} is now {refused.row!r}"
                raise LeaseLost(msg) from refused
        self.row = sealed
        return False

    def _delayed(self, error: str, seconds: float) -> None:
        self._report(CheckpointDelayed(shard=self.row.id, error=error, delay_seconds=seconds))

    def __repr__(self) -> str:
        return repr(self.row)
