"""The checkpoint table in memory: rows of shards and workers, every write conditional (rules 1, 2, 12).

A request travels to the table, takes effect at one moment, and its answer travels back; a task cancelled on
the way does not know what happened, as in life. Troubles hit the writes sent next:

    throttled   nothing happens                          -> Throttled
    lost        it takes effect, the answer is lost      -> Unanswered
    late        it is still under way                    -> Unanswered; `land` lets it arrive
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import TYPE_CHECKING, Literal, TypeVar

from msgspec.structs import replace

from streamkit.core.items import Items
from streamkit.core.leasing import Member, ShardRow
from streamkit.errors import Cancelled, CorruptRow, DeclaredDead, Refused, Throttled, Unanswered

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from streamkit.core.transactions import Write as Item
    from streamkit.core.values import Image
    from streamkit.errors import StreamkitError
    from streamkit.ports import Registration

T = TypeVar("T")

Trouble = Literal["throttled", "lost", "late"]
Write = Literal["register", "add", "take", "write", "commit", "ask", "drop", "join", "beat", "bury", "forget"]


class MemoryTable:
    """`Registry`, `Leases`, `Requests` and `Members` over one set of rows; `Transactions` over `items`.

    `requests` counts calls by method. `outage`, where set, is raised by every request. `corrupt` names rows
    that do not read. `latency` returns the seconds of one way.
    """

    def __init__(self, *, latency: Callable[[], float] = float) -> None:
        self.shard_rows: dict[str, ShardRow] = {}
        self.worker_rows: dict[str, Member] = {}
        self.requests_made: dict[str, tuple[int, str]] = {}
        """What operators asked, by shard: of the owner of which epoch, and why."""
        self.registration: Registration | None = None
        self.items = Items()
        self.requests: Counter[str] = Counter()
        self.outage: StreamkitError | None = None
        self.corrupt: set[str] = set()
        self._latency = latency
        self._troubles: deque[tuple[Trouble, Write | None]] = deque()
        self._late: deque[Callable[[], object]] = deque()

    def __repr__(self) -> str:
        return f"<MemoryTable, {len(self.shard_rows)} shards, {len(self.worker_rows)} workers>"

    # -- situations

    def inject(self, trouble: Trouble, *, on: Write | None = None, times: int = 1) -> None:
        """Let the next writes, of this kind if given, run into trouble."""
        self._troubles.extend((trouble, on) for _ in range(times))

    def land(self) -> int:
        """Let the writes that are late arrive, in the order of sending. Return how many took effect."""
        landed = sum(_took_effect(effect) for effect in self._late)
        self._late.clear()
        return landed

    def steal(self, shard: str, *, by: str) -> ShardRow:
        """Give a shard to another owner, as its take would."""
        row = self.shard_rows[shard]
        return self._take(row, replace(row, owner=by, epoch=row.epoch + 1, token=f"stolen by {by}"))

    # -- Registry

    async def recorded(self) -> Registration | None:
        """Return what is recorded, if anything."""
        await self._asked("recorded")
        answer = self.registration
        await self._travel()
        return answer

    async def register(self, wanted: Registration) -> Registration:
        """Record the first registration; return it ever after."""
        return await self._written("register", lambda: self._register(wanted))

    def _register(self, wanted: Registration) -> Registration:
        if self.registration is None:
            self.registration = wanted
        return self.registration

    # -- Leases

    async def rows(self) -> Sequence[ShardRow]:
        """Return every shard row, by id."""
        await self._asked("rows")
        for shard in sorted(self.corrupt & self.shard_rows.keys()):
            msg = f"expected the row of a shard, got something else: {shard}"
            raise CorruptRow(msg)
        answer = [self._with_request(row) for _, row in sorted(self.shard_rows.items())]
        await self._travel()
        return answer

    def _with_request(self, row: ShardRow) -> ShardRow:
        epoch, why = self.requests_made.get(row.id, (0, ""))
        return replace(row, asked=why) if why and epoch == row.epoch else row

    async def ask(self, seen: ShardRow, why: str) -> None:
        """Note the request beside the row, if owner and epoch are those seen."""
        await self._written("ask", lambda: self._ask(seen, why))

    def _ask(self, seen: ShardRow, why: str) -> None:
        row = self.shard_rows.get(seen.id)
        if row is None or (row.owner, row.epoch) != (seen.owner, seen.epoch):
            raise Refused(row)
        self.requests_made[row.id] = (row.epoch, why)

    async def add(self, rows: Sequence[ShardRow]) -> None:
        """Make the rows that are missing."""
        await self._written("add", lambda: self._add(rows))

    def _add(self, rows: Sequence[ShardRow]) -> None:
        for row in rows:
            self.shard_rows.setdefault(row.id, row)

    async def take(self, seen: ShardRow, wanted: ShardRow) -> ShardRow:
        """Set owner, epoch and token, if owner and epoch are those seen; count the revision on, and add a death."""
        return await self._written("take", lambda: self._take(seen, wanted))

    def _take(self, seen: ShardRow, wanted: ShardRow) -> ShardRow:
        row = self.shard_rows.get(seen.id)
        if row is None or (row.owner, row.epoch) != (seen.owner, seen.epoch):
            raise Refused(row)
        died = wanted.deaths[-1:] if len(wanted.deaths) > len(seen.deaths) else ()
        taken = replace(row, owner=wanted.owner, epoch=wanted.epoch, token=wanted.token, revision=row.revision + 1)
        taken = replace(taken, deaths=(*row.deaths, *died))
        self.shard_rows[row.id] = taken
        return taken

    async def write(self, held: ShardRow, wanted: ShardRow, *, children: Sequence[ShardRow] = ()) -> None:
        """Replace the row and make the children, if owner, epoch and revision are those held.

        Raises `ValueError` if later conditions could not tell `wanted` from `held`: a slip of the caller.
        """
        _expect_next(held, wanted)
        await self._written("write", lambda: self._write(held, wanted, children))

    def _write(self, held: ShardRow, wanted: ShardRow, children: Sequence[ShardRow]) -> None:
        row = self.shard_rows.get(held.id)
        if row is None or (row.owner, row.epoch, row.revision) != (held.owner, held.epoch, held.revision):
            raise Refused(row)
        self.shard_rows[held.id] = wanted
        self._add(children)

    async def drop(self, ended: ShardRow) -> None:
        """Delete the row, if it is as it was seen."""
        await self._written("drop", lambda: self._drop(ended))

    def _drop(self, ended: ShardRow) -> None:
        row = self.shard_rows.get(ended.id)
        if row is not None and (row.state, row.epoch, row.revision) == (ended.state, ended.epoch, ended.revision):
            del self.shard_rows[ended.id]

    # -- Tables

    async def commit(self, held: ShardRow, wanted: ShardRow, writes: Sequence[Item]) -> None:
        """Replace the row and make the writes, or nothing; the row's own condition is looked at first."""
        _expect_next(held, wanted)
        await self._written("commit", lambda: self._commit(held, wanted, writes))

    def _commit(self, held: ShardRow, wanted: ShardRow, writes: Sequence[Item]) -> None:
        if self._is_as_held(held):
            if objections := self.items.objections(writes):
                raise Cancelled(objections, "the transaction was cancelled")
            self.items.apply(writes)
        self._write(held, wanted, ())

    def _is_as_held(self, lease: ShardRow) -> bool:
        row = self.shard_rows.get(lease.id)
        return row is not None and (row.owner, row.epoch, row.revision) == (lease.owner, lease.epoch, lease.revision)

    async def read(self, table: str, key: Image, attributes: Collection[str] | None) -> Image | None:
        """Return an item, or its key and these attributes of it."""
        await self._asked("read")
        answer = self.items.read(table, key, attributes)
        await self._travel()
        return answer

    async def key_names(self, table: str) -> Sequence[str]:
        """Return the names of the attributes that make the table's key."""
        return self.items.key_names(table)

    # -- Members

    async def members(self) -> Sequence[Member]:
        """Return every worker row, by worker."""
        await self._asked("members")
        answer = [member for _, member in sorted(self.worker_rows.items())]
        await self._travel()
        return answer

    async def join(self, member: Member) -> None:
        """Make the row, unless it is there. Raises `DeclaredDead` if it is not alive any more."""
        await self._written("join", lambda: self._join(member))

    def _join(self, member: Member) -> None:
        row = self.worker_rows.setdefault(member.worker, member)
        if row.state != "alive":
            raise _declared_dead(member, row)

    async def beat(self, member: Member) -> None:
        """Replace the row, if it is alive."""
        await self._written("beat", lambda: self._beat(member))

    def _beat(self, member: Member) -> None:
        row = self.worker_rows.get(member.worker)
        if row is None or row.state != "alive":
            raise _declared_dead(member, row)
        self.worker_rows[member.worker] = member

    async def bury(self, seen: Member) -> bool:
        """Declare the member dead, if it is alive and its counter the one seen."""
        return await self._written("bury", lambda: self._bury(seen))

    def _bury(self, seen: Member) -> bool:
        row = self.worker_rows.get(seen.worker)
        if row is None:
            return False
        if row.state == "alive" and row.counter == seen.counter:
            row = self.worker_rows[seen.worker] = replace(row, state="dead")
        return row.state == "dead"

    async def forget(self, seen: Member) -> None:
        """Remove the row if it is as seen and not alive. Raises `ValueError` for one seen alive."""
        if seen.state == "alive":
            raise ValueError(f"expected a member that died or left, got {seen}")
        await self._written("forget", lambda: self._forget(seen))

    def _forget(self, seen: Member) -> None:
        row = self.worker_rows.get(seen.worker)
        if row is not None and (row.state, row.counter) == (seen.state, seen.counter):
            del self.worker_rows[seen.worker]

    # -- the way to the table and back

    async def _asked(self, method: str) -> None:
        self.requests[method] += 1
        await self._travel()
        if self.outage is not None:
            raise self.outage

    async def _written(self, method: Write, effect: Callable[[], T]) -> T:
        trouble = self._next_trouble(method)
        await self._asked(method)
        if trouble == "throttled":
            msg = f"{method} came too fast"
            raise Throttled(msg)
        if trouble is not None:
            if trouble == "late":
                self._late.append(effect)
            else:
                _took_effect(effect)
            msg = f"no answer to {method}"
            raise Unanswered(msg)
        answer = effect()
        await self._travel()
        return answer

    def _next_trouble(self, method: Write) -> Trouble | None:
        for index, (trouble, on) in enumerate(self._troubles):
            if on in (None, method):
                del self._troubles[index]
                return trouble
        return None

    async def _travel(self) -> None:
        await asyncio.sleep(self._latency())


def _expect_next(held: ShardRow, wanted: ShardRow) -> None:
    if (wanted.id, wanted.revision) != (held.id, held.revision + 1):
        expected = f"{held.id} with revision {held.revision + 1}"
        raise ValueError(f"expected {expected}, got {wanted.id} with revision {wanted.revision}")


def _declared_dead(member: Member, row: Member | None) -> DeclaredDead:
    return DeclaredDead(f"the heartbeat row of {member.worker} is {'gone' if row is None else row.state}")


def _took_effect(effect: Callable[[], object]) -> bool:
    """Carry out a write whose answer nobody gets. Return whether its condition held."""
    try:
        effect()
    except (Refused, DeclaredDead):
        return False
    return True
