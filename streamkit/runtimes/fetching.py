"""Payloads of letters that are kept elsewhere (rule 29), fetched when their turn comes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec.structs import replace

from streamkit.core.kept import Lost
from streamkit.errors import Throttled, Unanswered, WorldError

if TYPE_CHECKING:
    from streamkit.core.envelope import PayloadOmitted
    from streamkit.core.letters import Letter
    from streamkit.core.records import Record
    from streamkit.ports import Payloads


async def whole(bare: PayloadOmitted, payloads: Payloads | None) -> Letter:
    """Return the letter with its payload. Raises `Lost`, `Throttled`, `Unanswered`."""
    kept = bare.kept
    if kept is None or payloads is None:
        raise Lost(f"{kept}: expected the bucket of a consumer to fetch it from: name one, and declare Sqs(bucket=...)")
    try:
        return bare.whole(await payloads.fetch(kept))
    except (Throttled, Unanswered):
        raise
    except WorldError as error:
        raise Lost(f"{kept}: {error}") from error


class Fetching:
    """Hands out the records of letters; of what it fetched, so many bytes at most are not let go yet, or one record."""

    def __init__(self, payloads: Payloads | None, *, most_bytes: int) -> None:
        self._payloads = payloads
        self._most = most_bytes
        self._sizes: dict[str, int] = {}
        self._room = asyncio.Event()

    async def record(self, letter: Letter, bare: PayloadOmitted | None) -> Record:
        """Return the letter's record; with a defect, so that its letter stays, where the payload is not to be had.

        Raises `Throttled` or `Unanswered` when nobody answers.
        """
        if bare is None or bare.kept is None:
            return letter.record
        while self._sizes and sum(self._sizes.values()) + bare.kept.size > self._most:
            self._room.clear()
            await self._room.wait()
        try:
            found = (await whole(bare, self._payloads)).record
        except Lost as why:
            return replace(letter.record, defect=str(why))
        self._sizes[found.id] = bare.kept.size
        return found

    def let_go(self, record: Record) -> None:
        """Make room: the record is settled, and nobody needs it any more."""
        if self._sizes.pop(record.id, None) is not None:
            self._room.set()
