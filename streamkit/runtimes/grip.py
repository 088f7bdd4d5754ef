"""Letters held out of the queue's sight, for as long as somebody works on them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from streamkit.errors import WorldError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streamkit.ports import Clock, Held, Mailbox

LONGEST_SECONDS = 11 * 3600.0
"""SQS hides a letter for 12 hours at most, however often it is asked."""
_MARGIN = 0.9


class Grip:
    """Holds letters. `keep_on` runs beside the work; `holds` is asked before each handler starts (as rule 3)."""

    def __init__(self, mailbox: Mailbox, *, clock: Clock) -> None:
        self._mailbox = mailbox
        self._clock = clock
        self._held: dict[str, Held] = {}
        self._ends = clock.monotonic() + LONGEST_SECONDS
        self._until = self._ends

    def __len__(self) -> int:
        return len(self._held)

    async def take(self, most: int) -> Sequence[Held]:
        """Take letters, and hold them."""
        asked = self._clock.monotonic()
        taken = await self._mailbox.take(most)
        if taken and not self._held:
            self._until = self._reach(asked)
        self._held.update((each.receipt, each) for each in taken)
        return taken

    def holds(self) -> bool:
        """Say whether nobody else can have been given what is held."""
        return not self._held or self._clock.monotonic() < min(self._until, self._ends)

    async def keep_on(self) -> None:
        """Keep everything out of sight, for ever; a queue that does not answer is asked again, as time allows."""
        while True:
            await asyncio.sleep(self._mailbox.sight_seconds / 3)
            if not self.holds():
                return
            asked = self._clock.monotonic()
            try:
                await self._mailbox.keep(list(self._held.values()))
            except WorldError:
                continue
            self._until = self._reach(asked)

    async def delete(self, held: Iterable[Held]) -> None:
        """Returning means that these are gone for good."""
        gone = list(held)
        await self._mailbox.delete(gone)
        for each in gone:
            self._held.pop(each.receipt, None)

    async def let_go(self) -> None:
        """Put everything back that is still held."""
        held, self._held = list(self._held.values()), {}
        await self._mailbox.put_back(held)

    def _reach(self, asked: float) -> float:
        return asked + _MARGIN * self._mailbox.sight_seconds
