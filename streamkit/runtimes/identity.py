"""Whether the stream is still the one that the rows belong to (rule 13).

A stream that was deleted and created again under its name has shards of the same ids; positions and lineage of the
earlier one mean nothing there. A reader that was open meanwhile is refused by the service; whoever opens a new one
would not notice.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from streamkit.errors import ConfigurationError, Throttled, Unanswered

if TYPE_CHECKING:
    from streamkit.core.lineage import Stream
    from streamkit.ports import Clock, Source

_AGAIN_SECONDS = 5.0
"""For so long an answer holds: no stream is deleted and created again faster."""
_PATIENCE_SECONDS = 1.0
"""An answer comes soon or not at all: whoever waits holds up all that the worker coordinates."""
_SILENCE_SECONDS = 10.0
"""For so long takeovers wait for a stream that does not say who it is: records can be read without its saying so."""


class Identity:
    """Asked before shards are taken: in a steady fleet, never."""

    def __init__(self, source: Source, registered: Stream, *, table: str, clock: Clock) -> None:
        self._source = source
        self._registered = registered
        self._table = table
        self._clock = clock
        self._due = float("-inf")
        self._silent_until = float("-inf")

    async def confirm(self) -> None:
        """Return if the stream is the registered one, or has not said who it is for ten seconds.

        Raises `ConfigurationError` if it is another; `Throttled` or `Unanswered` before: to be asked again.
        """
        if self._clock.monotonic() < self._due:
            return
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                found = await self._source.identify()
        except (Throttled, Unanswered, TimeoutError) as error:
            if self._waits():
                raise Unanswered("the stream does not say who it is") from error
            return
        same_stream(self._registered, found, table=self._table)
        self._due = self._clock.monotonic() + _AGAIN_SECONDS

    def _waits(self) -> bool:
        """Say whether a silence may still end. Long after an earlier one, another begins."""
        now = self._clock.monotonic()
        if now > self._silent_until + _AGAIN_SECONDS:
            self._silent_until = now + _SILENCE_SECONDS
        return now < self._silent_until


def same_stream(registered: Stream, found: Stream, *, table: str) -> None:
    """Raise `ConfigurationError` if the table's rows belong to another stream than the one found."""
    if (registered.arn, registered.incarnation) != (found.arn, found.incarnation):
        msg = (
            f"table {table}: expected the rows of {found.arn} made {found.incarnation}, got those of "
            f"{registered.arn} made {registered.incarnation}: a different stream; name a new table for it"
        )
        raise ConfigurationError(msg)
