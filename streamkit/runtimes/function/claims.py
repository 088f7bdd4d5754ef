"""The claim of one delivery on its records: taken before anything runs, renewed while it works, settled at the end.

    claim, then look at the others --> a twin lives: withdraw, wait, again
            |
            '--> nobody: run; write now and then what is settled; at the end write it and let go

Claims are durable before the others' are looked at. So of two that share records one at least sees the other, and
whoever sees one withdraws: no two deliveries of a record run at the same time. Safety is in the order of requests;
clocks only say how long a claim is believed that nobody renews.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec.structs import replace

from streamkit.core.memory import (
    Cell,
    Digests,
    Memo,
    Recollection,
    ShardCell,
    SlotCell,
    Stretches,
    Trouble,
    joined,
    named,
    place,
    slots,
)
from streamkit.errors import Throttled, Unanswered
from streamkit.events import DeliveryDeferred, MemoryDelayed
from streamkit.runtimes.fence import Fence

if TYPE_CHECKING:
    from streamkit.core.memory import Halt
    from streamkit.core.positions import Progress
    from streamkit.core.records import Record
    from streamkit.ports import Chance, Clock, Halts, Memory, Report
    from streamkit.runtimes.function.deadline import Deadline
    from streamkit.runtimes.function.events import Part

T = TypeVar("T")

_LOOK_SECONDS = 0.2
"""The first pause between looks at a twin, doubling; half of each is chance."""
_LONGEST_LOOK_SECONDS = 2.0
_PASSED_SECONDS = 60.0
"""So long after a delivery one of earlier records, not remembered, is taken for a twin that starts late."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How claims are made."""

    memory: Memory
    halts: Halts
    clock: Clock
    chance: Chance
    report: Report
    lease: float
    """Seconds for which a claim is believed that is not renewed."""
    in_turn: bool
    """Whether batches of a shard come one after the other: the declared parallelization factor is 1."""
    decoding: int


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How far a delivery is: what its memos are made of."""

    progress: Progress
    unsettled: Sequence[Record]
    trouble: Trouble
    moved: bool
    mark: tuple[str, ...] = ()


class Claims:
    """All claims of one delivery of one part."""

    def __init__(self, part: Part, deadline: Deadline, terms: Terms) -> None:
        self._part = part
        self._deadline = deadline
        self._terms = terms
        self._token = terms.chance.token()
        self._shares = list(_shares(part, in_turn=terms.in_turn))
        self._writing = asyncio.Lock()
        self._fence = Fence(lease=terms.lease, clock=terms.clock)
        self.epoch = 0
        """When the claim was made: later deliveries of a record have later ones. Milliseconds since the epoch."""
        self.blocked = False
        """Whether a twin stands in the way."""
        self.passed = False
        """Whether the mapping went on, just now or while this delivery waited: nobody listens to it any more."""

    @property
    def fence(self) -> Fence:
        """Whether a handler may start: looked at right before each (rule 3). Another one with each claim."""
        return self._fence

    def drop(self) -> None:
        """Start nothing more: another delivery has the records."""
        self._fence.drop()

    async def take(self) -> Recollection:
        """Claim the records, however long others are at work on them; return what is known of them."""
        waited = False
        while not await self._placed():
            waited = True
            await self._withdraw()
            if not self.blocked:
                first = self._part.records[0].sequence_number
                self._terms.report(DeliveryDeferred(shard=self._part.shard, sequence=first))
            self.blocked = True
            await self._others_to_end()
        self.blocked = False
        now, decoding = self._now(), self._terms.decoding
        self.passed = any(share.passed(decoding, waited=waited, now=now) for share in self._shares)
        shares = [
            (share.indexes, Recollection.of(share.found, share.records, now=now, decoding=decoding))
            for share in self._shares
        ]
        return joined(shares, len(self._part.records))

    async def save(self, standing: Standing, *, ends: bool = False, until: float | None = None) -> None:
        """Make it durable how far the delivery is, and renew the claim; or let it go, if it `ends`.

        `until` (seconds since the epoch) lets it hold for so long only. Raises `Overtaken`.
        """
        async with self._writing:
            sent = self._terms.clock.monotonic()
            holds = None if ends else until or self._until()
            for share in self._shares:
                await self._resolve(share)
                share.unresolved = share.after(standing, until=holds, now=self._now())
                await self._resolve(share)
            self._fence.confirm(sent)
            for share in self._shares:
                await self._tidy(share)

    async def halt(self, halt: Halt) -> None:
        """Make it durable that the delivery stands still until a person acts."""
        await self._insist(partial(self._terms.halts.halt, halt))

    async def halted(self, name: str) -> Halt | None:
        """Return the halt of this name, if nobody has lifted it."""
        return await self._insist(partial(self._terms.halts.stands, name))

    # Claiming

    async def _placed(self) -> bool:
        """Claim each share; say whether all claims stand and nobody else is at work on any of the records."""
        self._fence = Fence(lease=self._terms.lease, clock=self._terms.clock)
        since = self._now()
        self.epoch = int(since * 1000)
        for share in self._shares:
            wanted = share.claim(self._token, since=since, until=self._until())
            answer = await self._insist(partial(self._terms.memory.claim, share.cell, wanted, now=self._now()))
            share.found = answer.memos
            share.memo = replace(wanted, revision=answer.revision) if answer.placed else None
            if not answer.placed or (not share.in_turn and self._twins(share, answer.memos)):
                return False  # in turn: the row is ours, or it is not
        return True

    async def _others_to_end(self) -> None:
        """Return once nobody seems to be at work on the records any more."""
        pause = _LOOK_SECONDS
        while True:
            await asyncio.sleep(pause * (0.5 + self._terms.chance.fraction() / 2))
            pause = min(_LONGEST_LOOK_SECONDS, 2 * pause)
            for share in self._shares:
                if self._twins(share, await self._insist(partial(self._terms.memory.near, share.cell))):
                    break
            else:
                return

    def _twins(self, share: _Share, memos: Sequence[Memo]) -> bool:
        now = self._now()
        return any(memo.lives(now) and memo.known.shares(share.records) for memo in memos)

    async def _withdraw(self) -> None:
        for share in self._shares:
            if share.memo is not None:
                await self._insist(partial(self._terms.memory.forget, share.cell, [share.memo]))
                share.memo = None
        self._token = self._terms.chance.token()  # a claim that lands only now must not be taken for the next one

    # Writing

    async def _resolve(self, share: _Share) -> None:
        """Write what is to be written; what is in doubt is written again, to the byte, before anything newer."""
        if share.unresolved is None:
            return
        await self._insist(partial(self._terms.memory.write, share.cell, share.unresolved))
        share.memo, share.unresolved = share.unresolved, None

    async def _tidy(self, share: _Share) -> None:
        """Remove the memos of earlier deliveries whose records are all in this one's memo, durable by now."""
        outdated = [memo for memo in share.found if memo.known.within(share.records)]
        if outdated:
            await self._insist(partial(self._terms.memory.forget, share.cell, outdated))
            share.found = [memo for memo in share.found if memo not in outdated]

    async def _insist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Return what a request returns, sending it for as long as the table does not answer."""
        try:
            return await call()
        except (Throttled, Unanswered) as error:
            self._delayed(type(error).__name__, 0.0)
        from streamkit.engine.retry import FullJitter, insist

        wait = FullJitter(initial=timedelta(seconds=0.1), maximum=timedelta(seconds=2), chance=self._terms.chance)
        return await insist(call, wait, self._delayed)

    def _delayed(self, error: str, seconds: float) -> None:
        self._terms.report(MemoryDelayed(shard=self._part.shard, error=error, delay_seconds=seconds))

    # Time

    def _now(self) -> float:
        return self._terms.clock.now().timestamp()

    def _until(self) -> float:
        return min(self._now() + self._terms.lease, self._deadline.epoch)


class _Share:
    """The records of a part that lie in one cell, and this delivery's memo there."""

    def __init__(self, cell: Cell, indexes: Sequence[int], records: Sequence[Record]) -> None:
        self.cell = cell
        self.indexes = indexes
        self.records = records
        self.memo: Memo | None = None
        self.unresolved: Memo | None = None
        """What was to be written and is not known to be."""
        self.found: Sequence[Memo] = ()
        """What others had left when it was claimed."""

    def claim(self, token: str, *, since: float, until: float) -> Memo:
        """Return the memo that claims the records."""
        known = Stretches() if self.in_turn else Digests.of(self.records, [False] * len(self.records))
        return Memo(token=token, since=since, until=until, known=known)

    def after(self, standing: Standing, *, until: float | None, now: float) -> Memo:
        """Return the next memo."""
        assert self.memo is not None  # noqa: S101 - nothing is saved before it is claimed
        return replace(
            self.memo,
            revision=self.memo.revision + 1,
            until=until,
            moved=standing.moved,
            mark=standing.mark,
            trouble=standing.trouble,
            known=self._known(standing, at=now),
        )

    @property
    def in_turn(self) -> bool:
        """Whether batches come one after the other here, so that the shard has one memo."""
        return isinstance(self.cell, ShardCell)

    def passed(self, decoding: int, *, waited: bool, now: float) -> bool:
        """Say whether later records of the shard have been delivered: since it waited, or a moment ago.

        A twin that starts late, of records that are not remembered any more, is told from a mapping that was set back
        by this: that one delivers its records again, when they are no longer a moment ago.
        """
        if not self.in_turn:
            return False
        before = self._before()
        if not waited and before.leads(self.records, since=now - _PASSED_SECONDS):
            return not all(before.ahead(self.records, decoding)[: len(self.records)])
        return waited and before.passes(self.records)

    def _before(self) -> Stretches:
        return next((memo.known for memo in self.found if isinstance(memo.known, Stretches)), Stretches())

    def _known(self, standing: Standing, *, at: float) -> Stretches | Digests:
        if self.in_turn:
            return self._before().extended(named(self.records[0]), standing.progress, at=at)
        unsettled = {place(record) for record in standing.unsettled}
        return Digests.of(self.records, [place(record) not in unsettled for record in self.records])


def _shares(part: Part, *, in_turn: bool) -> Iterator[_Share]:
    """Cut a part into what lies in one cell each."""
    records = part.records
    if in_turn and part.shard:
        yield _Share(ShardCell(part.arn, part.shard), range(len(records)), records)
        return
    for slot, indexes in slots(records).items():
        mine = [records[index] for index in indexes]
        arrivals = [record.arrived for record in mine]
        yield _Share(SlotCell(part.arn, part.shard, slot, min(arrivals), max(arrivals)), indexes, mine)
