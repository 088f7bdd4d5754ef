"""One shard in a worker, from take to release: what works on it meanwhile, and how it ends.

Reading ------> Engine(Settling) ------> Checkpoints ------> Lease
read ahead      settle                   every interval, and at drain, hand-over and end
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from streamkit.core.balance import Meter
from streamkit.core.leasing import heir
from streamkit.engine.engine import Engine
from streamkit.engine.transacting import Transacting
from streamkit.errors import ConfigurationError, LeaseLost
from streamkit.events import ShardEnded, ShardLost, ShardReleased
from streamkit.runtimes.alarms import Alarms
from streamkit.runtimes.checkpoints import Checkpoints
from streamkit.runtimes.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamkit.core.balance import Level
    from streamkit.core.settlement import Settling
    from streamkit.core.transactions import Write
    from streamkit.engine.needs import Handling
    from streamkit.ports import Transactions
    from streamkit.runtimes.chart import Chart
    from streamkit.runtimes.lease import Lease
    from streamkit.runtimes.shard_terms import Terms


class ShardRun:
    """Runs one shard under one lease. `run` returns when it is ended, drained, halted, or lost."""

    def __init__(self, lease: Lease, settling: Settling, terms: Terms, chart: Chart) -> None:
        """`chart` is told what `settling` reports."""
        self.lease = lease
        self._chart = chart
        self._settling = settling
        self._terms = terms
        self._clock = terms.around.clock
        self._report = terms.around.report
        handling, around = terms.handling, terms.around
        if terms.trial is not None:
            handling, around = terms.trial.apart(handling, around)
        self._engine = engine = Engine(handling, settling, around, self._transacting(handling))
        self._meter = Meter(lease.row.level, now=self._clock.monotonic())
        self._checkpoints = Checkpoints(lease, settling, terms, chart=chart, meter=self._meter, settled=engine.settled)
        self._reading = Reading(lease.row, settling, terms, chart=chart, engine=engine, checkpoints=self._checkpoints)
        self._alarms = Alarms(settling, terms, chart=chart, news=engine.settled)
        self._task: asyncio.Task[None] | None = None
        self._working: asyncio.Task[None] | None = None
        self._prefers: str | None = None
        self._asked: str | None = None
        self._fallen = False
        """Whether that in which suspects are tried is no more, so that the shard is to be taken anew."""

    def _transacting(self, handling: Handling) -> Transacting | None:
        terms = self._terms
        if not handling.transactional:
            return None
        if terms.tables is None:
            msg = "expected a world with transactions, for mode='transactional', got one without"
            raise ConfigurationError(msg)
        tables = terms.tables
        return Transacting(  # the engine is there before the checkpoints, which wait for what it settles
            handling,
            self._settling,
            terms.around,
            tables,
            partial(self._commit, tables),
        )

    async def _commit(
        self, tables: Transactions, writes: Sequence[Write], ordinals: Sequence[int], applied: Callable[[], None]
    ) -> None:
        """Commit as `Checkpoints` does. With the lease gone, the engine waits for its handlers: those of a ward end."""
        try:
            await self._checkpoints.commit(tables, writes, ordinals, applied)
        except LeaseLost:
            self._leave_trial()
            raise

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
        return self._reading.closed

    @property
    def idle_since(self) -> float:
        """Since when (monotonic) the shard is caught up and settled; FOREVER while it is not."""
        return self._reading.idle_since

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
        if self.draining:
            return
        self._reading.close()
        self._asked = halt
        self._prefers = prefers
        if self._working is None:
            self._leave_trial()  # it has not begun, and need not wait for its place
        if self._terms.wave is None:
            self._engine.stop()
        else:  # what is marked runs to its end
            self._engine.feed(())
        asyncio.get_running_loop().call_later(grace, self._cut_short)

    def watch(self) -> None:
        """Measure, and say so if the shard is held up or its records grow old (rules 14, 17)."""
        now = self._clock.monotonic()
        if not self.draining:
            self._meter.note(self._settling.admitted, now)
        self._alarms.look(now, behind=self._reading.behind)

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
            self._reading.release()

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._working = group.create_task(self._engine.run(until=self._over))
            reading = group.create_task(self._reading.run())
            saving = group.create_task(self._checkpoints.run(free=self._reading.free))
            await self._worked(self._working)
            reading.cancel()
            saving.cancel()

    async def _worked(self, working: asyncio.Task[None]) -> None:
        """Wait for the engine; that its grace ran out is an end like any other."""
        ended = asyncio.Event()
        working.add_done_callback(lambda _: ended.set())
        try:
            await ended.wait()
        except asyncio.CancelledError:  # the lease is gone, or there is a fault: at once, for a ward heeds none of it
            self._leave_trial()
            raise
        if working.cancelled() and not (self.draining or self._fallen):
            raise asyncio.CancelledError

    def _over(self) -> bool:
        """Say whether the engine may end, once nothing is under way."""
        settled = self._reading.over and self._settling.clear
        return settled or self._halted is not None

    @property
    def _halted(self) -> str | None:
        """Why nothing runs until a person acts, where a halt ends the run: not without a queue for dead letters."""
        return self._settling.halted if self._terms.around.dead_letters is not None else None

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

    # The end

    async def _finish(self) -> None:
        """Checkpoint and let go of the shard: ended with its children's rows, halted, or released."""
        if self._terms.trial is not None:
            self._terms.trial.stop()
        if self._reading.ended and self._settling.clear:
            last = replace(self.lease.row, caught_up_at=self._checkpoints.caught_up_at)
            children = [heir(child, [last]) for child in self._reading.children]
            await self._checkpoints.write(state="ended", owner=None, children=children)
            self._report(ShardEnded(shard=self.id, children=tuple(child.id for child in children)))
            return
        if (why := self._halted or self._asked) is not None:
            await self._checkpoints.write(state="halted", halted=why, owner=None)
        elif self._reading.acquitted and (trial := self._terms.trial) is not None:
            self._prefers = self.lease.row.owner
            await self._checkpoints.write(owner=None, prefers=self._prefers, deaths=(), quarantine=None)
            trial.end()
        else:
            self._prefers = self.lease.row.owner if self._fallen and not self.draining else self._prefers
            await self._checkpoints.write(owner=None, prefers=self._prefers)
        self._report(ShardReleased(shard=self.id, epoch=self.lease.row.epoch, prefers=self._prefers))
