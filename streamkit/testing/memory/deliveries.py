"""What functions remember, in memory: a `Memory`, each request at one moment (rule 24)."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import TYPE_CHECKING, Literal, TypeVar

from msgspec.structs import replace

from streamkit.core.memory import Cell, Memo, ShardCell, SlotCell
from streamkit.errors import Overtaken, Throttled, Unanswered
from streamkit.ports import Claimed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamkit.errors import WorldError

T = TypeVar("T")

Trouble = Literal["throttled", "lost", "late"]
Request = Literal["claim", "near", "write", "forget"]


class MemoryDeliveries:
    """Memos by cell. `requests` counts what was asked, by kind; a claim of a slot is a claim and a look.

    `outage`, where set, is raised by every request. Troubles hit the requests sent next:

        throttled   nothing happens                          -> Throttled
        lost        it takes effect, the answer is lost      -> Unanswered
        late        it is still under way                    -> Unanswered; `land` lets it arrive
    """

    def __init__(self, *, latency: Callable[[], float] = float) -> None:
        self.shards: dict[tuple[str, str], Memo] = {}
        self.slots: dict[tuple[str, str, int], dict[str, tuple[float, Memo]]] = {}
        self.requests: Counter[str] = Counter()
        self.outage: WorldError | None = None
        self._latency = latency
        self._troubles: deque[tuple[Trouble, Request | None]] = deque()
        self._late: deque[Callable[[], object]] = deque()

    def __repr__(self) -> str:
        return f"<MemoryDeliveries, {len(self.shards)} shards, {sum(map(len, self.slots.values()))} deliveries>"

    def memos(self) -> list[Memo]:
        """Return everything that is remembered."""
        return [*self.shards.values(), *(memo for slot in self.slots.values() for _, memo in slot.values())]

    def inject(self, trouble: Trouble, *, on: Request | None = None, times: int = 1) -> None:
        """Let the next requests, of this kind if given, run into trouble."""
        self._troubles.extend((trouble, on) for _ in range(times))

    def land(self) -> int:
        """Let the requests that are late arrive, in the order of sending. Return how many took effect."""
        landed = 0
        while self._late:
            try:
                self._late.popleft()()
            except Overtaken:
                continue
            landed += 1
        return landed

    async def claim(self, cell: Cell, memo: Memo, *, now: float) -> Claimed:
        """Make the claim durable, unless one that lives at `now` holds its row."""
        if isinstance(cell, ShardCell):
            return await self._asked("claim", lambda: self._claim_shard(cell, memo, now))
        await self._asked("claim", lambda: self._slot(cell).setdefault(memo.token, (cell.latest, memo)))
        others = [each for each in await self.near(cell) if each.token != memo.token]
        return Claimed(placed=True, revision=memo.revision, memos=others)

    async def near(self, cell: Cell) -> Sequence[Memo]:
        """Return what deliveries left that may share records with one of this cell."""
        return await self._asked("near", lambda: self._near(cell))

    async def write(self, cell: Cell, memo: Memo) -> None:
        """Replace the delivery's own memo, of the revision before this one. Raises `Overtaken`."""
        await self._asked("write", lambda: self._write(cell, memo))

    async def forget(self, cell: Cell, memos: Sequence[Memo]) -> None:
        """Remove memos of this cell, unless they were written since."""
        for memo in memos:
            await self._asked("forget", lambda memo=memo: self._forget(cell, memo))  # type: ignore[misc]

    # What happens in the table

    def _claim_shard(self, cell: ShardCell, memo: Memo, now: float) -> Claimed:
        key = cell.stream, cell.shard
        before = self.shards.get(key)
        if before is None:
            self.shards[key] = replace(memo, revision=1)
            return Claimed(placed=True, revision=1, memos=())
        if before.token == memo.token:  # the same claim, sent before
            placed = before.until is not None
            return Claimed(placed=placed, revision=before.revision, memos=[replace(before, until=None)])
        if before.lives(now):
            return Claimed(placed=False, revision=0, memos=[before])
        revision = before.revision + 1
        taken = replace(before, token=memo.token, since=memo.since, until=memo.until, revision=revision)
        self.shards[key] = replace(taken, moved=False, mark=())
        return Claimed(placed=True, revision=revision, memos=[before])

    def _near(self, cell: Cell) -> list[Memo]:
        if isinstance(cell, ShardCell):
            memo = self.shards.get((cell.stream, cell.shard))
            return [memo] if memo else []
        return [memo for latest, memo in self._slot(cell).values() if latest >= cell.earliest]

    def _write(self, cell: Cell, memo: Memo) -> None:
        there = self._there(cell, memo)
        if there is None or (there.token, there.revision) not in (
            (memo.token, memo.revision - 1),
            (memo.token, memo.revision),
        ):
            raise Overtaken(f"expected the claim of this delivery, got {there!r}")
        if there.revision == memo.revision:
            return
        if isinstance(cell, ShardCell):
            self.shards[cell.stream, cell.shard] = memo
        else:
            self._slot(cell)[memo.token] = (cell.latest, memo)

    def _forget(self, cell: Cell, memo: Memo) -> None:
        there = self._there(cell, memo)
        if there is None or (there.token, there.revision) != (memo.token, memo.revision):
            return
        if isinstance(cell, ShardCell):
            del self.shards[cell.stream, cell.shard]
        else:
            del self._slot(cell)[memo.token]

    def _there(self, cell: Cell, memo: Memo) -> Memo | None:
        if isinstance(cell, ShardCell):
            return self.shards.get((cell.stream, cell.shard))
        return self._slot(cell).get(memo.token, (0.0, None))[1]

    def _slot(self, cell: SlotCell) -> dict[str, tuple[float, Memo]]:
        return self.slots.setdefault((cell.stream, cell.shard, cell.slot), {})

    # The way there and back

    async def _asked(self, request: Request, effect: Callable[[], T]) -> T:
        self.requests[request] += 1
        await self._travel()
        if self.outage is not None:
            raise self.outage
        trouble = self._trouble(request)
        if trouble == "throttled":
            raise Throttled("the table is busy")
        if trouble == "late":
            self._late.append(effect)
            raise Unanswered("still under way")
        answer = effect()
        await self._travel()
        if trouble == "lost":
            raise Unanswered("the answer was lost")
        return answer

    def _trouble(self, request: Request) -> Trouble | None:
        if not self._troubles or self._troubles[0][1] not in (None, request):
            return None
        return self._troubles.popleft()[0]

    async def _travel(self) -> None:
        await asyncio.sleep(self._latency())
