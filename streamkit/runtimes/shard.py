"""One shard in a worker, from take to release: read ahead, settle, checkpoint.

Reader --> expand --> Engine(Settling) --> Lease.write
|  bounded by window and budget            every interval, and at drain, hand-over and end
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import closing, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from streamkit.core.balance import Meter
from streamkit.core.kpl import expand_all
from streamkit.core.leasing import heir
from streamkit.core.schedule import FOREVER
from streamkit.engine.engine import Engine, Handling, Surroundings
from streamkit.engine.transacting import Transacting
from streamkit.errors import ConfigurationError, LeaseLost, Missing
from streamkit.events import (
    CheckpointWritten,
    RecordsAged,
    RecordsTrimmed,
    ShardEnded,
    ShardHeldUp,
    ShardLost,
    ShardReleased,
)
from streamkit.ports import Read
from streamkit.runtimes.chart import Chart
from streamkit.runtimes.gaps import HALTED_BY_GAP, Gap, Gaps
from streamkit.runtimes.lease import Step
from streamkit.runtimes.waiting import came

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from streamkit.core.balance import Level
    from streamkit.core.leasing import ShardRow
    from streamkit.core.lineage import Shard
    from streamkit.core.policy import Checkpoint
    from streamkit.core.positions import Place, Position
    from streamkit.core.quarantine import Death
    from streamkit.core.records import Record
    from streamkit.core.settlement import Settling, Tally
    from streamkit.core.transactions import Write
    from streamkit.ports import Reader, Transactions
    from streamkit.runtimes.budget import Budget
    from streamkit.runtimes.lease import Lease
    from streamkit.runtimes.trial import Trial

_LAG_SECONDS = 60.0
_QUIET_REFRESH_SECONDS = 3600.0
"""How often a shard that is caught up and quiet says so in its row (rule 14)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a shard's run needs besides its lease."""

    handling: Handling
    around: Surroundings
    checkpoint: Checkpoint
    budget: Budget
    tally: Tally
    retention_seconds: float
    halt_on_gap: bool
    kpl_only: bool
    open_reader: Callable[[Shard, Place], Reader]
    children_of: Callable[[str], Awaitable[Sequence[Shard]]]
    tables: Transactions | None
    wave: int | None
    """Most records that are marked and not settled, where nothing is to be handled twice; None where it may be."""
    trial: Trial | None
    """How the suspects are tried, where a record may have killed the shard's owners (rule 22)."""
    is_trimmed: Callable[[str], Awaitable[bool]]
    """Whether the stream no longer has a shard, because all that was in it has expired (rules 11, 13)."""


class ShardRun:
    """Runs one shard under one lease. `run` returns when it is ended, drained, halted, or lost."""

    def __init__(self, lease: Lease, settling: Settling, terms: Terms, chart: Chart) -> None:
        """`chart` is told what `settling` reports."""
        self.lease = lease
        self._chart = chart
        self.idle_since = FOREVER
        """Since when (monotonic) the shard is caught up and settled; FOREVER while it is not."""
        self._settling = settling
        self._terms = terms
        self._clock = terms.around.clock
        self._report = terms.around.report
        handling, around = terms.handling, terms.around
        if terms.trial is not None:
            handling, around = terms.trial.apart(handling, around)
        self._engine = Engine(handling, settling, around, self._transacting(handling))
        self._task: asyncio.Task[None] | None = None
        self._working: asyncio.Task[None] | None = None
        self._draining = False
        self._prefers: str | None = None
        self._asked: str | None = None
        self._ended = False
        self._acquitted = False
        """Whether no record is suspected any more, so that the shard is to be run as ever."""
        self._fallen = False
        """Whether that in which suspects are tried is no more, so that the shard is to be taken anew."""
        self._began = lease.row
        self._children: Sequence[Shard] = ()
        self._caught_up_at = lease.row.caught_up_at
        self._snapshot = lease.row.caught_up_at if lease.row.progress.frontier is None else None
        """What the first row says of the shard: it holds until there is a frontier."""
        self._held = 0
        self._sizes: deque[tuple[int, int]] = deque()
        self._moved = (0, self._clock.monotonic())
        """What the frontier had passed when it moved last, and when that was."""
        self._told = self._looked = self._moved[1]
        self._behind = 0.0
        """Seconds that the last answer was behind the tip, as far as the service says so."""
        self._meter = Meter(lease.row.level, now=self._moved[1])
        self._marked = lease.row.marked
        self._marking = False
        """Whether a wave is on its way from its mark to the engine."""
        self._durable = 0
        """Records that the frontier had passed at the last checkpoint."""

    def _transacting(self, handling: Handling) -> Transacting | None:
        terms = self._terms
        if not handling.transactional:
            return None
        if terms.tables is None:
            msg = "expected a world with transactions, for mode='transactional', got one without"
            raise ConfigurationError(msg)
        commit = partial(self._commit, terms.tables)
        return Transacting(handling, self._settling, terms.around, terms.tables, commit)

    @property
    def id(self) -> str:
        """Id of the shard."""
        return self.lease.row.id

    @property
    def level(self) -> Level | None:
        """How many records a second it brings (`core.balance`), once that is known."""
        return self._meter.level

    @property
    def draining(self) -> bool:
        """Say whether it was asked to let go."""
        return self._draining

    @property
    def waiting(self) -> int:
        """Records read in and not behind the frontier."""
        return self._settling.pending

    @property
    def behind(self) -> float | None:
        """Seconds from the last record read to the tip of the shard, where the service says so."""
        return self._chart.behind

    @property
    def oldest(self) -> float | None:
        """Arrival of the oldest record read and not settled: seconds since the epoch."""
        oldest = self._settling.oldest
        return None if oldest is None else oldest.arrived

    @property
    def paused(self) -> bool:
        """Say whether it stands still because everything fails."""
        return self._settling.paused

    def drain(self, *, grace: float, prefers: str | None = None, halt: str | None = None) -> None:
        """Read nothing more, let attempts end within `grace` seconds, checkpoint and release.

        With `halt`, an operator's reason, nobody takes the shard before a person lets it go on.
        """
        if self._draining:
            return
        self._draining = True
        self._asked = halt
        self._prefers = prefers
        if self._terms.wave is None:
            self._engine.stop()
        else:  # what is marked runs to its end
            self._engine.feed(())
        asyncio.get_running_loop().call_later(grace, self._cut_short)

    def watch(self) -> None:
        """Measure; and say so, once a minute, if the frontier does not move although records wait (rule 17)."""
        now, passed, waiting = self._clock.monotonic(), self._settling.passed, self._settling.pending
        if not self._draining:
            self._meter.note(self._settling.admitted, now)
        if self._chart.stands(now - self._moved[1] if passed == self._moved[0] and waiting else 0.0):
            self._engine.settled.set()
        if passed != self._moved[0] or not waiting:
            self._moved = (passed, now)
            self._told = now
        elif now - self._told >= _LAG_SECONDS:
            self._told = now
            oldest = self._settling.unsettled()[0].sequence_number
            held_up = now - self._moved[1]
            self._report(ShardHeldUp(shard=self.id, sequence=oldest, held_up_seconds=held_up, waiting=waiting))
        self._watch_age(now)

    def _watch_age(self, now: float) -> None:
        """Look once a minute whether the oldest unsettled record is older than half of the retention."""
        if now - self._looked < _LAG_SECONDS:
            return
        self._looked, retention = now, self._terms.retention_seconds
        unsettled = self._settling.unsettled()[:1] if self._settling.pending else ()
        ages = [self._clock.now().timestamp() - record.arrived for record in unsettled]
        age = max([self._behind, *ages])
        if age >= retention / 2:
            self._report(RecordsAged(shard=self.id, age_seconds=age, retention_seconds=retention))

    def give_up(self) -> None:
        """Stop at once, with whatever is durable: the lease runs out by itself."""
        self._leave_trial()
        if self._task is not None and not self._task.cancelling():
            self._task.cancel()

    async def run(self) -> None:
        """Work; raises nothing but what is a fault of streamkit."""
        self._task = asyncio.current_task()
        try:
            async with self._terms.trial.opened(self._fall) if self._terms.trial is not None else nullcontext():
                await self._work()
            if self._engine.fenced:
                self._report(ShardLost(shard=self.id, epoch=self.lease.row.epoch))
            else:
                await self._finish()
        except* LeaseLost:
            self._report(ShardLost(shard=self.id, epoch=self.lease.row.epoch))
        finally:
            self._hold(-self._held)

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._working = group.create_task(self._engine.run(until=self._over))
            others = [group.create_task(self._read()), group.create_task(self._save())]
            await self._worked(self._working)
            for task in others:
                task.cancel()

    async def _worked(self, working: asyncio.Task[None]) -> None:
        """Wait for the engine; that its grace ran out is an end like any other."""
        try:
            await working
        except asyncio.CancelledError:
            me = asyncio.current_task()
            if not (self._draining or self._fallen) or me is None or me.cancelling():
                raise

    def _over(self) -> bool:
        drained = self._draining and not self._marking and self._settling.clear
        return (
            drained
            or ((self._ended or self._acquitted) and self._settling.clear)
            or (self._settling.halted is not None and self._terms.around.dead_letters is not None)
        )

    def _fall(self) -> None:
        """Start nothing more, and wait for nothing: what was under way is gone."""
        self._fallen = True
        self._engine.stop()
        if self._working is not None:
            self._working.cancel()

    def _leave_trial(self) -> None:
        if self._terms.trial is not None:
            self._terms.trial.let_go()

    def _cut_short(self) -> None:
        self._leave_trial()
        if self._working is not None:
            self._working.cancel()

    # Reading

    async def _read(self) -> None:
        row = self.lease.row
        place: Place = row.progress.frontier or row.start
        gaps = Gaps(row, retention_seconds=self._terms.retention_seconds, clock=self._clock)
        ours = row.shard.hash_range if self._terms.kpl_only else None
        with closing(self._terms.open_reader(row.shard, place)) as reader:
            await self._read_from(reader, gaps, hash_range=ours)

    async def _read_from(self, reader: Reader, gaps: Gaps, *, hash_range: tuple[int, int] | None) -> None:
        while not self._draining:
            await self._terms.budget.room(lambda: self._held)
            asked = self._clock.now().timestamp()
            read = await self._answer(reader)
            self._behind = 0.0 if read.ended or read.behind is None else read.behind.total_seconds()
            if (gap := gaps.found(read, asked=asked)) is not None:
                self._report_gap(gap)
            await self._feed(expand_all(read.records, hash_range=hash_range))
            if self._draining and self._terms.wave is not None:
                return  # some of them may not be marked, and are the successor's
            trial = self._terms.trial
            tried = trial is not None and trial.state.over  # what follows the suspects in this answer is not touched
            if not (read.behind or read.ended or tried) and self._settling.clear:
                self._caught_up_at = asked
            self._note_behind(read)
            self._note_idle(caught_up=not read.records and not read.behind)
            if tried or (trial is not None and self._caught_up_at == asked):
                self._acquitted = True
            elif read.ended:
                self._children = read.children or await self._terms.children_of(self.id)
                self._ended = True
            if self._ended or self._acquitted:
                self._engine.feed(())
                return

    async def _answer(self, reader: Reader) -> Read:
        """Return the next answer. A shard that was trimmed away whole has ended; a stream that is gone has not."""
        try:
            return await reader.read()
        except Missing:
            if not await self._terms.is_trimmed(self.id):
                raise
            return Read((), timedelta.max, ended=True)

    async def _feed(self, records: Sequence[Record]) -> None:
        """Hand the records to the engine as its window has room."""
        if not records:
            return
        size = sum(len(record.data) for record in records)
        self._terms.tally.received_bytes += size
        self._hold(size)
        if self._terms.trial is not None:
            await self._terms.trial.feed(records, self._engine, self._write)
            return
        wave = self._terms.wave
        share = max(1, self._terms.checkpoint.window // 8 if wave is None else wave // 2)
        fed = 0
        while fed < len(records):
            room = self._room()
            if room >= min(share, len(records) - fed):
                await self._feed_some(records[fed : fed + room])
                fed += room
            else:
                self._engine.settled.clear()
                await self._engine.settled.wait()
        self._sizes.append((self._settling.admitted, size))

    async def _feed_some(self, records: Sequence[Record]) -> None:
        """Hand over records there is room for; where nothing is to be handled twice, mark them first (rule 25)."""
        if self._terms.wave is None:
            self._engine.feed(records)
        elif not self._draining:
            self._marking = True
            try:
                await self._mark(records[-1].position)
                self._engine.feed(records)
            finally:
                self._marking = False

    async def _mark(self, until: Position) -> None:
        """Returning means it is durable that everything up to here may have been started."""
        if not self._terms.around.may_start():
            msg = f"{self.lease!r} may be another's by now"
            raise LeaseLost(msg)
        if self._marked is None or until.place > self._marked.place:
            self._marked = until
            await self._write()

    def _room(self) -> int:
        """Return how many records may come in: a window's worth, and no more than may be repeated (rule 19)."""
        checkpoint, settling = self._terms.checkpoint, self._settling
        undurable = settling.admitted - self._durable
        window = self._terms.wave or checkpoint.window
        return min(window - settling.pending, checkpoint.records + checkpoint.window - undurable)

    def _note_behind(self, read: Read) -> None:
        """Take note of the distance to the tip; having reached it is news."""
        before, behind = self._chart.behind, timedelta() if read.ended else read.behind
        self._chart.behind = None if behind is None else behind.total_seconds()
        if before and not self._chart.behind:
            self._engine.settled.set()

    def _note_idle(self, *, caught_up: bool) -> None:
        if not (caught_up and self._settling.clear):
            self.idle_since = FOREVER
        elif self.idle_since == FOREVER:
            self.idle_since = self._clock.monotonic()

    def _report_gap(self, gap: Gap) -> None:
        self._report(RecordsTrimmed(shard=self.id, after=gap.after, until=gap.until))
        self._settling.skip()
        if self._terms.halt_on_gap:
            self._settling.halt(HALTED_BY_GAP)

    # Checkpoints

    async def _save(self) -> None:
        """Write a checkpoint `interval` after the first unwritten record settled, or after `records` of them."""
        settled = self._engine.settled
        while True:
            if self._unwritten() or await came(settled, within=_QUIET_REFRESH_SECONDS):
                await self._until_due()
            await self._checkpoint()

    async def _until_due(self) -> None:
        due = self._clock.monotonic() + self._terms.checkpoint.interval.total_seconds()
        enough = self._settling.passed + self._terms.checkpoint.records
        while (left := due - self._clock.monotonic()) > 0 and self._settling.passed < enough:
            self._engine.settled.clear()
            self._free()
            await came(self._engine.settled, within=left)
        self._engine.settled.clear()
        self._free()

    def _free(self) -> None:
        """Give back the memory of answers that are settled."""
        while self._sizes and self._sizes[0][0] <= self._settling.passed:
            self._hold(-self._sizes.popleft()[1])

    def _hold(self, size: int) -> None:
        """Account for payload taken into memory, or given back."""
        self._held += size
        self._terms.budget.add(size)

    def _unwritten(self) -> bool:
        """Say whether the row is behind: the reader waits for the same news, and may have cleared it."""
        return self._settling.progress() != self.lease.row.progress

    async def _checkpoint(self) -> None:
        row = self.lease.row
        stale = (self._caught_up_at or 0.0) - (row.caught_up_at or 0.0) >= _QUIET_REFRESH_SECONDS / 2
        news = self._settling.parked != row.parked or self._chart.is_news(row.vitals) or self._deaths() != row.deaths
        if not (self._unwritten() or stale or news):
            return
        await self._write()

    async def _write(self, *, children: Sequence[ShardRow] = (), **changes: object) -> None:
        """Write a checkpoint. What it says is looked up once every write before it is known."""
        passed, began = 0, 0.0

        def make() -> Step:
            nonlocal passed, began
            passed, began = self._settling.passed, self._clock.monotonic()
            return Step(self._changes() | changes, children=children)

        await self.lease.commit(make)
        self._written(passed, began)

    async def _commit(
        self, tables: Transactions, writes: Sequence[Write], ordinals: Sequence[int], applied: Callable[[], None]
    ) -> None:
        """Write a checkpoint that has these settled, together with their writes (rule 25)."""
        began = self._clock.monotonic()

        def durable() -> None:
            applied()
            self._written(self._settling.passed, began)

        async def send(held: ShardRow, wanted: ShardRow) -> None:
            await tables.commit(held, wanted, writes)

        may_send = self._terms.around.may_start
        await self.lease.commit(lambda: Step(self._changes(ordinals), send=send, may_send=may_send, applied=durable))

    def _changes(self, also: Sequence[int] = ()) -> dict[str, object]:
        """Return what a checkpoint changes in the row, now or once these ordinals are settled too."""
        settling = self._settling
        edge = settling.edge_after(also) if also else settling.edge
        progress = settling.progress(also)
        if progress.frontier is not None and self._caught_up_at == self._snapshot:
            self._caught_up_at = None
        return {
            "progress": progress,
            "parked": settling.parked,
            "frontier_arrived": edge.arrived if edge is not None else self.lease.row.frontier_arrived,
            "caught_up_at": self._caught_up_at,
            "level": self.level,
            "marked": self._marked,
            "vitals": self._chart.vitals(settling),
            "deaths": self._deaths(),
            "quarantine": self._terms.trial.state if self._terms.trial is not None else None,
        }

    def _deaths(self) -> tuple[Death, ...]:
        """Return the deaths that this shard's records may have to answer for: none before the frontier moved last."""
        began, moved = self._began, self._settling.frontier != self._began.progress.frontier
        if self._terms.trial is None and (moved or self._caught_up_at != began.caught_up_at):
            return ()
        return self.lease.row.deaths if self._terms.trial is None else self._terms.trial.deaths

    def _written(self, passed: int, began: float) -> None:
        """A checkpoint is durable, for so many records that the frontier has passed, which was begun then."""
        progress = self.lease.row.progress
        self._durable = passed
        self._engine.settled.set()
        self._report(
            CheckpointWritten(
                shard=self.id,
                frontier=progress.frontier.sequence_number if progress.frontier else None,
                ahead=sum(byte.bit_count() for byte in progress.done),
                took_seconds=self._clock.monotonic() - began,
            )
        )

    # The end

    async def _finish(self) -> None:
        """Checkpoint and let go of the shard: ended with its children's rows, halted, or released."""
        if self._terms.trial is not None:
            self._terms.trial.stop()
        if self._ended and self._settling.clear:
            last = replace(self.lease.row, caught_up_at=self._caught_up_at)
            children = [heir(child, [last]) for child in self._children]
            await self._write(state="ended", owner=None, children=children)
            self._report(ShardEnded(shard=self.id, children=tuple(child.id for child in children)))
            return
        halted = self._settling.halted if self._terms.around.dead_letters is not None else None
        if (why := halted or self._asked) is not None:
            await self._write(state="halted", halted=why, owner=None)
        elif self._acquitted and (trial := self._terms.trial) is not None:
            self._prefers = self.lease.row.owner
            await self._write(owner=None, prefers=self._prefers, deaths=(), quarantine=None)
            trial.end()
        else:
            self._prefers = self.lease.row.owner if self._fallen and not self._draining else self._prefers
            await self._write(owner=None, prefers=self._prefers)
        self._report(ShardReleased(shard=self.id, epoch=self.lease.row.epoch, prefers=self._prefers))
