"""What is asked about a record before its handler is: the filter, and who owns its business key (rule 26).

A record whose key is another's is settled at once. It does not wait for that one: the claimant is a record of the
stream, too, which will be handled or become a dead letter; and who waited for another shard's frontier could hold up
the frontier that other one waits for.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from streamkit.core.ledger import Anothers, Claimant, Tenure
from streamkit.core.rules import Outcome
from streamkit.errors import WorldError
from streamkit.signals import Failed, Poison, Unavailable, WorldDown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamkit.core.records import Record
    from streamkit.core.rules import OnMissingKey
    from streamkit.core.schedule import Attempt
    from streamkit.engine.needs import Handling
    from streamkit.ports import Ledger


_AT_ONCE = 16
"""Claims of one batch under way."""


class Superseded(Exception):
    """A record is being run under a newer tenure: this owner has lost its shard."""


class Screen:
    """Drops what `where` rejects and what was done under another record's business key."""

    def __init__(self, handling: Handling, ledger: Ledger | None, tenure: Tenure) -> None:
        self._where = handling.where
        self._dedupe_key = handling.dedupe_key
        self._on_missing_key: OnMissingKey = handling.on_missing_key
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
        wanted = self._sorted_out(attempt, dropped)
        waiting = iter(wanted.items())

        async def claim() -> None:
            for key, claimants in waiting:
                mine = await self._claimed(key, claimants)
                dropped.update((ordinal, Outcome.DUPLICATE) for ordinal, _ in claimants if ordinal != mine)

        if len(wanted) <= 1:
            await claim()
            return dropped
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(_AT_ONCE, len(wanted))):
                    group.create_task(claim())
        except ExceptionGroup as failed:
            first = failed.exceptions[0]
            raise first from first.__cause__
        return dropped

    def _sorted_out(self, attempt: Attempt, dropped: dict[int, Outcome]) -> dict[str, list[tuple[int, Record]]]:
        """Drop what the filter rejects; return who may claim which key."""
        wanted: dict[str, list[tuple[int, Record]]] = {}
        for ordinal, record in zip(attempt.ordinals, attempt.records, strict=True):
            try:
                rejected = self._where is not None and not self._where(record)
                key = None if rejected else self._key(record)
            except Unavailable:
                raise
            except Exception as error:
                raise Failed(record, error) from error
            if rejected:
                dropped[ordinal] = Outcome.FILTERED
            elif key is not None:
                wanted.setdefault(key, []).append((ordinal, record))
        return wanted

    async def _claimed(self, key: str, claimants: Sequence[tuple[int, Record]]) -> int | None:
        """Claim a key for one of its records; return which, None being none of them. At most two requests.

        It is the first one's, unless a later one claimed it in an attempt that was cut off.
        """
        ordinal, record = claimants[0]
        owner = await self._owner(key, record)
        if owner is None:
            return ordinal
        for ordinal, record in claimants[1:]:
            if record.id == owner:
                return ordinal if await self._owner(key, record) is None else None
        return None

    def _key(self, record: Record) -> str | None:
        if self._dedupe_key is None or self._ledger is None:
            return None
        return business_key(record, self._dedupe_key, self._on_missing_key)

    async def _owner(self, key: str, record: Record) -> str | None:
        """Claim the key; return the id of the record that has it, None if this one may run."""
        assert self._ledger is not None  # noqa: S101 - there are no keys without it
        try:
            holding = await self._ledger.claim(key, Claimant(record.id, self._tenure))
        except Unavailable:
            raise
        except WorldError as error:
            reason = f"the ledger of business keys: {type(error).__name__}"
            raise WorldDown(reason) from error
        except Exception as error:
            raise Failed(record, error) from error
        if holding == "newer":
            raise Superseded(record.id)
        return holding.record if isinstance(holding, Anothers) else None

    async def release(self, record: Record) -> None:
        """Give the business key back: the same event, put again, may try where this record could not (rule 26)."""
        if self._dedupe_key is not None and self._ledger is not None:
            await release(record, self._dedupe_key, self._ledger, tenure=self._tenure)


async def release(
    record: Record, dedupe_key: Callable[[Record], str | None], ledger: Ledger, *, tenure: Tenure
) -> None:
    """Let others have the record's key, if it has one that it may have claimed."""
    try:
        key = dedupe_key(record)
    except Exception:  # noqa: BLE001 - the user's function on a bad record: without a key there is no claim
        return
    if key:
        await ledger.release(key, Claimant(record.id, tenure))


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
