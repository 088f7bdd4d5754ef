"""What one worker sees of the table: the rows of all workers at each tick, those of the shards when it has to.

It declares dead who stood still for too long, and removes the rows of those who have been gone for long (rule 2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from streamkit.core.leasing import KEPT_SECONDS, Sightings, outlived
from streamkit.events import WorkerBuried

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Sequence

    from streamkit.core.leasing import Member, ShardRow
    from streamkit.ports import Rows
    from streamkit.runtimes.process import Process

FORGOTTEN_AT_ONCE = 5
"""Rows of the gone that one worker removes in a tick."""
_DROPPED_AT_ONCE = 25
"""Rows of shards long over that one worker removes after a listing."""
PARTITION_SHARDS = 500
"""Rows under one partition key, and with as many buckets as they need under each (`crew.SHARDS_A_BUCKET`)."""
SERVED_SECONDS = 4e-5
"""Of a partition's reads, for one worker to read one shard row: 450 bytes in units of 4 KB, 3,000 units a second."""

SELDOM = 20
"""Times that pause until the shard rows are read although nothing changed: a twentieth of what partitions serve."""


class Lookout:
    """One worker's view of everybody's rows."""

    def __init__(self, rows: Rows, *, me: str, lease: float, process: Process) -> None:
        """`lease` in seconds."""
        self.shards: Sequence[ShardRow] = ()
        """The shard rows, as they were read last."""
        self.alive = 1
        """How many workers were alive at the last look."""
        self.current = False
        """Whether the shard rows are as the last look suggests: nothing says that they have changed since."""
        self._rows = rows
        self._me = me
        self._lease = lease
        self._clock = process.clock
        self._chance = process.chance
        self._report = process.report
        self._sightings = Sightings()
        self._kept = KEPT_SECONDS * (1 + process.chance.fraction())
        """Everybody waits for a time of its own: so the first one removes a row, and the others find it gone."""
        self._outlived: frozenset[str] = frozenset()
        """Shards whose rows the latest listing had no use for any more."""
        self._looked_at: object = None
        self._due = 0.0
        self._not_before = 0.0

    async def look(self, running: Collection[str], *, holes: bool) -> Sequence[Member]:
        """Read the worker rows, and the shard rows if they may have changed; declare dead who stood still.

        `holes`: hash keys are known to be without a row, and others may be making it.
        """
        asked = self._clock.monotonic()
        members = await self._rows.members.members()
        self._sightings.note(members, self._clock.monotonic())
        suspects = self._sightings.suspects(members, now=asked, lease=self._lease)
        buried = {each.worker for each in suspects if each.worker != self._me and await self._bury(each)}
        members = [replace(each, state="dead") if each.worker in buried else each for each in members]
        self.alive = max(1, sum(each.state == "alive" for each in members))
        seen = {(each.worker, each.state, each.holds) for each in members}
        due = holes or seen != self._looked_at or self._unsteady(members, running)
        self.current = not due or asked >= self._not_before
        if asked >= self._due or (due and self.current):
            await self.reread()
            self._looked_at = seen
            pause = self._pause()
            self._not_before = asked + pause
            self._due = asked + max(self._lease, SELDOM * pause)
        return members

    async def reread(self) -> None:
        """Read the shard rows, whatever was seen."""
        self.shards = await self._rows.leases.rows()

    def distrust(self) -> None:
        """Read the shard rows at the next look: this worker changed some of them."""
        self._looked_at = None

    async def with_newcomers(self, members: Sequence[Member]) -> Sequence[Member]:
        """Look again for an owner without a row: who joined after the first look is no less alive (rules 2, 6)."""
        known = {each.worker for each in members}
        if all(row.owner is None or row.owner in known for row in self.shards):
            return members
        again = await self._rows.members.members()
        self._sightings.note([*members, *again], self._clock.monotonic())
        return [*members, *(each for each in again if each.worker not in known)]

    def fresh(self, members: Sequence[Member], *, within: float) -> set[str]:
        """Return the workers alive whose counter moved in the last `within` seconds."""
        return self._sightings.fresh(members, now=self._clock.monotonic(), within=within)

    async def forget(self, members: Sequence[Member]) -> None:
        """Remove some rows of workers that have been dead, or gone, for so long that nobody goes by them any more."""
        owners = {row.owner for row in self.shards}
        bygone = self._sightings.bygone(members, now=self._clock.monotonic(), after=self._kept)
        for each in [each for each in bygone if each.worker not in owners][:FORGOTTEN_AT_ONCE]:
            await self._rows.members.forget(each)

    async def drop_outlived(self, listed: Container[str], *, before: float) -> None:
        """Remove some rows of shards that no two listings in a row had any use for.

        `before` is the age of the oldest record that the stream may still hold, in seconds since the epoch.
        """
        if all(row.state != "ended" or row.id in listed for row in self.shards):
            return
        found = outlived(self.shards, listed=listed, before=before)
        dropped = [row for row in found if row.id in self._outlived][:_DROPPED_AT_ONCE]
        for row in dropped:
            await self._rows.leases.drop(row)
        self._outlived = frozenset(row.id for row in found if row not in dropped)
        if dropped:
            self.shards = [row for row in self.shards if row not in dropped]

    async def _bury(self, member: Member) -> bool:
        dead = await self._rows.members.bury(member)
        if dead:
            self._report(WorkerBuried(worker=self._me, buried=member.worker))
        return dead

    def _unsteady(self, members: Sequence[Member], running: Collection[str]) -> bool:
        """Say whether rows may have changed although no worker's row did.

        What an owner does not say it holds, it is about to tell of, or has given back between two of its heartbeats.
        """
        if any(row.owner is None and row.state == "open" for row in self.shards):
            return True
        mine = {row.id for row in self.shards if row.owner == self._me and row.state == "open"}
        owned = {(row.owner, row.id) for row in self.shards if row.owner != self._me and row.state == "open"}
        held = {(each.worker, shard) for each in members if each.state == "alive" for shard in each.holds}
        return mine != set(running) or not owned <= held

    def _pause(self) -> float:
        """Return after how many seconds the shard rows may be read again, so that their partitions can serve all."""
        rows = min(len(self.shards), PARTITION_SHARDS)
        return self.alive * rows * SERVED_SECONDS * (0.5 + self._chance.fraction())
