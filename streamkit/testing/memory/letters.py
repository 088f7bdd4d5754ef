"""A dead-letter queue, and one for successes, in memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from streamkit.errors import Undelivered, Untold

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamkit.core.letters import Letter
    from streamkit.core.successes import Success


class MemoryDeadLetters:
    """Keeps letters in the order of sending, repeats included.

    `outage` makes the queue take nothing. `refuse` and `lose_answers` hit what is sent next, once.
    """

    def __init__(self) -> None:
        self.letters: list[Letter] = []
        self.outage = False
        self.requests = 0
        self._refusing = 0
        self._losing = 0

    def __repr__(self) -> str:
        state = "down" if self.outage else "up"
        return f"<MemoryDeadLetters, {state}, {len(self.letters)} letters>"

    def refuse(self, letters: int) -> None:
        """Refuse that many of the next letters, the first of each sending; the others are taken."""
        self._refusing += letters

    def lose_answers(self, times: int = 1) -> None:
        """Take the letters of the next sendings, but answer as if none were taken."""
        self._losing += times

    async def send(self, letters: Sequence[Letter]) -> None:
        """Keep the letters. Raises `Undelivered` with those that the troubles hit."""
        self.requests += 1
        await asyncio.sleep(0)
        if self.outage:
            raise Undelivered(letters, "the queue is down")
        refused = letters[: self._refusing]
        self._refusing -= len(refused)
        self.letters.extend(letters[len(refused) :])
        if self._losing:
            self._losing -= 1
            raise Undelivered(letters, "the answer was lost")
        if refused:
            raise Undelivered(refused, "refused by the queue")


class MemorySuccesses:
    """Keeps successes in the order of sending, repeats included. `outage` makes the queue take nothing."""

    def __init__(self) -> None:
        self.successes: list[Success] = []
        self.outage = False
        self.requests = 0
        self._refusing = 0

    def __repr__(self) -> str:
        state = "down" if self.outage else "up"
        return f"<MemorySuccesses, {state}, {len(self.successes)} successes>"

    def refuse(self, successes: int) -> None:
        """Refuse that many of the next ones, the first of each sending; the others are taken."""
        self._refusing += successes

    async def send(self, successes: Sequence[Success]) -> None:
        """Keep them. Raises `Untold` with those that the troubles hit."""
        self.requests += 1
        await asyncio.sleep(0)
        if self.outage:
            raise Untold(successes, "the queue is down")
        refused = successes[: self._refusing]
        self._refusing -= len(refused)
        self.successes.extend(successes[len(refused) :])
        if refused:
            raise Untold(refused, "refused by the queue")
