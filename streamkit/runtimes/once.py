"""What keeps a redriven record from taking effect twice."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from msgspec.structs import replace

from streamkit.core.ledger import Anothers, Claimant, Holding, Tenure
from streamkit.engine.screen import business_key
from streamkit.signals import Poison

if TYPE_CHECKING:
    from streamkit.consumer import Consumer
    from streamkit.core.records import Record
    from streamkit.core.rules import OnMissingKey
    from streamkit.ports import Ledger, Redriven

_GRACE_SECONDS = 60.0
"""Beyond its time-out an attempt may go on for so long before another run may take its record."""
BUSY = "another redrive is at it"


class Once:
    """A `Ledger` by record id, and by business key where the consumer has one: what was done is not done again."""

    def __init__(self, consumer: Consumer, redriven: Redriven, ledger: Ledger | None, *, run: str) -> None:
        self._dedupe_key = consumer.dedupe_key
        self._on_missing_key: OnMissingKey = consumer.on_missing_key
        self._within = consumer.handler_timeout.total_seconds() + _GRACE_SECONDS
        self._redriven = redriven
        self._ledger = ledger
        self._run = run
        self._requests = count()
        self._keys: dict[str, str | None] = {}
        """Business keys of the records under way."""

    def key(self, record: Record) -> str:
        """Return what the engine claims a record by. Raises what the consumer's own function raises."""
        mine = _identity(record)
        named = self._dedupe_key
        self._keys[mine] = business_key(record, named, self._on_missing_key) if named else None
        return mine

    async def claim(self, key: str, by: Claimant) -> Holding:
        """Begin the record of this id, if its effect has not been."""
        standing = await self._redriven.begin(key, run=self._run, within=self._within)
        if standing == "busy":
            raise Poison(BUSY)
        business = self._keys.get(key)
        if standing == "done" or business is None or self._ledger is None:
            return "mine" if standing == "mine" else Anothers()
        return await self._ledger.claim(business, self._in_turn(by))

    async def release(self, key: str, by: Claimant) -> None:
        """Give it back: it failed."""
        business = self._keys.pop(key, None)
        if business is not None and self._ledger is not None:
            await self._ledger.release(business, self._in_turn(by))
        await self._redriven.abandon(key, run=self._run)

    def _in_turn(self, by: Claimant) -> Claimant:
        """Return the claimant with the next epoch of this run: it may come upon a letter of the same record again."""
        return replace(by, tenure=Tenure(f"redrive#{self._run}", next(self._requests)))

    async def done(self, record: Record) -> None:
        """Returning means: whoever claims it again hears that its effect has been."""
        self._keys.pop(_identity(record), None)
        await self._redriven.done(_identity(record), run=self._run)


def _identity(record: Record) -> str:
    """Return what a record's effect is remembered by: one that failed in a replay may have been redriven before it."""
    return f"{record.id}:replayed" if record.replayed else record.id
