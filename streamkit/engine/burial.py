"""From verdicts to dead letters: durable before the frontier may pass (rules 16, 19)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING

from streamkit.core.letters import Letter
from streamkit.errors import Undelivered, WorldError
from streamkit.events import LettersDelayed

if TYPE_CHECKING:
    from streamkit.core.settlement import Settling
    from streamkit.engine.needs import Handling, Surroundings
    from streamkit.engine.screen import Screen
    from streamkit.ports import DeadLetters

_LETTERS = 100
"""Letters handed to the queue's adapter at once."""


class Burial:
    """Sends the letters of one shard. `may_go_on` is the fence, asked before each step."""

    def __init__(
        self,
        handling: Handling,
        settling: Settling,
        around: Surroundings,
        screen: Screen,
        may_go_on: Callable[[], bool],
    ) -> None:
        self._handling = handling
        self._settling = settling
        self._around = around
        self._screen = screen
        self._may_go_on = may_go_on

    async def send(self, queue: DeadLetters, *, refusals: int) -> float | None:
        """Send letters that are due, and tell of those that are durable now.

        Return None if all are; else, for so many refusals in a row before this one, after how many seconds to try anew.
        """
        letters = self._letters()
        refused, error = await self._sent(queue, letters.values())
        self._settling.buried(o for o, letter in letters.items() if letter.record.id not in refused)
        if error is None:
            return None
        delay = self._around.delay(refusals + 1)
        self._around.report(
            LettersDelayed(
                shard=self._settling.shard,
                letters=len(refused),
                error=type(error).__name__,
                delay_seconds=delay,
            )
        )
        return delay

    async def _sent(
        self, queue: DeadLetters, letters: Iterable[Letter]
    ) -> tuple[frozenset[str], WorldError | Undelivered | None]:
        """Return the ids of the records whose letters are not durable, and why."""
        batch = tuple(letters)
        unsent = frozenset(letter.record.id for letter in batch)
        try:
            for letter in batch:
                await self._screen.release(letter.record)
                if not self._may_go_on():
                    return unsent, None
            await queue.send(batch)
        except Undelivered as error:
            return frozenset(letter.record.id for letter in error.letters), error
        except WorldError as error:
            return unsent, error
        return frozenset(), None

    def _letters(self) -> Mapping[int, Letter]:
        handling, now = self._handling, self._around.clock.now().timestamp()
        return {
            ordinal: Letter(
                verdict=verdict,
                consumer=handling.consumer,
                code_version=handling.code_version,
                stream_arn=handling.stream_arn,
                condemned=now,
            )
            for ordinal, verdict in islice(self._settling.condemned.items(), _LETTERS)
        }
