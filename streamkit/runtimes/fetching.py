"""Payloads of letters that are kept elsewhere (rule 29), fetched when their turn comes."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from msgspec.structs import replace

from streamkit.core.kept import Lost
from streamkit.engine.retry import FullJitter, insist
from streamkit.errors import Throttled, Unanswered, WorldError

if TYPE_CHECKING:
    from streamkit.core.envelope import PayloadOmitted
    from streamkit.core.letters import Letter
    from streamkit.core.records import Record
    from streamkit.ports import Chance, Clock, Payloads


async def whole(bare: PayloadOmitted, payloads: Payloads | None) -> Letter:
    """Return the letter with its payload. Raises `Lost`, and `WorldError` for what is no fault of this letter."""
    kept = bare.kept
    if kept is None or payloads is None:
        raise Lost(f"{kept}: expected the bucket of a consumer to fetch it from: name one, and declare Sqs(bucket=...)")
    return bare.whole(await payloads.fetch(kept))


class Patience:
    """How long a bucket that does not answer is asked again."""

    def __init__(self, most: timedelta, *, clock: Clock, chance: Chance) -> None:
        self._seconds = most.total_seconds()
        self._clock = clock
        self._wait = FullJitter(initial=timedelta(seconds=0.5), maximum=timedelta(seconds=5), chance=chance)

    async def whole(self, bare: PayloadOmitted, payloads: Payloads | None) -> Letter:
        """Return the letter with its payload. Raises as `whole` does, with what the bucket said last."""
        ends = self._clock.monotonic() + self._seconds

        async def attempt() -> Letter:
            try:
                return await whole(bare, payloads)
            except (Throttled, Unanswered) as error:
                if self._clock.monotonic() < ends:
                    raise
                raise WorldError(str(error)) from error

        return await insist(attempt, self._wait, lambda _error, _seconds: None)


class Fetching:
    """Hands out the records of letters; of what it fetched, so many bytes at most are not let go yet, or one record."""

    def __init__(self, payloads: Payloads | None, *, most_bytes: int, patience: Patience) -> None:
        self._payloads = payloads
        self._most = most_bytes
        self._patience = patience
        self._sizes: dict[str, int] = {}
        self._room = asyncio.Event()

    async def record(self, letter: Letter, bare: PayloadOmitted | None) -> Record:
        """Return the letter's record; with a defect, so that its letter stays, where the payload is not to be had.

        Raises `WorldError` when nobody answers for longer than there is patience, or no payload is to be had.
        """
        if bare is None or bare.kept is None:
            return letter.record
        while self._sizes and sum(self._sizes.values()) + bare.kept.size > self._most:
            self._room.clear()
            await self._room.wait()
        try:
            found = (await self._patience.whole(bare, self._payloads)).record
        except Lost as why:
            return replace(letter.record, defect=str(why))
        self._sizes[found.id] = bare.kept.size
        return found

    def let_go(self, record: Record) -> None:
        """Make room: the record is settled, and nobody needs it any more."""
        if self._sizes.pop(record.id, None) is not None:
            self._room.set()
