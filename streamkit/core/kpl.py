"""User records out of the aggregates that the Kinesis Producer Library makes.

An aggregate is one Kinesis record that holds many user records (aggregation-format.md in
https://github.com/awslabs/amazon-kinesis-producer):

    F3 89 9A C2 | protobuf message: partition keys, explicit hash keys, user records | MD5 of the message
                                                                          |
                          index of its partition key, of its explicit hash key?, data, tags*

- Data too short for magic and MD5 (20 bytes) is plain, as in KCL. From there on, the magic without a sound
  aggregate behind it is one record with a `defect`: no text, gzip, zstd or Avro begins with these bytes, so
  chance can hardly be the cause. (KCL hands an aggregate with a wrong MD5 to the handler as a user record,
  and drops the rest of one that refers to a key out of its table.)
- A right MD5 proves no good will: every count and length is bounded before it is believed.
- Nothing is left out. A user record that another shard delivers is marked `foreign`, see `expand`.
"""

from __future__ import annotations

import hashlib
from struct import Struct
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from streamkit.core.records import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

MAGIC: Final = b"\xf3\x89\x9a\xc2"
DECODING: Final = 1
"""Version of the rules by which (sub)records are counted: done bits of another version mean nothing."""

_DIGEST_BYTES: Final = 16
_KEY, _HASH_KEY, _RECORD = 0x0A, 0x12, 0x1A  # tags of the message: fields 1, 2, 3, each of a length
_KEY_INDEX, _HASH_KEY_INDEX, _DATA = 0x08, 0x10, 0x1A  # tags of a user record: fields 1, 2, 3
_MAX_FIELDS: Final = 16  # of one user record, tags included
_NUMBER, _BYTES, _FIXED = 0, 2, {1: 8, 5: 4}  # kinds of field; the fixed ones with their bytes
_VARINT_BYTES: Final = 10
_MORE: Final = 0x80  # in a byte of a number: another follows
_HASH_KEY_DIGITS: Final = 39  # of a number below 2**128
_eight = Struct("8B").unpack_from  # never beyond the data: the digest follows


class _Corrupt(Exception):
    """The aggregate is not sound; the argument says why without its content."""


def expand(record: Record, *, limit: int = 10_000, hash_range: tuple[int, int] | None = None) -> Sequence[Record]:
    """Return the user records of an aggregate, or the record itself where it is none.

    User records share the sequence number and are told apart by `subsequence`, 0 to n-1; only the final is
    `last`. A corrupt aggregate, or one of more than `limit` user records, comes back whole with a `defect`.

    `hash_range` is the shard's, both ends included. The KPL fills an aggregate for one shard. If a reshard took
    it to another, the KPL puts again each user record that does not belong there (its retrier.cc): those are
    marked `foreign`, counted like any other, but delivered by another shard. Other aggregators put nothing
    again, so give a range only where the KPL is the sole producer. Without one, all are delivered, at the price
    of repeats after a reshard. (KCL always filters, and drops the rest of such an aggregate along with them.)
    """
    data = record.data
    if not data.startswith(MAGIC) or len(data) < len(MAGIC) + _DIGEST_BYTES or record.defect is not None:
        return (record,)
    try:
        return _Aggregate(record, limit).records(hash_range)
    except _Corrupt as corrupt:
        return (replace(record, defect=f"corrupt KPL aggregate: {corrupt}"),)


def expand_all(records: Sequence[Record], *, hash_range: tuple[int, int] | None = None) -> Sequence[Record]:
    """Return the user records of all of these, in order: the very same sequence where none is an aggregate."""
    if not any([record.data.startswith(MAGIC) for record in records]):  # noqa: C419 - half the price of a generator
        return records
    return [user for record in records for user in expand(record, hash_range=hash_range)]


class _Aggregate:
    """One reading of an aggregate, from front to back."""

    def __init__(self, record: Record, limit: int) -> None:
        self._record = record
        self._limit = limit
        self._end = len(record.data) - _DIGEST_BYTES
        self._keys: list[str] = []
        self._hash_keys: list[bytes] = []
        self._explicit: dict[int, bytes] = {}

    def records(self, hash_range: tuple[int, int] | None) -> list[Record]:
        """Return the user records. Raises `_Corrupt`."""
        data, end = self._record.data, self._end
        message = memoryview(data)[len(MAGIC) : end]
        if hashlib.md5(message, usedforsecurity=False).digest() != data[end:]:
            raise _Corrupt("the checksum is wrong")
        records = self._between_tables()
        records[-1] = replace(records[-1], last=True)
        if hash_range is None:
            return records
        return [replace(user, foreign=not self._belongs(user, *hash_range)) for user in records]

    def _between_tables(self) -> list[Record]:
        """Read the keys, the user records, and whatever else follows up to the end."""
        try:
            records, at = self._read_records(self._read_tables(len(MAGIC)))
        except IndexError:
            raise _Corrupt("a user record names a key that is not in the table") from None
        at = self._read_tables(at)
        if at > self._end:
            raise _Corrupt("the last user record breaks off")
        if at < self._end:
            raise _Corrupt(f"expected at most {self._limit} user records, got more")
        if not records:
            raise _Corrupt("expected user records, got none")
        return records

    def _read_tables(self, at: int) -> int:
        """Read keys, pass over fields of later versions of the format; return where a user record begins."""
        data, end = self._record.data, self._end
        for _ in range(3 * self._limit):
            if at >= end or data[at] == _RECORD:
                return at
            tag, start, at = _field(data, at, end)
            if tag == _KEY:
                self._keys.append(_text(data[start:at]))
            elif tag == _HASH_KEY:
                self._hash_keys.append(data[start:at])
        raise _Corrupt(f"expected at most {3 * self._limit} keys, got more")

    def _read_records(self, at: int) -> tuple[list[Record], int]:
        """Read user records; return them and where they end. Raises `IndexError` for a key not in the table.

        Nearly all are a key index below 128, then the data, with lengths of one or of two bytes: both shapes
        are told here by one look at eight bytes, because this loop is what an aggregate costs.
        """
        whole, data, end, keys = self._record, self._record.data, self._end, self._keys
        number, origin, arrived = whole.sequence_number, whole.origin, whole.arrived
        attempt, redriven, replayed = whole.attempt, whole.redriven, whole.replayed
        records = list[Record]()
        for subsequence in range(self._limit):
            if at >= end:
                break
            b0, b1, b2, b3, b4, b5, b6, b7 = _eight(data, at)
            if b0 != _RECORD:
                break
            if b2 == _KEY_INDEX and b4 == _DATA and b1 < _MORE and b3 < _MORE and b5 + 4 == b1:
                key, start = b3, at + 6
                at = stop = start + b5
            elif (
                (b3 == _KEY_INDEX and b5 == _DATA and b2 < _MORE <= b1 and b4 < _MORE and b7 < _MORE <= b6)
                and (size := b6 ^ _MORE | b7 << 7) + 5 == b1 ^ _MORE | b2 << 7
            ):  # fmt: skip
                key, start = b4, at + 8
                at = stop = start + size
            else:
                key, start, stop, at = self._read_record(at, subsequence)
            records.append(
                Record(  # by position: naming the arguments would cost this loop a sixth
                    data[start:stop],
                    keys[key],
                    number,
                    origin,
                    arrived,
                    subsequence,
                    False,  # noqa: FBT003 - last: only the final one is
                    None,
                    attempt,
                    redriven,
                    replayed,
                )
            )
        return records, at

    def _read_record(self, at: int, subsequence: int) -> tuple[int, int, int, int]:
        """Read a user record of any shape; return its key index, where its data is, and where it ends."""
        data = self._record.data
        _, at, end = _field(data, at, self._end)
        key = hash_key = start = None
        stop = 0
        for _ in range(_MAX_FIELDS):
            if at == end:
                break
            tag, value, at = _field(data, at, end)
            if tag == _KEY_INDEX:
                key = value
            elif tag == _HASH_KEY_INDEX:
                hash_key = value
            elif tag == _DATA:
                start, stop = value, at
        if at != end:
            raise _Corrupt(f"expected at most {_MAX_FIELDS} fields of a user record, got more")
        if key is None or start is None:
            raise _Corrupt("a user record lacks its key or its data")
        if hash_key is not None:
            self._explicit[subsequence] = self._hash_keys[hash_key]
        return key, start, stop, end

    def _belongs(self, user: Record, low: int, high: int) -> bool:
        """Say whether a shard of these hash keys is the one to deliver a user record; if in doubt, it is."""
        explicit = self._explicit.get(user.subsequence)
        if explicit is None:
            digest = hashlib.md5(user.key.encode(), usedforsecurity=False).digest()
            return low <= int.from_bytes(digest) <= high
        if not explicit.isdigit() or len(explicit) > _HASH_KEY_DIGITS:
            return True
        return low <= int(explicit) <= high


def _field(data: bytes, at: int, end: int) -> tuple[int, int, int]:
    """Read one protobuf field; return its tag, its number or where its content starts, and where it ends."""
    tag, at = _varint(data, at)
    if at >= end:
        raise _Corrupt("a field breaks off")
    wire = tag & 7
    if wire == _NUMBER:
        start, stop = _varint(data, at)
    elif wire == _BYTES:
        size, start = _varint(data, at)
        stop = start + size
    elif wire in _FIXED:
        start, stop = at, at + _FIXED[wire]
    else:
        raise _Corrupt("a field is of no known kind")
    if stop > end:
        raise _Corrupt("a field breaks off")
    return tag, start, stop


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a protobuf number of up to 64 bits; return it and where it ends. The digest leaves it room."""
    value = data[at]
    if value < _MORE:
        return value, at + 1
    value ^= _MORE
    for shift in range(7, 7 * _VARINT_BYTES, 7):
        at += 1
        byte = data[at]
        if byte < _MORE:
            return value | byte << shift, at + 1
        value |= (byte ^ _MORE) << shift
    raise _Corrupt("a number has more than 64 bits")


def _text(key: bytes) -> str:
    """Return a partition key."""
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise _Corrupt("a partition key is not UTF-8") from None
