"""The checkpoints of one shard: when one is due, what it says of the shard, and that it is durable.

settled --> `interval`, or `records` of them --> what the row is to say --> Lease.commit --> durable
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.errors import LeaseLost
from streamkit.events import CheckpointWritten
from streamkit.runtimes.lease import Step
from streamkit.runtimes.waiting import came

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from streamkit.core.balance import Meter
    from streamkit.core.leasing import ShardRow
    from streamkit.core.positions import Position
    from streamkit.core.quarantine import Death
    from streamkit.core.settlement import Settling
    from streamkit.core.transactions import Write
    from streamkit.ports import Transactions
    from streamkit.runtimes.chart import Chart
    from streamkit.runtimes.lease import Lease
    from streamkit.runtimes.shard_terms import Terms

_QUIET_REFRESH_SECONDS = 3600.0
"""How often a shard that is caught up and quiet says so in its row (rule 14)."""


class Checkpoints:
    """Writes what `settling` knows of a shard, and what others tell here, into the shard's row."""

    def __init__(
        self, lease: Lease, settling: Settling, terms: Terms, *, chart: Chart, meter: Meter, settled: asyncio.Event
    ) -> None:
        """`settled` is set by the engine whenever a record was; and here, whenever a checkpoint is durable."""
        self._lease = lease
        self._settling = settling
        self._terms = terms
        self._clock = terms.around.clock
        self._chart = chart
        self._meter = meter
        self._settled = settled
        self._began = lease.row
        self._marked = lease.row.marked
        self._snapshot = lease.row.caught_up_at if lease.row.progress.frontier is None else None
        """What the first row says of the shard: it holds until there is a frontier."""
        self.caught_up_at = lease.row.caught_up_at
        """When (epoch seconds) everything up to the tip was read and settled, for the next checkpoint to tell."""
        self.durable = 0
        """Records that the frontier had passed at the last checkpoint."""

    # When

    async def run(self, *, free: Callable[[], None]) -> None:
        """Write a checkpoint `interval` after the first unwritten record settled, or after `records` of them.

        `free` is called as records settle: their memory is not needed any more. Raises `LeaseLost`.
        """
        settled = self._settled
        while True:
            if self._unwritten() or await came(settled, within=_QUIET_REFRESH_SECONDS):
                await self._until_due(free)
            if self._unwritten() or self._is_news():
                await self.write()

    async def _until_due(self, free: Callable[[], None]) -> None:
        due = self._clock.monotonic() + self._terms.checkpoint.interval.total_seconds()
        enough = self._settling.passed + self._terms.checkpoint.records
        while (left := due - self._clock.monotonic()) > 0 and self._settling.passed < enough:
            self._settled.clear()
            free()
            await came(self._settled, within=left)
        self._settled.clear()
        free()

    def _unwritten(self) -> bool:
        """Say whether the row is behind: the reader waits for the same news, and may have cleared it."""
        return self._settling.progress() != self._lease.row.progress

    def _is_news(self) -> bool:
        """Say whether there is something to tell besides of progress."""
        row = self._lease.row
        stale = (self.caught_up_at or 0.0) - (row.caught_up_at or 0.0) >= _QUIET_REFRESH_SECONDS / 2
        return (
            stale
            or self._settling.parked != row.parked
            or self._chart.is_news(row.vitals)
            or self._deaths() != row.deaths
        )

    # That it is durable

    async def write(self, *, children: Sequence[ShardRow] = (), **changes: object) -> None:
        """Write a checkpoint. What it says is looked up once every write before it is known. Raises `LeaseLost`."""
        passed, began = 0, 0.0

        def make() -> Step:
            nonlocal passed, began
            passed, began = self._settling.passed, self._clock.monotonic()
            return Step(self._changes() | changes, children=children)

        await self._lease.commit(make)
        self._written(passed, began)

    async def mark(self, until: Position) -> None:
        """Returning means it is durable that everything up to here may have been started. Raises `LeaseLost`."""
        if not self._terms.around.may_start():
            msg = f"{self._lease!r} may be another's by now"
            raise LeaseLost(msg)
        if self._marked is None or until.place > self._marked.place:
            self._marked = until
            await self.write()

    async def commit(
        self, tables: Transactions, writes: Sequence[Write], ordinals: Sequence[int], applied: Callable[[], None]
    ) -> None:
        """Write a checkpoint that has these settled, together with their writes (rule 25).

        Raises `LeaseLost`; and `Cancelled` if nothing of it happened, for the writes' own sake.
        """
        began = self._clock.monotonic()

        def durable() -> None:
            applied()
            self._written(self._settling.passed, began)

        async def send(held: ShardRow, wanted: ShardRow) -> None:
            await tables.commit(held, wanted, writes)

        may_send = self._terms.around.may_start
        await self._lease.commit(lambda: Step(self._changes(ordinals), send=send, may_send=may_send, applied=durable))

    def _written(self, passed: int, began: float) -> None:
        """A checkpoint is durable, for so many records that the frontier has passed, which was begun then."""
        progress = self._lease.row.progress
        self.durable = passed
        self._settled.set()
        self._terms.around.report(
            CheckpointWritten(
                shard=self._lease.row.id,
                frontier=progress.frontier.sequence_number if progress.frontier else None,
                ahead=sum(byte.bit_count() for byte in progress.done),
                took_seconds=self._clock.monotonic() - began,
            )
        )

    # What it says

    def _changes(self, also: Sequence[int] = ()) -> dict[str, object]:
        """Return what a checkpoint changes in the row, now or once these ordinals are settled too."""
        settling, trial = self._settling, self._terms.trial
        edge = settling.edge_after(also) if also else settling.edge
        progress = settling.progress(also)
        if progress.frontier is not None and self.caught_up_at == self._snapshot:
            self.caught_up_at = None
        return {
            "progress": progress,
            "parked": settling.parked,
            "frontier_arrived": edge.arrived if edge is not None else self._lease.row.frontier_arrived,
            "caught_up_at": self.caught_up_at,
            "level": self._meter.level,
            "marked": self._marked,
            "vitals": self._chart.vitals(settling),
            "deaths": self._deaths(),
            "quarantine": trial.state if trial is not None else None,
        }

    def _deaths(self) -> tuple[Death, ...]:
        """Return the deaths that this shard's records may have to answer for: none before the frontier moved last."""
        began, trial = self._began, self._terms.trial
        if trial is not None:
            return trial.deaths
        moved = self._settling.frontier != began.progress.frontier
        return () if moved or self.caught_up_at != began.caught_up_at else self._lease.row.deaths
