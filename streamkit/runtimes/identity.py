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
_FORGOTTEN_SECONDS = 120.0
"""A silence that nobody met for so long may have ended meanwhile: the next one is waited out anew."""


class Identity:
    """Asked before shards are taken: in a steady fleet, never."""

    def __init__(self, source: Source, registered: Stream, *, table: str, clock: Clock) -> None:
        self._source = source
        self._registered = registered
        self._table = table
        self._clock = clock
        self._due = float("-inf")
        self._silent_since: float | None = None
        self._silent_at = float("-inf")
        """When it was asked last without an answer."""

    async def confirm(self) -> None:
        """Return if the stream is the registered one, or has not said who it is for ten seconds.

        Raises `ConfigurationError` if it is another, `Unanswered` while it may still say who it is: to be asked again.
        """
        if self._clock.monotonic() < self._due:
            return
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                found = await self._source.identify()
        except (Throttled, Unanswered, TimeoutError) as error:
            if self._silence() < _SILENCE_SECONDS:
                raise Unanswered("the stream does not say who it is") from error
            return
        same_stream(self._registered, found, table=self._table)
        self._due, self._silent_since = self._clock.monotonic() + _AGAIN_SECONDS, None

    def _silence(self) -> float:
        """Return for how many seconds the stream has not answered. It lasts until it does, while somebody asks."""
        now = self._clock.monotonic()
        if self._silent_since is None or now - self._silent_at > _FORGOTTEN_SECONDS:
            self._silent_since = now
        self._silent_at = now
        return now - self._silent_since


def same_stream(registered: Stream, found: Stream, *, table: str) -> None:
    """Raise `ConfigurationError` if the table's rows belong to another stream than the one found."""
    if (registered.arn, registered.incarnation) != (found.arn, found.incarnation):
        msg = (
            f"table {table}: expected the rows of {found.arn} made {found.incarnation}, got those of "
            f"{registered.arn} made {registered.incarnation}: a different stream; name a new table for it"
        )
        raise ConfigurationError(msg)
