"""The data plane: putting records and reading them.

Enhanced fan-out will have its place here: a subscription is `Shard.read` from a position, pushed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from streamkit.testing.kinesis import errors
from streamkit.testing.kinesis.account import Account, operation, shard_of, whole_millis, within
from streamkit.testing.kinesis.limits import MIB, MOST_BYTES_PUT, MOST_RECORDS_PUT, MOST_RECORDS_READ
from streamkit.testing.kinesis.numbers import HASH_KEYS, NotANumber, hash_key, parts
from streamkit.testing.kinesis.seals import ITERATOR_SECONDS, Broken, Iterator
from streamkit.testing.kinesis.values import Entry, IteratorType, Put, Puts, Records, Stored

if TYPE_CHECKING:
    from streamkit.testing.kinesis.shards import Shard
    from streamkit.testing.kinesis.streams import Stream

_LONGEST_KEY = 256


class DataPlane(Account):
    """PutRecord, PutRecords, GetShardIterator, GetRecords."""

    @operation
    def put_record(
        self,
        *,
        data: bytes,
        partition_key: str,
        explicit_hash_key: str | None = None,
        sequence_number_for_ordering: str | None = None,  # numbers of a shard always grow here
        stream_name: str | None = None,
        stream_arn: str | None = None,
    ) -> Put:
        """Store one record; the answer says where."""
        stream = self._writable(stream_name, stream_arn)
        entry = Entry(data, partition_key, explicit_hash_key)
        hashed = _checked(entry, stream, at="")
        now = self._now()
        shard = stream.route(hashed)
        stored = self._append(entry, shard, now)
        if stored is None:
            raise errors.throttled(shard.id, stream.name)
        return Put(shard.id, stored.sequence_number)

    @operation
    def put_records(
        self, *, records: Sequence[Entry], stream_name: str | None = None, stream_arn: str | None = None
    ) -> Puts:
        """Store up to 500 records, each of which may fail by itself; the answer follows their order."""
        stream = self._writable(stream_name, stream_arn)
        if not 1 <= len(records) <= MOST_RECORDS_PUT:
            bound = f"Member must have length between 1 and {MOST_RECORDS_PUT}"
            raise errors.malformed(f"[{len(records)} records]", "records", bound)
        hashes = [_checked(entry, stream, at=f"records.{at}.member.") for at, entry in enumerate(records, start=1)]
        if sum(len(entry.data) + len(entry.partition_key) for entry in records) > MOST_BYTES_PUT:
            raise errors.invalid(f"Records size exceeds {MOST_BYTES_PUT // MIB} MB limit")
        now = self._now()
        routed = zip(records, map(stream.route, hashes), strict=True)
        puts = [self._put(entry, shard, stream, now) for entry, shard in routed]
        return Puts(puts, sum(put.error_code is not None for put in puts))

    @operation
    def get_shard_iterator(
        self,
        *,
        shard_id: str,
        shard_iterator_type: IteratorType,
        starting_sequence_number: str | None = None,
        timestamp: float | None = None,
        stream_name: str | None = None,
        stream_arn: str | None = None,
    ) -> str:
        """Return an iterator that lives five minutes. `timestamp` in epoch seconds."""
        stream = self._stream(stream_name, stream_arn)
        shard = shard_of(stream, shard_id)
        numbered = shard_iterator_type.endswith("SEQUENCE_NUMBER")
        if numbered != (starting_sequence_number is not None):
            raise errors.invalid(
                "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or "
                f"(2) TRIM_HORIZON or LATEST and no StartingSequenceNumber. Request specified {shard_iterator_type} "
                f"and {'no' if numbered else 'also a'} StartingSequenceNumber."
            )
        if starting_sequence_number is not None:
            position = _numbered(starting_sequence_number, shard, stream)
            position += shard_iterator_type == "AFTER_SEQUENCE_NUMBER"
        elif shard_iterator_type == "AT_TIMESTAMP":
            position = shard.at_time(self._past(timestamp))
        else:
            position = shard.tip if shard_iterator_type == "LATEST" else shard.first
        return self._iterator(stream, shard, position)

    @operation
    def get_records(
        self, *, shard_iterator: str, limit: int = MOST_RECORDS_READ, stream_arn: str | None = None
    ) -> Records:
        """Read on from an iterator: up to `limit` records or 10 MiB, and the iterator to go on with."""
        within(limit, 1, MOST_RECORDS_READ, "limit")
        stream, shard, position = self._resume(shard_iterator, stream_arn)
        now = self._now()
        if not shard.may_read(self.limits, now):
            raise errors.throttled(shard.id, stream.name)
        found = shard.read(position, horizon=stream.horizon(now), limit=limit)
        shard.was_read(found.bytes)
        if found.waiting_since is not None:
            behind = max(1, int((now - found.waiting_since) * 1000))
            return Records(found.records, behind, self._iterator(stream, shard, found.position))
        if shard.closed_at is not None:
            return Records(found.records, 0, None, list(shard.children))
        return Records(found.records, 0, self._iterator(stream, shard, found.position))

    def _writable(self, name: str | None, arn: str | None) -> Stream:
        stream = self._stream(name, arn)
        if stream.status not in ("ACTIVE", "UPDATING"):
            raise errors.missing_stream(stream.name)
        return stream

    def _put(self, entry: Entry, shard: Shard, stream: Stream, now: float) -> Put:
        fault = self.faults.on("PutRecords")
        if self.hit(fault.failing):
            return Put(error_code="InternalFailure", error_message="Internal Service Failure")
        stored = None if self.hit(fault.throttled) else self._append(entry, shard, now)
        if stored is None:
            return Put(error_code=errors.THROTTLED, error_message=errors.throttled(shard.id, stream.name).message)
        return Put(shard.id, stored.sequence_number)

    def _append(self, entry: Entry, shard: Shard, now: float) -> Stored | None:
        size = len(entry.data) + len(entry.partition_key)
        if not shard.may_write(size, self.limits, now):
            return None
        return shard.append(entry.data, entry.partition_key, now=now)

    def _past(self, timestamp: float | None) -> float:
        now = self._now()
        if timestamp is None:
            raise errors.invalid("Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP.")
        moment = whole_millis(timestamp)
        if moment > now:
            raise errors.invalid(
                "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. "
                f"timestampInMillis: {int(timestamp * 1000)}, currentTimestampInMillis: {int(now * 1000)}"
            )
        return moment

    def _iterator(self, stream: Stream, shard: Shard, position: int) -> str:
        return self._seal.close(Iterator(stream.name, stream.created_at, shard.id, str(position), self._now()))

    def _resume(self, text: str, arn: str | None) -> tuple[Stream, Shard, int]:
        """Read an iterator back; it must be ours, young, of this very stream and of a shard that is still kept."""
        try:
            iterator = self._seal.open(text, Iterator)
        except Broken as broken:
            raise errors.invalid("Invalid ShardIterator.") from broken
        now = self._now()
        if now - iterator.issued > ITERATOR_SECONDS:
            raise errors.expired(issued=iterator.issued, now=now, tolerated_seconds=ITERATOR_SECONDS)
        stream = self._stream(iterator.stream, arn)
        if stream.created_at != iterator.created:
            raise errors.missing_shard(iterator.shard, iterator.stream)
        return stream, shard_of(stream, iterator.shard), int(iterator.position)


def _checked(entry: Entry, stream: Stream, *, at: str) -> int:
    """Return the entry's hash key. Raises ValidationException or InvalidArgumentException."""
    if not 1 <= len(entry.partition_key) <= _LONGEST_KEY:
        bound = f"Member must have length between 1 and {_LONGEST_KEY}"
        raise errors.malformed(entry.partition_key, f"{at}partitionKey", bound)
    most = stream.max_record_bytes
    if len(entry.data) > most:
        size = len(entry.data)
        shown = f"java.nio.HeapByteBuffer[pos=0 lim={size} cap={size}]"
        raise errors.malformed(shown, f"{at}data", f"Member must have length less than or equal to {most}")
    if len(entry.data) + len(entry.partition_key.encode()) > most:
        raise errors.invalid(f"Data and partition key together exceed the limit of {most} bytes.")
    if entry.explicit_hash_key is None:
        return hash_key(entry.partition_key)
    return hash_key_from(entry.explicit_hash_key, "ExplicitHashKey")


def hash_key_from(text: str, name: str) -> int:
    """Read a hash key given by the caller. Raises InvalidArgumentException."""
    if not (text.isascii() and text.isdigit() and int(text) < HASH_KEYS):
        raise errors.invalid(f"Invalid {name}. {name} must be in the range: [0, 2^128-1]. Specified value was {text}")
    return int(text)


def _numbered(text: str, shard: Shard, stream: Stream) -> int:
    """Read a starting sequence number, which must be one of this shard. Raises InvalidArgumentException."""
    used = f"StartingSequenceNumber {text} used in GetShardIterator on shard {shard.id} in stream {stream.name}"
    try:
        found = parts(text)
    except NotANumber as wrong:
        raise errors.invalid(f"{used} under account {errors.ACCOUNT} is invalid.") from wrong
    if found.shard != shard.index:
        raise errors.invalid(
            f"Invalid StartingSequenceNumber. It encodes shardId-{found.shard:012d}, "
            f"while it was used in a call to a shard with {shard.id}"
        )
    if found.opened != shard.era:
        why = "is invalid because it did not come from this stream."
        raise errors.invalid(f"{used} under account {errors.ACCOUNT} {why}")
    return int(text)
