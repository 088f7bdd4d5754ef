"""What is asked about a record before its handler is: the filter, and who owns its business key (rule 26).

A record whose key is another's is settled at once. It does not wait for that one: the claimant is a record of the
stream, too, which will be handled or become a dead letter; and who waited for another shard's frontier could hold up
the frontier that other one waits for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.core.ledger import Claimant, Tenure
from streamkit.core.rules import Outcome
from streamkit.errors import WorldError
from streamkit.signals import Failed, Poison, Unavailable, WorldDown

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamkit.core.records import Record
    from streamkit.core.rules import OnMissingKey
    from streamkit.core.schedule import Attempt
    from streamkit.engine.needs import Handling
    from streamkit.ports import Ledger


class Superseded(Exception):
    """A record is being run under a newer tenure: this owner has lost its shard."""


class Screen:
    """Drops what `where` rejects and what was done under another record's business key."""

    def __init__(self, handling: Handling, ledger: Ledger | None, tenure: Tenure) -> None:
        self._where = handling.where
        self._dedupe_key = handling.dedupe_key
        self._on_missing_key = handling.on_missing_key
        self._ledger = ledger
        self._tenure = tenure

    @property
    def claims(self) -> bool:
        """Say whether there are business keys to claim."""
        return self._dedupe_key is not None and self._ledger is not None

    async def dropped(self, attempt: Attempt) -> dict[int, Outcome]:
        """Return which ordinals of the attempt need no handler, and why.

        Raises `Unavailable`, `Superseded`, and `Failed` naming the record that the filter or the key's function could
        not take.
        """
        dropped: dict[int, Outcome] = {}
        for ordinal, record in zip(attempt.ordinals, attempt.records, strict=True):
            try:
                outcome = await self._outcome(record)
            except (Unavailable, Superseded):
                raise
            except Exception as error:
                raise Failed(record, error) from error
            if outcome is not None:
                dropped[ordinal] = outcome
        return dropped

    async def _outcome(self, record: Record) -> Outcome | None:
        if self._where is not None and not self._where(record):
            return Outcome.FILTERED
        if self._dedupe_key is None or self._ledger is None:
            return None
        key = business_key(record, self._dedupe_key, self._on_missing_key)
        if key is None:
            return None
        try:
            holding = await self._ledger.claim(key, self._claimant(record))
        except WorldError as error:
            reason = f"the ledger of business keys: {type(error).__name__}"
            raise WorldDown(reason) from error
        if holding == "newer":
            raise Superseded(record.id)
        return None if holding == "mine" else Outcome.DUPLICATE

    async def release(self, record: Record) -> None:
        """Give the business key back: the same event, put again, may try where this record could not (rule 26)."""
        if self._dedupe_key is None or self._ledger is None:
            return
        try:
            key = self._dedupe_key(record)
        except Exception:  # noqa: BLE001 - the user's function on a bad record: without a key there is no claim
            return
        if key:
            await self._ledger.release(key, self._claimant(record))

    def _claimant(self, record: Record) -> Claimant:
        return Claimant(record.id, self._tenure)


def business_key(
    record: Record, dedupe_key: Callable[[Record], str | None], on_missing_key: OnMissingKey
) -> str | None:
    """Return what the record's event is called; None where it has no name and needs none. Raises `Poison`."""
    key = dedupe_key(record)
    if key:
        return key
    if on_missing_key == "handle":
        return None
    reason = f"dedupe_key: expected a non-empty string, got {type(key).__name__}"
    raise Poison(reason)
