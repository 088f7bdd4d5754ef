"""Claims of business keys in memory."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from msgspec.structs import replace

from streamkit.core.ledger import Claim, Claimant, Holding

if TYPE_CHECKING:
    from streamkit.errors import WorldError
    from streamkit.ports import Clock

WEEK = timedelta(days=7)


class MemoryLedger:
    """Claims live `keep` on the given clock. `outage`, where set, is raised by every request."""

    def __init__(self, clock: Clock, *, keep: timedelta = WEEK) -> None:
        self.claims: dict[str, Claim] = {}
        self.outage: WorldError | None = None
        self.requests = 0
        self._clock = clock
        self._keep = keep

    def __repr__(self) -> str:
        return f"<MemoryLedger, {len(self.claims)} claims>"

    @property
    def held(self) -> dict[str, str]:
        """The ids of the records whose claims stand, by key."""
        return {key: claim.by.record for key, claim in self.claims.items() if not claim.released}

    async def claim(self, key: str, by: Claimant) -> Holding:
        """Claim the key, if it is free or this record's."""
        await self._request()
        return self._claim(key, by)

    async def release(self, key: str, by: Claimant) -> None:
        """Let others have the key, if the claim is this claimant's."""
        await self._request()
        self._release(key, by)

    def _claim(self, key: str, by: Claimant) -> Holding:
        now = self._clock.now().timestamp()
        there = self.claims.get(key)
        holding = there.holding(by, now=now) if there else "mine"
        if holding == "mine":
            self.claims[key] = Claim(by, now + self._keep.total_seconds())
        return holding

    def _release(self, key: str, by: Claimant) -> None:
        there = self.claims.get(key)
        if there is not None and there.yields(by):
            self.claims[key] = replace(there, by=by, released=True)

    async def _request(self) -> None:
        self.requests += 1
        await asyncio.sleep(0)
        if self.outage is not None:
            raise self.outage
