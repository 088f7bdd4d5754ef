"""The service: the streams of all tables of one account and region."""

from __future__ import annotations

import random
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from zlib import crc32

import msgspec

from streamkit.core.values import Key, canonical
from streamkit.testing.dynamodb_streams import errors
from streamkit.testing.dynamodb_streams.shards import KEYS, RETENTION_SECONDS, ROLL_SECONDS, StoredShard
from streamkit.testing.dynamodb_streams.written import View, Written
from streamkit.testing.kinesis.seals import Broken, Iterator, Seal

ACCOUNT: Final = "123456789012"
ITERATOR_SECONDS: Final = 900.0
MOST_RECORDS: Final = 1_000
MOST_BYTES: Final = 2**20
MOST_SHARDS: Final = 100
DESCRIPTIONS_A_SECOND: Final = 10
READERS: Final = 2
"""So many may read a shard at a time; one counts for a second after it asked."""
FIRST_NUMBER: Final = 10**21 - 50
"""Soon after it the numbers get longer: their order is not that of their texts."""


@dataclass(slots=True)
class StoredStream:
    """One stream of a table, enabled or not."""

    arn: str
    table: str
    view: View
    enabled: bool = True
    shards: dict[str, StoredShard] = field(default_factory=dict[str, StoredShard])

    @property
    def label(self) -> str:
        """When it was enabled."""
        return self.arn.rpartition("/stream/")[2]

    @property
    def open(self) -> list[StoredShard]:
        """The shards that take changes."""
        return [shard for shard in self.shards.values() if shard.closed is None]


class ChangeStreams:
    """DynamoDB Streams. `clock` gives seconds since the epoch; nothing here waits.

    Shards roll every four hours, changes live for a day, quotas are kept: tests may wish for less of each.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        chance: random.Random | None = None,
        region: str = "us-east-1",
        roll_seconds: float = ROLL_SECONDS,
        retention_seconds: float = RETENTION_SECONDS,
        quotas: bool = True,
    ) -> None:
        self.region = region
        self.roll_seconds = roll_seconds
        self.retention_seconds = retention_seconds
        self.quotas = quotas
        self.overlaps = 0
        """How often a reader asked for a shard that a later one had begun to read: both were at it."""
        self._clock = clock
        self._chance = chance or random.Random(0)
        self._seal = Seal(self._chance.randbytes(16))
        self._streams: dict[str, StoredStream] = {}
        self._number = FIRST_NUMBER
        self._iterators = 0
        self._descriptions: deque[float] = deque(maxlen=DESCRIPTIONS_A_SECOND)
        self._readers: dict[tuple[str, str], dict[float, float]] = defaultdict(dict)
        """By stream and shard: when each reader asked last."""
        self._youngest: dict[tuple[str, str], float] = {}

    def __repr__(self) -> str:
        return f"<ChangeStreams of {len(self._streams)} streams>"

    # The tables' side

    def enable(
        self, table: str, *, view: View = "NEW_AND_OLD_IMAGES", shards: int = 1, label: str | None = None
    ) -> str:
        """Give a table a stream, of a new label, and return its ARN."""
        now = self._clock()
        label = label or datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
        arn = f"arn:aws:dynamodb:{self.region}:{ACCOUNT}:table/{table}/stream/{label}"
        stream = self._streams[arn] = StoredStream(arn, table, view)
        for index in range(shards):
            keys = (KEYS * index // shards, KEYS * (index + 1) // shards - 1)
            self._add_shard(stream, None, keys, now)
        return arn

    def disable(self, table: str) -> None:
        """Take the table's stream away: its shards close, and stay readable for a day."""
        stream = self.enabled(table)
        if stream is not None:
            stream.enabled = False
            for shard in stream.open:
                shard.close(self._clock(), self._next_number())

    def enabled(self, table: str) -> StoredStream | None:
        """Return the stream that takes the table's changes."""
        return next((each for each in self._streams.values() if each.table == table and each.enabled), None)

    def append(self, table: str, written: Written) -> None:
        """Take the change that a write made, if it made one and the table has a stream."""
        stream = self.enabled(table)
        if stream is None or written.old == written.new:
            return
        self._age(stream)
        key = canonical(msgspec.convert(written.keys, Key))
        [shard] = [each for each in stream.open if each.holds(crc32(key.encode()))]
        number, now = self._next_number(), self._clock()
        event_id = f"{self._chance.getrandbits(128):032x}"
        data = written.json(number=number, changed=now, view=stream.view, event_id=event_id, region=self.region)
        shard.append(number, now, data)

    def roll(self, shard: str) -> str:
        """Close a shard in favour of one of the same keys; return that one's id."""
        stream, parent = self._found(shard)
        return self._succeed(stream, parent, [parent.keys], self._clock())[0]

    def split(self, shard: str) -> list[str]:
        """Close a shard in favour of two that share its keys; return their ids."""
        stream, parent = self._found(shard)
        first, last = parent.keys
        middle = (first + last) // 2
        return self._succeed(stream, parent, [(first, middle), (middle + 1, last)], self._clock())

    # The readers' side

    def list_streams(
        self, *, table_name: str | None = None, limit: int = 100, exclusive_start_stream_arn: str | None = None
    ) -> dict[str, Any]:
        """Return the streams, in order of their ARNs."""
        for stream in list(self._streams.values()):
            self._age(stream)
        known = sorted(arn for arn, stream in self._streams.items() if table_name in (None, stream.table))
        after = [arn for arn in known if exclusive_start_stream_arn is None or arn > exclusive_start_stream_arn]
        page = [self._streams[arn] for arn in after[:limit]]
        named = [{"StreamArn": each.arn, "TableName": each.table, "StreamLabel": each.label} for each in page]
        more = {"LastEvaluatedStreamArn": page[-1].arn} if len(after) > limit else {}
        return {"Streams": named, **more}

    def describe_stream(
        self,
        *,
        stream_arn: str,
        limit: int = MOST_SHARDS,
        exclusive_start_shard_id: str | None = None,
        shard_filter: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """Return a page of shards, or the children of one."""
        self._count_description()
        stream = self._stream(stream_arn)
        shards: Iterable[StoredShard] = stream.shards.values()
        if shard_filter is not None:
            shards = [each for each in shards if each.parent == shard_filter.get("ShardId")]
        ordered = sorted(shards, key=lambda shard: shard.id)
        after = [each for each in ordered if exclusive_start_shard_id is None or each.id > exclusive_start_shard_id]
        page = after[: min(limit, MOST_SHARDS)]
        more = {"LastEvaluatedShardId": page[-1].id} if len(after) > len(page) else {}
        return {
            "StreamDescription": {
                "StreamArn": stream.arn,
                "StreamLabel": stream.label,
                "StreamStatus": "ENABLED" if stream.enabled else "DISABLED",
                "StreamViewType": stream.view,
                "TableName": stream.table,
                "Shards": [shard.described() for shard in page],
                **more,
            }
        }

    def get_shard_iterator(
        self, *, stream_arn: str, shard_id: str, shard_iterator_type: str, sequence_number: str | None = None
    ) -> dict[str, Any]:
        """Return a place in a shard, good for 15 minutes."""
        stream = self._stream(stream_arn)
        shard = stream.shards.get(shard_id)
        if shard is None:
            raise errors.missing(f"shard {shard_id}")
        self._iterators += 1
        position = self._position(shard, shard_iterator_type, sequence_number)
        place = Iterator(stream.arn, self._iterators, shard.id, str(position), self._clock())
        return {"ShardIterator": self._seal.close(place)}

    def get_records(self, *, shard_iterator: str, limit: int = MOST_RECORDS) -> dict[str, Any]:
        """Return the next changes, each as its JSON, and the place behind them, if any can follow."""
        if not 1 <= limit <= MOST_RECORDS:
            raise errors.invalid(f"expected a limit of 1 to {MOST_RECORDS}, got {limit}")
        try:
            place = self._seal.open(shard_iterator, Iterator)
        except Broken:
            raise errors.invalid("Invalid ShardIterator") from None
        if self._clock() - place.issued > ITERATOR_SECONDS:
            raise errors.expired()
        shard = self._stream(place.stream).shards.get(place.shard)
        if shard is None or int(place.position) <= shard.trimmed:
            raise errors.trimmed()
        self._count_reader(place)
        found, onwards = shard.since(int(place.position), limit)
        found, onwards = _bounded(shard, int(place.position), found, onwards)
        if onwards is None:
            return {"Records": found}
        following = msgspec.structs.replace(place, position=str(onwards), issued=self._clock())
        return {"Records": found, "NextShardIterator": self._seal.close(following)}

    # Inside

    def _stream(self, arn: str) -> StoredStream:
        """Return a stream as it is by now. Raises `StreamsError`."""
        stream = self._streams.get(arn)
        if stream is not None:
            self._age(stream)
        if stream is None or arn not in self._streams:
            raise errors.missing(f"Stream: {arn} not found")
        return stream

    def _found(self, shard: str) -> tuple[StoredStream, StoredShard]:
        for stream in self._streams.values():
            if shard in stream.shards and stream.shards[shard].closed is None:
                return stream, stream.shards[shard]
        raise errors.missing(f"open shard {shard}")

    def _age(self, stream: StoredStream) -> None:
        """Let roll, drop and forget what the time has come for."""
        now = self._clock()
        while due := [shard for shard in stream.open if now - shard.opened >= self.roll_seconds]:
            for shard in due:
                self._succeed(stream, shard, [shard.keys], shard.opened + self.roll_seconds)
        for shard in list(stream.shards.values()):
            shard.trim(now - self.retention_seconds)
            if shard.gone(now - self.retention_seconds):
                del stream.shards[shard.id]
        if not stream.enabled and not stream.shards:
            del self._streams[stream.arn]

    def _succeed(
        self, stream: StoredStream, parent: StoredShard, ranges: Sequence[tuple[int, int]], now: float
    ) -> list[str]:
        parent.close(now, self._next_number())
        return [self._add_shard(stream, parent.id, keys, now) for keys in ranges]

    def _add_shard(self, stream: StoredStream, parent: str | None, keys: tuple[int, int], now: float) -> str:
        name = f"shardId-{round(now * 1000):020d}-{self._chance.getrandbits(32):08x}"
        stream.shards[name] = StoredShard(name, parent, keys, now, self._next_number())
        return name

    def _next_number(self) -> int:
        self._number += 1
        return self._number

    def _position(self, shard: StoredShard, kind: str, number: str | None) -> int:
        """Return the lowest number that an iterator of this kind returns."""
        if kind == "TRIM_HORIZON":
            return shard.trimmed + 1
        if kind == "LATEST":
            return self._number + 1
        if kind not in ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER") or number is None or not number.isdigit():
            raise errors.invalid(f"expected a ShardIteratorType with what it needs, got {kind}")
        if int(number) <= shard.trimmed:
            raise errors.trimmed()
        if not shard.first <= int(number) <= (shard.last or self._number):
            raise errors.invalid(f"Invalid SequenceNumber {number} for shard {shard.id}")
        return int(number) + (kind == "AFTER_SEQUENCE_NUMBER")

    def _count_description(self) -> None:
        now, full = self._clock(), len(self._descriptions) == DESCRIPTIONS_A_SECOND
        if self.quotas and full and now - self._descriptions[0] < 1:
            raise errors.too_often("DescribeStream")
        self._descriptions.append(now)

    def _count_reader(self, place: Iterator) -> None:
        """Count who reads a shard: those iterators that came from one call of GetShardIterator are one reader."""
        now, readers = self._clock(), self._readers[place.stream, place.shard]
        for reader in [each for each, asked in readers.items() if now - asked >= 1]:
            del readers[reader]
        if self.quotas and len({*readers, place.created}) > READERS:
            raise errors.too_often(f"readers of {place.shard}")
        readers[place.created] = now
        youngest = self._youngest.get((place.stream, place.shard), 0.0)
        self.overlaps += place.created < youngest
        self._youngest[place.stream, place.shard] = max(youngest, place.created)


def _bounded(
    shard: StoredShard, position: int, found: list[bytes], onwards: int | None
) -> tuple[list[bytes], int | None]:
    """Cut an answer at a megabyte; it has one change at least."""
    size = 0
    for count, data in enumerate(found):
        size += len(data)
        if size > MOST_BYTES and count:
            return shard.since(position, count)
    return found, onwards
