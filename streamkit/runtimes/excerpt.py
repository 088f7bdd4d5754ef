"""A part of a stream's history as a `Source`: its records are flagged, and its shards end where the part does."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from msgspec.structs import replace

from streamkit.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamkit.core.lineage import Shard, Stream
    from streamkit.core.positions import Place
    from streamkit.core.replay import Replay
    from streamkit.ports import Clock, Read, Reader, Source

_BEHIND = timedelta(seconds=1)
"""Told of a shard whose end has not come, though the tip may have: nobody is to take it for idle."""


class Excerpt:
    """The records of a stream that a replay is about."""

    def __init__(self, source: Source, replay: Replay, *, clock: Clock) -> None:
        self._source = source
        self._replay = replay
        self._clock = clock

    def __repr__(self) -> str:
        return f"<{self._replay.range} of {self._source!r}>"

    async def identify(self) -> Stream:
        """Return the identity of the stream."""
        return await self._source.identify()

    async def shards(self) -> Sequence[Shard]:
        """Return one complete listing; where the replay is about one shard, that one, waiting for nobody.

        Raises `ConfigurationError` if the stream does not have it.
        """
        listed = await self._source.shards()
        if self._replay.shard is None:
            return listed
        named = [replace(each, parents=()) for each in listed if each.id == self._replay.shard]
        if not named:
            known = ", ".join(sorted(each.id for each in listed)[:8])
            raise ConfigurationError(f"--shard: expected one that the stream has ({known}), got {self._replay.shard}")
        return named

    def reader(self, shard: Shard, place: Place) -> Reader:
        """Return a reader that ends with the range."""
        return _Reader(self._source.reader(shard, place), self._replay, self._clock)


class _Reader:
    """Reads one shard up to the end of the range."""

    def __init__(self, reader: Reader, replay: Replay, clock: Clock) -> None:
        self._reader = reader
        self._replay = replay
        self._clock = clock

    def __repr__(self) -> str:
        return f"<{self._replay.range} of {self._reader!r}>"

    def close(self) -> None:
        """Let go of what the reader beneath holds."""
        self._reader.close()

    async def read(self) -> Read:
        """Return the next answer, its records flagged; the last one where nothing of the range can follow."""
        asked = self._clock.now().timestamp()
        read = await self._reader.read()
        records = [replace(each, replayed=True) for each in read.records if self._replay.covers(each)]
        if read.ended:
            children = read.children if self._replay.shard is None else ()
            return replace(read, records=records, children=children)
        if self._is_past(read, asked):
            return replace(read, records=records, behind=timedelta(), ended=True)
        return replace(read, records=records, behind=max(_BEHIND, read.behind or _BEHIND))

    def _is_past(self, read: Read, asked: float) -> bool:
        """Say whether a record far enough behind the range was seen, or the tip of the shard after its end."""
        at_tip = read.behind is not None and not read.behind
        latest = max((each.arrived for each in read.records), default=0.0)
        return self._replay.is_behind(latest) or (at_tip and self._replay.is_behind(asked))
