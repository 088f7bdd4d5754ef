"""Poll one shard: what Kinesis and DynamoDB Streams have in common, iterators, paging and the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import msgspec

from streamkit.aws.backoff import Backoff, persist
from streamkit.aws.call import Call
from streamkit.aws.errors import Rejected, Trimmed
from streamkit.aws.pace import Pace, Pacing
from streamkit.aws.track import Delays, Track, with_defects
from streamkit.core.lineage import Shard
from streamkit.core.positions import Place
from streamkit.core.records import Record
from streamkit.errors import Denied, Expired, Missing
from streamkit.ports import Chance, Clock, Read

if TYPE_CHECKING:
    from streamkit.ports import Report


_FIRST_LIMIT = 50
"""Records asked for at first, where the size of an answer matters and nothing is known of theirs."""


class PollSettings(msgspec.Struct, frozen=True):
    """How a shard is polled."""

    pacing: Pacing = Pacing()
    backoff: Backoff = Backoff()
    limit: int = 10_000
    """Most records of one answer."""
    answer_bytes: float | None = None
    """About so much is asked for at once, going by the last answer: other readers of the shard wait for a larger one
    (an answer of 10 MiB keeps everybody from the shard for 5 s). None is as much as the service gives."""
    max_record_bytes: int = 10 * 1024 * 1024
    """A record over it gets a defect, which makes it a dead letter."""
    iterator_seconds: float = 285.0
    """An iterator older than this is not used any more."""


class Polled(Protocol):
    """What a poller needs of its source."""

    call: Call
    clock: Clock
    chance: Chance
    report: Report

    @property
    def settings(self) -> PollSettings:
        """How shards are polled."""
        ...


class Poller(ABC):
    """Reads one shard onwards from the place of its track, within the quotas of the shard."""

    named: ClassVar[str]
    """What an error calls that which has the shard."""

    def __init__(self, source: Polled, track: Track) -> None:
        self._polled = source
        self._settings = source.settings
        self._track = track
        self._delayed = Delays(track.origin.shard, source.report)
        self._iterator: str | None = None
        self._expires = 0.0
        self._pace = Pace(self._settings.pacing, source.clock)
        limit = self._settings.limit
        self._limit = limit if self._settings.answer_bytes is None else min(limit, _FIRST_LIMIT)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._track!r}>"

    def close(self) -> None:
        """Let go of the iterator; there is nothing else, each request stands alone."""
        self._iterator = None

    async def read(self) -> Read:
        """Return the next answer, as soon as the service's quotas and the pace when idle allow.

        Raises `Missing` if stream or shard are gone, `Denied`, and `Rejected` for a place unknown there.
        """
        if self._track.end is not None:
            return self._track.end
        origin = self._track.origin
        try:
            answer = await persist(
                self._ask, backoff=self._settings.backoff, chance=self._polled.chance, delayed=self._delayed
            )
            records = self._records(answer["Records"])
        except (Missing, Denied, Rejected) as error:
            raise type(error)(f"{self.named} {origin.stream}, shard {origin.shard}: {error}") from error
        return self._accept(answer, records)

    async def _ask(self) -> dict[str, Any]:
        """Send one GetRecords, on a fresh iterator if there is none or it is too old."""
        try:
            if self._iterator is None or self._polled.clock.monotonic() >= self._expires:
                await self._open()
            await self._pace.turn()
            answer = await self._polled.call("GetRecords", ShardIterator=self._iterator, Limit=self._limit)
        except Expired as error:
            self._iterator = None
            if isinstance(error, Trimmed):
                self._track.restart()
            raise
        return answer if answer.get("NextShardIterator") else await self._last(answer)

    async def _open(self) -> None:
        """Open an iterator at the place."""
        opened = self._polled.clock.monotonic()
        where = await self._address(self._track.reopen())
        answer = await self._polled.call("GetShardIterator", ShardId=self._track.origin.shard, **where)
        self._iterator = answer["ShardIterator"]
        self._expires = opened + self._settings.iterator_seconds

    def _accept(self, answer: dict[str, Any], records: list[Record]) -> Read:
        """Move the place to the end of an answer and return what is new in it."""
        behind = self._behind(answer, records)
        size = sum([len(record.data) for record in records])
        self._pace.note(size, idle=not records and not behind)
        self._note_size(len(records), size)
        if size > self._settings.max_record_bytes:
            records = with_defects(records, self._settings.max_record_bytes)
        fresh = self._track.moved(records)
        self._iterator = answer.get("NextShardIterator")
        self._expires = self._polled.clock.monotonic() + self._settings.iterator_seconds
        if self._iterator:
            return Read(fresh, behind)
        return self._track.ended(Read(fresh, behind, ended=True, children=self._children(answer)))

    def _note_size(self, records: int, size_bytes: int) -> None:
        """Ask for no more at once than others can do without, where that was said."""
        settings = self._settings
        if settings.answer_bytes is not None and size_bytes:
            self._limit = max(1, min(settings.limit, int(settings.answer_bytes * records / size_bytes)))

    async def _last(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Return the last answer of a closed shard with all there is to say."""
        return answer

    @abstractmethod
    async def _address(self, place: Place) -> dict[str, Any]:
        """Return the parameters that open an iterator at a place, but for the shard."""

    @abstractmethod
    def _records(self, raw: Sequence[Any]) -> list[Record]:
        """Decode an answer. Raises `Rejected` for one that cannot be settled."""

    @abstractmethod
    def _behind(self, answer: dict[str, Any], records: Sequence[Record]) -> timedelta | None:
        """Return how far the end of an answer is behind the tip, as far as that is known."""

    @abstractmethod
    def _children(self, answer: dict[str, Any]) -> tuple[Shard, ...]:
        """Return the shards that go on from the last answer."""
