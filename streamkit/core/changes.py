"""The change: a record of what happened to one item of a DynamoDB table.

Three ways lead here, and one decoder serves them: answers of DynamoDB Streams' GetRecords, Lambda events (the same
JSON, parsed already), and Kinesis Data Streams for DynamoDB (the same JSON inside of a Kinesis record). What every
reader of a shard needs is decoded at once; the images when they are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any, Final, Generic, Literal, TypeVar

import msgspec
from msgspec.structs import replace

from streamkit.core import codec
from streamkit.core.positions import MAX_DIGITS
from streamkit.core.records import Origin, Record
from streamkit.core.values import Image, Key, Plain, canonical, plain, plain_key
from streamkit.signals import Undecodable

T = TypeVar("T")

Event = Literal["INSERT", "MODIFY", "REMOVE"]

_REAPER: Final = "dynamodb.amazonaws.com"
"""Who deletes expired items
(https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/time-to-live-ttl-streams.html)."""
_UNITS: Final = {"MILLISECOND": 10**3, "MICROSECOND": 10**6}
_LAST: Final = datetime(9999, 12, 31, tzinfo=UTC).timestamp()


class Change(Record, frozen=True, dict=True, gc=True, kw_only=True):
    """One change of one item. `data` is the JSON of the change as it came; `key` is the item's, in one spelling.

    Images are decoded when they are first asked for. They raise `Undecodable` if they are not what DynamoDB writes.
    """

    event: Event
    event_id: str
    """The service's own id of the change: the same wherever and however often it is delivered."""
    expired: bool
    """Whether nobody deleted the item: its time to live was over."""
    changed: float
    """When, by the service's clock: seconds since the epoch, whole ones in DynamoDB Streams."""

    @property
    def id(self) -> str:
        """The same for every delivery of this change: use it as the idempotency token of calls elsewhere."""
        return f"{self.origin.stream}:{self.event_id}" if self.event_id else super().id

    @property
    def changed_at(self) -> datetime:
        """When it happened, in UTC."""
        return datetime.fromtimestamp(self.changed, UTC)

    @cached_property
    def keys(self) -> dict[str, str | int | Decimal | bytes]:
        """The item's key attributes."""
        return plain_key(_read(_keys, self.data).dynamodb.Keys)

    @cached_property
    def old(self) -> dict[str, Plain] | None:
        """The item as it was; None if there was none, or if the stream does not carry old images."""
        image = _read(_old, self.data).dynamodb.OldImage
        return None if image is None else plain(image)

    @cached_property
    def new(self) -> dict[str, Plain] | None:
        """The item as it is since; None if it is gone, or if the stream does not carry new images."""
        image = _read(_new, self.data).dynamodb.NewImage
        return None if image is None else plain(image)


# --------------------------------------------------------------------------------------------- making changes


def change(data: bytes, origin: Origin) -> Record:
    """Return the change that this JSON of DynamoDB Streams is: a `Change`, or a `Record` with a defect.

    Raises `Undecodable` if there is not even a sequence number in it.
    """
    try:
        found = _read(_envelope, data)
        body = found.dynamodb
        return Change(
            data,
            canonical(body.Keys),
            _checked(body.SequenceNumber),
            origin,
            found.changed,
            event=found.event,
            event_id=found.id,
            expired=found.expired,
            changed=found.changed,
        )
    except Undecodable as fault:
        number = _checked(_read(_number, data).dynamodb.SequenceNumber)
        return Record(data, "", number, origin, 0.0, defect=f"no change of DynamoDB: {fault.reason}")


def parsed(entry: Mapping[str, Any], origin: Origin) -> Record:
    """Return the change that a Lambda event's entry is: the same JSON, parsed. Raises `Undecodable` as `change`."""
    try:
        data = msgspec.json.encode(entry)
    except (TypeError, ValueError, RecursionError):
        raise Undecodable("expected an entry of a DynamoDB event, got what no JSON can be") from None
    return change(data, origin)


def carried(record: Record) -> Record:
    """Return the change inside of a record of a Kinesis stream, in that record's place there.

    A record that carries none gets a defect, which makes it a dead letter: the stream is for changes.
    """
    if record.defect is not None or isinstance(record, Change):
        return record
    try:
        found = _read(_envelope, record.data)
        key, changed = canonical(found.dynamodb.Keys), found.changed
    except Undecodable as fault:
        return replace(record, defect=f"no change of DynamoDB: {fault.reason}")
    fields: dict[str, Any] = msgspec.structs.asdict(record) | {"key": key}
    return Change(
        **fields,
        event=found.event,
        event_id=found.id,
        expired=found.expired,
        changed=changed,
    )


# --------------------------------------------------------------------------------------------- what is in the JSON


class _Body(msgspec.Struct, gc=False):
    """What is read of every change."""

    Keys: Key
    ApproximateCreationDateTime: float = 0.0
    """The service may leave it out, and does in its examples: then nobody knows when."""
    SequenceNumber: str = ""
    ApproximateCreationDateTimePrecision: Literal["MILLISECOND", "MICROSECOND"] | None = None


class _Envelope(msgspec.Struct, gc=False, kw_only=True):
    """A change as it comes. The service grows fields: what is unknown is passed over."""

    event: Event = msgspec.field(name="eventName")
    dynamodb: _Body
    id: str = msgspec.field(name="eventID", default="")
    by: dict[str, Any] | None = msgspec.field(name="userIdentity", default=None)

    @property
    def changed(self) -> float:
        """When, in seconds since the epoch: Kinesis Data Streams for DynamoDB counts in smaller units."""
        seconds = self.dynamodb.ApproximateCreationDateTime
        unit = self.dynamodb.ApproximateCreationDateTimePrecision
        if unit is not None:
            seconds /= _UNITS[unit]
        if not 0 <= seconds <= _LAST:
            raise Undecodable("expected a creation time in seconds since the epoch, got another number")
        return seconds

    @property
    def expired(self) -> bool:
        """Whether the deletion was the service's own. In some of its answers the names begin with capitals."""
        if self.by is None or self.event != "REMOVE":
            return False
        return _REAPER in (self.by.get("principalId"), self.by.get("PrincipalId"))


class _KeysOf(msgspec.Struct):
    Keys: Key


class _OldOf(msgspec.Struct):
    OldImage: Image | None = None


class _NewOf(msgspec.Struct):
    NewImage: Image | None = None


class _NumberOf(msgspec.Struct):
    SequenceNumber: str


class _Of(msgspec.Struct, Generic[T]):
    """A change of which no more is read than this part."""

    dynamodb: T


_envelope = msgspec.json.Decoder(_Envelope)
_keys = msgspec.json.Decoder(_Of[_KeysOf])
_old = msgspec.json.Decoder(_Of[_OldOf])
_new = msgspec.json.Decoder(_Of[_NewOf])
_number = msgspec.json.Decoder(_Of[_NumberOf])


def _read(decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    """Decode. Raises `Undecodable`, which quotes nothing of the data."""
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        raise Undecodable(codec.told(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Undecodable(f"expected JSON, got {len(data)} bytes of something else") from None
    except RecursionError:
        raise Undecodable(f"expected JSON, got {len(data)} bytes nested too deeply") from None


def _checked(number: str) -> str:
    """Return the sequence number. Raises `Undecodable` for what is none."""
    if not (number.isascii() and number.isdigit() and len(number) <= MAX_DIGITS):
        raise Undecodable("expected a change with its sequence number, got one without")
    return number
