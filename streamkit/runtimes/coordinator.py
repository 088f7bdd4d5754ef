"""The coordinator: which shards this worker runs. It looks at the rows, plans, and acts, tick by tick (rule 6).

There is no leader: every worker computes the same plan from the same rows, and conditional writes settle who was
first. All the deciding is `core.leasing.plan`'s.
"""

from __future__ import annotations

import asyncio
import traceback
from datetime import timedelta
from pathlib import PurePath
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from streamkit.core.leasing import Member, Move, Plan, ShardRow, plan
from streamkit.core.quarantine import Death
from streamkit.core.schedule import FOREVER
from streamkit.engine.retry import FullJitter, insist
from streamkit.errors import ConfigurationError, Throttled, Unanswered, WorldError, leaves
from streamkit.events import CoordinationDelayed, ShardFailed, ShardsOffered, ShardTaken
from streamkit.runtimes.audit import Audit
from streamkit.runtimes.identity import Identity
from streamkit.runtimes.lease import take
from streamkit.runtimes.lookout import Lookout
from streamkit.runtimes.shard import ShardRun

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from streamkit.core.lineage import Shard
    from streamkit.runtimes.heart import Heart
    from streamkit.runtimes.process import Opened, Process

T = TypeVar("T")

_LISTING_LEAST_SECONDS = 2.0
"""A listing may take a quarter of a lease, or this: nobody's shards are taken over meanwhile (rule 2)."""
_TAKES = 16
"""Shards taken at a time: one after the other, hundreds would take longer than a lease on a slow table or busy loop."""
STALE = 0.6
"""Lease durations without a beat after which a worker may be dead, so that nobody calls the stream idle.

For as long, a worker that died just now still looks alive."""


class Coordinator:
    """Runs the shards that fall to one worker incarnation."""

    def __init__(
        self, opened: Opened, heart: Heart, *, process: Process, open_run: Callable[[ShardRow], ShardRun]
    ) -> None:
        """`open_run` makes the run of a shard just taken."""
        self._source = opened.ports.source
        self._allowed = opened.consumer.source.listing
        self._rows = opened.rows
        self._stream = opened.registration.stream
        self._identity = Identity(
            opened.ports.source, opened.registration.stream, table=opened.consumer.table, clock=process.clock
        )
        self._lease = opened.consumer.checkpoint.lease.total_seconds()
        self._heart = heart
        self._clock = process.clock
        self._chance = process.chance
        self._report = process.report
        self._grace = process.grace.total_seconds()
        self._open_run = open_run
        self._lookout = Lookout(opened.rows, me=heart.member.worker, lease=self._lease, process=process)
        self._dead: frozenset[str] = frozenset()
        """The workers that were declared dead, as far as their rows are there."""
        self._runs: dict[str, ShardRun] = {}
        self._listed: dict[str, Shard] = {}
        self._listing_due = 0.0
        self._held_off: dict[str, tuple[int, float]] = {}
        """Shards whose run broke: how often in a row, and when to try them again."""
        self._absent: frozenset[str] = frozenset()
        """Parents that have no row and were absent from the latest listing: they may be younger than it."""
        self._finished: frozenset[str] = frozenset()
        """Those that were absent from two complete listings: trimmed long ago (rule 11)."""
        self._audit = Audit(
            opened.registration.start,
            lease=self._lease,
            worker=heart.member.worker,
            clock=process.clock,
            report=process.report,
            whole=opened.registration.replay is None,
        )
        self._unready: str | None = "it has not looked at the table"
        self._cared_for_since = FOREVER
        """Since when all shards have been in good hands: a worker that waits for one is not idle since ever."""

    @property
    def fleet(self) -> int:
        """How many workers are alive, as far as this one can see."""
        return self._lookout.alive

    @property
    def _shards(self) -> Sequence[ShardRow]:
        """The shard rows, as they were read last."""
        return self._lookout.shards

    @property
    def runs(self) -> Sequence[ShardRun]:
        """The shards run at present."""
        return tuple(self._runs.values())

    def unready(self) -> str | None:
        """Say why this worker may not run all that falls to it, as far as the last look told."""
        return self._unready

    def _lacking(self, steps: Plan) -> str | None:
        lacking = [row.id for row in steps.take if row.id not in self._runs]
        return f"it does not run {len(lacking)} of the shards that fall to it" if lacking else None

    def idle_since(self) -> float:
        """Return since when nothing is left to do, as far as this worker can see; FOREVER while something is."""
        return max([self._cared_for_since, *(run.idle_since for run in self._runs.values())])

    async def tick(self, group: asyncio.TaskGroup) -> None:
        """Look, plan and act once. A table or stream that does not answer is left for the next tick.

        Raises `ConfigurationError` for one that is gone, or that may not be asked any more.
        """
        for run in self.runs:
            run.watch()
        self._tell_heart()
        try:
            members = await self._lookout.look(self._runs.keys(), holes=bool(self._audit.holes))
            self._audit.note(self._shards)
            self._give_up_vanished()
            self._note_care(members)
            await self._keep_listing()
            members = await self._lookout.with_newcomers(members)
            self._dead = frozenset(each.worker for each in members if each.state == "dead")
            steps = plan(
                self._shards,
                members,
                me=self._heart.member.worker,
                running=frozenset(self._runs),
                listed=frozenset(self._listed) | (self._parents_without_row() - self._finished),
            )
            await self._act(steps, group)
            self._unready = self._lacking(steps)
            await self._lookout.forget(members)
        except ConfigurationError:
            raise
        except WorldError as error:
            self._unready = f"the last look at the table failed: {type(error).__name__}"
            self._cared_for_since = FOREVER
            self._report(CoordinationDelayed(worker=self._heart.member.worker, error=type(error).__name__))

    async def _keep_listing(self) -> None:
        """List the shards when it is time; while the stream does not answer, the last listing has to do."""
        try:
            await self._list_shards()
        except (Throttled, Unanswered, TimeoutError) as error:
            self._report(CoordinationDelayed(worker=self._me, error=type(error).__name__))

    async def children_of(self, shard: str) -> Sequence[Shard]:
        """Return the shards that go on from this one, by a listing of its own, however long that takes."""
        self._listed = {each.id: each for each in await self._insist(self._source.shards)}
        return [each for each in self._listed.values() if shard in each.parents]

    async def is_trimmed(self, shard: str) -> bool:
        """Say whether two complete listings of the very stream that is registered lack the shard (rules 11, 13)."""
        if (await self._insist(self._source.identify)).incarnation != self._stream.incarnation:
            return False
        return not any([shard in {each.id for each in await self._insist(self._source.shards)} for _ in range(2)])

    async def _insist(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Return the answer of a stream that a shard's run waits for: a refusal is no fault of the run."""
        wait = FullJitter(initial=timedelta(seconds=0.1), maximum=timedelta(seconds=10), chance=self._chance)
        return await insist(ask, wait, lambda error, _: self._report(CoordinationDelayed(worker=self._me, error=error)))

    def _give_up_vanished(self) -> None:
        """Stop running what has no row any more: it is made again, and may be anybody's then."""
        rows = {row.id for row in self._shards}
        for run in self.runs:
            if run.id not in rows:
                run.give_up()

    @property
    def _me(self) -> str:
        return self._heart.member.worker

    def _note_care(self, members: Sequence[Member]) -> None:
        now = self._clock.monotonic()
        fresh = self._lookout.fresh(members, within=STALE * self._lease)
        others = [row for row in self._shards if row.state == "open" and row.id not in self._runs]
        if (
            not self._shards
            or self._audit.holes
            or any(row.owner == self._me or row.owner not in fresh for row in others)
        ):
            self._cared_for_since = FOREVER
        elif self._cared_for_since == FOREVER:
            self._cared_for_since = now + (STALE * self._lease if others else 0.0)

    async def _list_shards(self) -> None:
        """Make rows for shards that have none: from the first snapshot on, and whenever new ones turn up (rule 15)."""
        now = self._clock.monotonic()
        orphaned = self._parents_without_row() - self._listed.keys() - self._finished
        if now < self._listing_due and self._shards and not orphaned and not self._audit.wants_listing():
            return
        self._listed = {each.id: each for each in await self._listing()}
        self._listing_due = now + self._allowed.seconds(workers=self.fleet, shards=len(self._listed))
        self._note_absent()
        new = self._audit.rows_to_make(self._listed.values())
        if new:
            await self._rows.leases.add(new)
            await self._lookout.reread()
            self._audit.note(self._shards)
        before = self._clock.now() - self._stream.retention
        await self._lookout.drop_outlived(self._listed, before=before.timestamp())

    async def _listing(self) -> Sequence[Shard]:
        """Return a complete listing, soon or not at all: takeovers must not wait for a slow stream."""
        async with asyncio.timeout(max(_LISTING_LEAST_SECONDS, self._lease / 4)):
            return await self._source.shards()

    def _parents_without_row(self) -> set[str]:
        known = {row.id for row in self._shards}
        return {parent for row in self._shards if row.state == "open" for parent in row.shard.parents} - known

    def _note_absent(self) -> None:
        absent = frozenset(self._parents_without_row() - self._listed.keys())
        self._finished, self._absent = absent & (self._finished | self._absent), absent

    async def _act(self, steps: Plan, group: asyncio.TaskGroup) -> None:
        self._heed_operators()
        if steps.take:
            await self._identity.confirm()
        now = self._clock.monotonic()
        due = [seen for seen in steps.take if self._held_off.get(seen.id, (0, 0.0))[1] <= now]
        for first in range(0, len(due), _TAKES):
            await self._take(due[first : first + _TAKES], group)
        moves = [move for move in steps.moves if move.shard in self._runs]  # others ended while shards were taken
        if moves and self._lookout.current and not any(run.draining for run in self.runs):
            self._offer(moves)

    async def _take(self, wanted: Sequence[ShardRow], group: asyncio.TaskGroup) -> None:
        """Take shards at once, and run each that was had; then raise what went wrong with another, if anything did."""
        taken = await self._try_to_take_all(wanted)
        for seen, row in zip(wanted, taken, strict=True):
            if isinstance(row, ShardRow) and row.id not in self._runs:
                self._begin(row, seen.owner, group)
        for error in taken:
            if isinstance(error, WorldError):
                raise error

    async def _try_to_take_all(self, wanted: Sequence[ShardRow]) -> Sequence[ShardRow | WorldError | None]:
        async with asyncio.TaskGroup() as takes:
            tasks = [takes.create_task(self._try_to_take(seen)) for seen in wanted]
        return [task.result() for task in tasks]

    async def _try_to_take(self, seen: ShardRow) -> ShardRow | WorldError | None:
        """Return the row of a shard that was had, or what is wrong with the table: other takes go on."""
        try:
            return await take(self._rows.leases, seen, me=self._me, chance=self._chance, died=self._death(seen))
        except WorldError as error:
            return error

    def _death(self, seen: ShardRow) -> Death | None:
        """Return the death of the owner, if it was declared dead: who left or let go has nothing to answer for."""
        if seen.owner not in self._dead:
            return None
        return Death(self._clock.now().timestamp(), f"worker {seen.owner} was declared dead", seen.epoch)

    def _offer(self, moves: Sequence[Move]) -> None:
        """Hand shards over: all of the plan at once, and nothing more until they are gone."""
        for move in moves:
            self._runs[move.shard].drain(grace=self._grace, prefers=move.to)
        heavy = sum(move.cause == "throughput" for move in moves)
        self._report(
            ShardsOffered(
                worker=self._me,
                shards=tuple(move.shard for move in moves),
                takers=tuple(dict.fromkeys(move.to for move in moves)),
                for_throughput=heavy,
            )
        )

    def _heed_operators(self) -> None:
        """Let go of what an operator asks for, if it is me who was asked."""
        for row in self._shards:
            run = self._runs.get(row.id) if row.asked is not None else None
            if run is not None and run.lease.row.epoch == row.epoch:
                run.drain(grace=self._grace, halt=row.asked)

    def _begin(self, row: ShardRow, previous: str | None, group: asyncio.TaskGroup) -> None:
        frontier = row.progress.frontier
        self._report(
            ShardTaken(
                shard=row.id,
                epoch=row.epoch,
                previous_owner=previous,
                frontier=frontier.sequence_number if frontier else None,
            )
        )
        run = self._open_run(replace(row, parked=self._parked(row)))
        self._runs[row.id] = run
        self._tell_heart()
        group.create_task(self._follow(run))

    def _parked(self, row: ShardRow) -> tuple[str, ...]:
        """Return the keys parked here, and those parked in the shards it goes on from (rule 21)."""
        parents = [each.parked for each in self._shards if each.id in row.shard.parents]
        return tuple(dict.fromkeys([*row.parked, *(key for parked in parents for key in parked)]))

    async def _follow(self, run: ShardRun) -> None:
        try:
            await run.run()
        except* ConfigurationError:
            raise
        except* Exception as failures:  # noqa: BLE001 - a fault of ours costs one shard a tick, not the worker
            self._report(ShardFailed(shard=run.id, error=_named(failures), where=_place(failures)))
            self._hold_off(run.id)
        else:
            self._held_off.pop(run.id, None)
        finally:
            del self._runs[run.id]
            self._cared_for_since = FOREVER
            self._tell_heart()
            self._listing_due = 0.0
            self._lookout.distrust()

    def _hold_off(self, shard: str) -> None:
        """Leave a shard whose run broke alone for longer each time, up to a minute."""
        times = self._held_off.get(shard, (0, 0.0))[0] + 1
        self._held_off[shard] = (times, self._clock.monotonic() + min(60.0, 2.0**times))

    def _tell_heart(self) -> None:
        self._heart.held = tuple((shard, run.level) for shard, run in sorted(self._runs.items()))


def _named(failures: BaseExceptionGroup[Exception]) -> str:
    return ", ".join(sorted({type(error).__name__ for error in leaves(failures)}))


def _place(failures: BaseExceptionGroup[Exception]) -> str:
    frames = traceback.extract_tb(next(leaves(failures)).__traceback__)
    return f"{PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "unknown"
