"""The changes of a table: shards that roll and split, streams that follow each other; by the adapter that reads AWS."""

from __future__ import annotations

import random
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING
from zlib import crc32

import msgspec
from msgspec.structs import replace

from streamkit.aws.change_source import ChangeSettings, ChangeSource
from streamkit.aws.pace import Pacing
from streamkit.consumer import DynamoDBStream
from streamkit.core.lineage import Shard, Stream, chained
from streamkit.core.records import Origin, Record
from streamkit.core.values import Key, canonical
from streamkit.testing.dynamodb_streams import ChangeStreams, ChangingTable
from streamkit.testing.dynamodb_streams.service import calls
from streamkit.testing.dynamodb_streams.values import item
from streamkit.testing.simulation.site import MOST_OPEN, NAME, Reshape, Site
from streamkit.testing.simulation.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamkit.ports import Clock, Report, Source
    from streamkit.testing.dynamodb_streams.shards import StoredShard
    from streamkit.testing.dynamodb_streams.streams import StoredStream
    from streamkit.testing.simulation.mix import Mix, Rates
    from streamkit.testing.simulation.process import Process

_PAGE = 10
"""Shards of one page of a listing, of which there may be a few dozen."""
_MOST_RECORDS = 1_000
"""Of one answer."""


class RollingStreams(ChangeStreams):
    """DynamoDB Streams whose shards are noted as they begin: they roll by themselves."""

    def __init__(self, lineage: dict[str, tuple[str, ...]], clock: Clock, *, mix: Mix) -> None:
        rng = random.Random(f"changes {mix.seed}")
        super().__init__(clock=lambda: clock.now().timestamp(), chance=rng, roll_seconds=rng.uniform(8.0, 60.0))
        if mix.retention is not None:
            self.retention_seconds = mix.retention
        self._lineage = lineage

    def _add_shard(self, stream: StoredStream, parent: str | None, keys: tuple[int, int], now: float) -> str:
        name = super()._add_shard(stream, parent, keys, now)
        self._lineage[name] = () if parent is None else (parent,)
        return name


class TrimmingChanges(ChangeSource):
    """The product's source, of a service that keeps changes for a given time."""

    kept: timedelta | None = None

    async def identify(self) -> Stream:
        """Return the identity of the table."""
        found = await super().identify()
        return found if self.kept is None else replace(found, retention=self.kept)


class ChangedTable(Site):
    """A DynamoDB table with a stream. Its records are the changes of a few items."""

    def __init__(self, mix: Mix, clock: Clock) -> None:
        super().__init__()
        self._mix = mix
        self._rolling = RollingStreams(self.lineage, clock, mix=mix)
        self._table = ChangingTable(self._rolling, clock, name=NAME, shards=mix.shards)
        self._streams: list[StoredStream] = []
        """All there were, oldest first."""
        self._meet()
        self._settings = ChangeSettings(
            pacing=Pacing(idle_seconds=mix.poll, idle_limit_seconds=2 * mix.poll, calls_per_second=10.0),
            limit=min(mix.page, _MOST_RECORDS),
            page=_PAGE,
        )

    def _meet(self) -> None:
        enabled = self._rolling.enabled(NAME)
        assert enabled is not None  # noqa: S101 - it was just enabled
        self._streams.append(enabled)

    def declared(self) -> DynamoDBStream:
        """Return the source as a consumer declares it."""
        return DynamoDBStream(NAME, poll=timedelta(seconds=self._mix.poll), start=self._mix.start)

    def source(self, process: Process, report: Report) -> Source:
        """Return the table's changes as one process sees them."""
        dynamodb, streams = (Wire(call, process, faulty=True) for call in calls(self._table))
        made = TrimmingChanges(
            dynamodb,
            streams,
            table=NAME,
            clock=process.clock,
            chance=process.chance,
            report=report,
            settings=self._settings,
        )
        made.kept = None if self._mix.retention is None else timedelta(seconds=self._mix.retention)
        return made

    # The writers' and the operator's side

    def put(self, key: str, number: int) -> Record | None:
        """Write an item, if there is a stream to take the change."""
        if (stream := self._rolling.enabled(NAME)) is None:
            return None
        self._table.put({"id": key, "number": number})
        shard = max(stream.open, key=lambda each: each.numbers[-1] if each.numbers else 0)
        written, _ = shard.changes[-1]
        return Record(str(number).encode(), key, str(shard.numbers[-1]), Origin(NAME, shard.id), written)

    def put_into(self, shard: Shard, number: int) -> Record | None:
        """Write an item whose changes come into this shard."""
        stored = next((each for each in self._stored() if each.id == shard.id), None)
        if stored is None:
            return None
        keys = (f"last-{number}-{at}" for at in count())
        return self.put(next(key for key in keys if stored.holds(_hash(key))), number)

    def _stored(self) -> list[StoredShard]:
        enabled = self._rolling.enabled(NAME)
        return enabled.open if enabled else []

    def listed(self) -> Sequence[Shard]:
        """Return the shards that the service still has, and what stands between one stream and the next."""
        return chained((each.label, [shard.listed() for shard in each.shards.values()]) for each in self._streams)

    def closed(self, shard: str) -> bool:
        """Say whether a shard takes no more."""
        return shard not in {each.id for each in self._stored()}

    def reshape(self, rng: random.Random, happens: Callable[[float], bool]) -> Reshape | None:
        """Roll a shard before its time, or split it."""
        open_ = self._stored()
        if not open_:
            return None
        shard = rng.choice(open_)
        if len(open_) < MOST_OPEN and happens(0.4):
            self._rolling.split(shard.id)
            return Reshape("split", f"split {shard.id[-4:]}")
        self._rolling.roll(shard.id)
        return Reshape("roll", f"rolled {shard.id[-4:]}")

    def delete(self) -> None:
        """Disable the stream: what it holds stays readable."""
        self._table.disable()

    def create(self, shards: int) -> None:
        """Enable another, which goes on from there."""
        self._table.enable(shards)
        self._meet()
        self.note()

    def trouble(self, rates: Rates) -> None:
        """Requests draw what they meet themselves."""


def _hash(key: str) -> int:
    return crc32(canonical(msgspec.convert(item({"id": key}), Key)).encode())
