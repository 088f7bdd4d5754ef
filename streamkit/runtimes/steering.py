"""Steering: what an operator does to the rows of shards, from outside of every worker.

Nobody's lease is broken: the owner of a shard is asked, through a note beside its row, and halts the shard when it
next looks. Only what nobody owns is written, conditional on that, under a new epoch: whoever planned to take it looks
again. An owner that stands still is declared dead as any worker would do it (rule 2).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec.structs import replace

from streamkit.core.leasing import Sightings
from streamkit.errors import ConfigurationError, Refused, Unanswered

if TYPE_CHECKING:
    from streamkit.core.leasing import Member, ShardRow
    from streamkit.ports import Chance, Clock, Leases, Members, Requests

PAUSED = "paused by an operator"
_TICK_SECONDS = 0.5


class Steering:
    """Halts, changes and opens rows. `lease_seconds` is the consumer's: how long an owner may stand still."""

    def __init__(
        self,
        leases: Leases,
        requests: Requests,
        members: Members,
        *,
        clock: Clock,
        chance: Chance,
        lease_seconds: float,
    ) -> None:
        self._leases = leases
        self._requests = requests
        self._members = members
        self._clock = clock
        self._chance = chance
        self._lease = lease_seconds
        self._sightings = Sightings()

    async def owner_of(self, shard: str) -> tuple[ShardRow, Member | None]:
        """Return a shard's row, and its owner if that one lives by its row. Raises `ConfigurationError`."""
        members = {each.worker: each for each in await self._members.members()}
        self._sightings.note(members.values(), self._clock.monotonic())
        row = next((row for row in await self._leases.rows() if row.id == shard), None)
        if row is None:
            raise ConfigurationError(f"shard {shard}: expected its row, got none: it is gone")
        owner = members.get(row.owner or "")
        return row, owner if owner is not None and owner.state == "alive" else None

    async def free(self, shard: str) -> ShardRow:
        """Return the row of a shard that no worker works on. Raises `ConfigurationError` if one does."""
        row, owner = await self.owner_of(shard)
        if owner is None or row.state != "open":
            return row
        raise ConfigurationError(
            f"shard {shard}: expected no worker on it, got {owner.worker}; stop the workers, or say --wait to ask it"
        )

    async def hold(self, shard: str, why: str, *, within: float) -> ShardRow:
        """Return the row of a shard that stands still, halted for `why` if it was open.

        Its owner is asked, and declared dead if it stands still itself. Raises `ConfigurationError` if that takes
        longer than `within` seconds.
        """
        until = self._clock.monotonic() + within
        while True:
            row, owner = await self.owner_of(shard)
            if row.state != "open":
                return row
            try:
                if owner is None:
                    return await self.amend(row, state="halted", halted=why)
                if row.asked is None:
                    await self._requests.ask(row, why)
                await self._bury(owner)
            except Refused:
                continue
            if self._clock.monotonic() >= until:
                raise ConfigurationError(
                    f"shard {shard}: expected {owner.worker} to let go of it within {within:.0f} s, it has not; it "
                    "will when it can: ask again"
                )
            await asyncio.sleep(_TICK_SECONDS)

    async def amend(self, row: ShardRow, **changes: object) -> ShardRow:
        """Change a row that nobody works on, under a new epoch; returning means it is durable. Raises `Refused`."""
        wanted = replace(
            row, owner=None, epoch=row.epoch + 1, revision=row.revision + 1, token=self._chance.token(), asked=None
        )
        if "generation" in changes:  # elsewhere there are others to suspect
            wanted = replace(wanted, deaths=(), quarantine=None)
        wanted = replace(wanted, **changes)
        try:
            try:
                await self._leases.write(row, wanted)
            except Unanswered:  # it may have happened: the very same write, once more, tells
                await self._leases.write(row, wanted)
        except Refused as refused:
            if refused.row is None or refused.row.token != wanted.token:
                raise
        return wanted

    async def _bury(self, owner: Member) -> None:
        """Declare a worker dead whose heartbeat stands still under our own eyes (rule 2)."""
        suspects = self._sightings.suspects([owner], now=self._clock.monotonic(), lease=self._lease)
        if suspects:
            await self._members.bury(owner)
