"""Claims of business keys in memory."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from streamkit.errors import WorldError
    from streamkit.ports import Clock

WEEK = timedelta(days=7)


class Claim(msgspec.Struct, frozen=True):
    """Whose a key is, and until when."""

    claimant: str
    expires: datetime


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

    async def claim(self, key: str, *, claimant: str) -> bool:
        """Claim the key, unless another claimant's claim still lives."""
        await self._request()
        now = self._clock.now()
        held = self.claims.get(key)
        if held is not None and held.claimant != claimant and now < held.expires:
            return False
        self.claims[key] = Claim(claimant, now + self._keep)
        return True

    async def release(self, key: str, *, claimant: str) -> None:
        """Forget the claim, if it is this claimant's."""
        await self._request()
        held = self.claims.get(key)
        if held is not None and held.claimant == claimant:
            del self.claims[key]

    async def _request(self) -> None:
        self.requests += 1
        await asyncio.sleep(0)
        if self.outage is not None:
            raise self.outage
