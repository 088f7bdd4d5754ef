"""From an event of a mapping to records: parsed here, trusted from here on.

Shapes: https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis-example.html,
https://docs.aws.amazon.com/lambda/latest/dg/with-ddb-example.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice, repeat
from operator import lt
from typing import Annotated, Any, Literal, Self, cast

import msgspec
from msgspec.structs import replace

from streamkit.core.kpl import MAGIC, expand
from streamkit.core.positions import MAX_DIGITS
from streamkit.core.records import Compression, Origin, Record
from streamkit.errors import MalformedEvent
from streamkit.signals import Undecodable

Entry = Mapping[str, Any]


class Intake(msgspec.Struct, frozen=True, kw_only=True):
    """What a consumer lets in."""

    source: Literal["aws:kinesis", "aws:dynamodb"]
    compression: Compression | None
    changes: bool
    """Whether the records carry changes of DynamoDB tables."""
    max_record_bytes: int


class Part(msgspec.Struct, frozen=True):
    """Records of one shard in one event, their numbers ascending, aggregates taken apart."""

    arn: str
    """Of the stream."""
    shard: str
    """Empty where the event does not tell."""
    records: list[Record]
    places: list[int]
    """For each, which entry of the event it came in."""


def parts(event: object, intake: Intake) -> list[list[Part]]:
    """Return what an event brought, by shard. Raises `MalformedEvent`, which never quotes a payload.

    Where the shards of a stream are not told, numbers may not ascend. Then its records are cut into parts in which they
    do, to be settled one after the other: a key may be in several.
    """
    entries = _entries(event)
    for index, entry in enumerate(entries):
        kind: type = type(entry)  # not isinstance: asking it for a Mapping costs a tenth of the batch
        if kind is not dict or entry.get("eventSource") != intake.source:
            _expect_source(entry, index, intake.source)
    return _of_dynamodb(entries, intake) if intake.source == "aws:dynamodb" else _of_kinesis(entries, intake)


def sequence_number(event: object, index: int) -> str:
    """Return how an entry of an event that was parsed names itself to Lambda: its text, untouched."""
    entry = _entries(event)[index]
    changed = entry["eventSource"] == "aws:dynamodb"
    return str(entry["dynamodb"]["SequenceNumber"] if changed else entry["kinesis"]["sequenceNumber"])


# --------------------------------------------------------------------------------------------- Kinesis

Moment = Annotated[float, msgspec.Meta(ge=0, le=253_402_300_799)]
"""Seconds since the epoch, up to the year 9999."""

_KINESIS = re.compile(r"arn:[^:]+:kinesis:(?:[^:]*:[^:]*:stream/)?([^/:]+)(?:/.*)?")
"""The console's and SAM's sample events have `arn:aws:kinesis:EXAMPLE`."""
_EVENT_ID = re.compile(r"(shardId-[^:]+):[0-9]+")


class _Body(msgspec.Struct):
    partition_key: str = msgspec.field(name="partitionKey")
    sequence_number: str = msgspec.field(name="sequenceNumber")
    data: bytes
    arrived: Moment = msgspec.field(name="approximateArrivalTimestamp")


class _Entry(msgspec.Struct):
    kinesis: _Body
    event_id: str = msgspec.field(name="eventID")
    arn: str = msgspec.field(name="eventSourceARN")


class _Columns(msgspec.Struct, kw_only=True):
    """The entries by field: a step for all of them costs a fraction of as many steps for one."""

    arns: list[str]
    ids: list[str]
    numbers: list[str]
    keys: list[str]
    payloads: list[bytes]
    moments: list[Moment]

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Self:
        """Read them. Raises `MalformedEvent`."""
        try:
            bodies = [entry["kinesis"] for entry in entries]
            fields = {
                "arns": [entry["eventSourceARN"] for entry in entries],
                "ids": [entry["eventID"] for entry in entries],
                "numbers": [body["sequenceNumber"] for body in bodies],
                "keys": [body["partitionKey"] for body in bodies],
                "payloads": [body["data"] for body in bodies],
                "moments": [body["approximateArrivalTimestamp"] for body in bodies],
            }
            return msgspec.convert(fields, cls)
        except (LookupError, TypeError, UnicodeEncodeError, msgspec.ValidationError):
            raise _malformed_at(entries) from None

    def at(self, indexes: Iterable[int]) -> Self:
        """Return some of the entries."""
        return replace(self, **{name: [getattr(self, name)[at] for at in indexes] for name in self.__struct_fields__})


def _malformed_at(entries: Sequence[Entry]) -> MalformedEvent:
    """Read the entries one by one: that tells which one is wrong, and where."""
    try:
        msgspec.convert(entries, list[_Entry])
    except msgspec.ValidationError as error:
        return MalformedEvent(f"the Records of the event: {error}")
    except UnicodeEncodeError:  # of a surrogate in a payload; those before it are base64
        index = next(at for at, entry in enumerate(entries) if not str(entry["kinesis"]["data"]).isascii())
        return MalformedEvent(
            f"the Records of the event: expected base64, got another text - at `$[{index}].kinesis.data`"
        )
    return MalformedEvent("the Records of the event: expected entries of a Kinesis stream, got others")


def _of_kinesis(entries: Sequence[Entry], intake: Intake) -> list[list[Part]]:
    columns = _Columns.of(entries)
    _expect_numbers(columns.numbers)
    return [[_shard_part(some, indexes, intake)] for indexes, some in _by_shard(columns)]


def _expect_numbers(numbers: Sequence[str]) -> None:
    """Look for what is no sequence number: in all at once, and one by one only if there is some."""
    digits, lengths = "".join(numbers), set(map(len, numbers))
    if digits.isascii() and digits.encode().isdigit() and 0 not in lengths and max(lengths) <= MAX_DIGITS:
        return
    for index, number in enumerate(numbers):
        if not (number.isascii() and number.isdigit() and len(number) <= MAX_DIGITS):
            raise MalformedEvent(
                f"the Records of the event: expected 1 to {MAX_DIGITS} digits, got another text"
                f" - at `$[{index}].kinesis.sequenceNumber`"
            )


def _by_shard(columns: _Columns) -> Iterable[tuple[Sequence[int], _Columns]]:
    """Return each shard's entries with their indexes. Of one mapping come one shard's."""
    arns, ids = columns.arns, columns.ids
    if not ids:
        return []
    shard = ids[0].partition(":")[0] + ":"
    if arns.count(arns[0]) == len(arns) and all(map(str.startswith, ids, repeat(shard))):
        return [(range(len(ids)), columns)]
    found: dict[tuple[str, str], list[int]] = {}
    for index, (arn, event_id) in enumerate(zip(arns, ids, strict=True)):
        found.setdefault((arn, event_id.partition(":")[0]), []).append(index)
    return [(indexes, columns.at(indexes)) for indexes in found.values()]


def _shard_part(columns: _Columns, indexes: Sequence[int], intake: Intake) -> Part:
    arn = columns.arns[0]
    origin = _kinesis_origin(arn, columns.ids[0], indexes[0], intake)
    _expect_ascending(columns.numbers, indexes)
    records = [*map(Record, columns.payloads, columns.keys, columns.numbers, repeat(origin), columns.moments)]
    if not intake.changes and _are_plain(columns.payloads, intake):
        return Part(arn, origin.shard, records, [*indexes])
    part = Part(arn, origin.shard, [], [])
    for index, record in zip(indexes, records, strict=True):
        found = _taken_apart(record, intake)
        part.records.extend(found)
        part.places.extend([index] * len(found))
    return part


def _are_plain(payloads: Sequence[bytes], intake: Intake) -> bool:
    """Say whether each is a record of its own, of a size that is let in."""
    return max(map(len, payloads)) <= intake.max_record_bytes and not any(
        map(bytes.startswith, payloads, repeat(MAGIC))
    )


def _expect_ascending(numbers: Sequence[str], indexes: Sequence[int]) -> None:
    """Numbers of one length ascend as texts do."""
    if len(set(map(len, numbers))) == 1 and all(map(lt, numbers, islice(numbers, 1, None))):
        return
    highest = -1
    for number, index in zip(map(int, numbers), indexes, strict=True):
        if number <= highest:
            raise _malformed(index, "sequence numbers that ascend within a shard", "one that does not")
        highest = number


def _kinesis_origin(arn: str, event_id: str, index: int, intake: Intake) -> Origin:
    """Read stream and shard: the shard's id stands in the event's id only."""
    stream, shard = _KINESIS.fullmatch(arn), _EVENT_ID.fullmatch(event_id)
    if stream is None:
        raise _malformed(index, "the eventSourceARN of a Kinesis stream", repr(arn)[:120])
    if shard is None:
        raise _malformed(index, "an eventID of the form <shard id>:<sequence number>", "another")
    return Origin(stream[1], shard[1], intake.compression)


def _taken_apart(record: Record, intake: Intake) -> Sequence[Record]:
    if len(record.data) > intake.max_record_bytes:
        return [_too_large(record, intake.max_record_bytes)]
    if not intake.changes:
        return expand(record)
    from streamkit.core.changes import carried

    return [carried(record)]


# --------------------------------------------------------------------------------------------- DynamoDB

_DYNAMODB = re.compile(r"arn:[^:]+:dynamodb:[^:]*:[^:]*:table/([^/:]+)/stream/.+")


class _DynamoEntry(msgspec.Struct):
    arn: str = msgspec.field(name="eventSourceARN")


def _of_dynamodb(entries: Sequence[Entry], intake: Intake) -> list[list[Part]]:
    chains: dict[str, list[Part]] = {}
    for index, entry in enumerate(entries):
        arn, table = _table(entry, index)
        chain = chains.setdefault(arn, [])
        origin = chain[0].records[0].origin if chain else Origin(table, "")
        record = _change(entry, index, origin)
        if len(record.data) > intake.max_record_bytes:
            record = _too_large(record, intake.max_record_bytes)
        if not chain or record.sequence <= chain[-1].records[-1].sequence:
            chain.append(Part(arn, "", [], []))
        chain[-1].records.append(record)
        chain[-1].places.append(index)
    return list(chains.values())


def _table(entry: Entry, index: int) -> tuple[str, str]:
    """Return the stream's ARN, and the name of its table, which stands for it."""
    try:
        found = msgspec.convert(entry, _DynamoEntry).arn
    except msgspec.ValidationError as error:
        raise MalformedEvent(f"record {index} of the event: {error}") from None
    arn = _DYNAMODB.fullmatch(found)
    if arn is None:
        raise _malformed(index, "the eventSourceARN of a table's stream", repr(found)[:120])
    return found, arn[1]


def _change(entry: Entry, index: int, origin: Origin) -> Record:
    from streamkit.core.changes import parsed

    try:
        return parsed(entry, origin)
    except Undecodable as fault:
        raise MalformedEvent(f"record {index} of the event: {fault.reason}") from None


# --------------------------------------------------------------------------------------------- both


def _entries(event: object) -> Sequence[Entry]:
    if not isinstance(event, Mapping):
        raise MalformedEvent(f"expected an event of a stream, got {type(event).__name__}")
    known = cast("Mapping[str, object]", event)
    if "isFinalInvokeForWindow" in known:
        raise MalformedEvent("expected an event of a mapping without a tumbling window, got one with its state")
    entries = known.get("Records")
    if not isinstance(entries, list):
        raise MalformedEvent(f"expected an event of a stream, with a list of Records, got {type(entries).__name__}")
    return cast("Sequence[Entry]", entries)


def _expect_source(entry: object, index: int, expected: str) -> None:
    if not isinstance(entry, Mapping):
        raise _malformed(index, f"an entry with the eventSource {expected}", type(entry).__name__)
    source = cast("Entry", entry).get("eventSource")
    if source != expected:
        got = repr(source)[:40] if isinstance(source, str) else type(source).__name__
        raise _malformed(index, f"the eventSource {expected}, which the consumer declares", got)


def _too_large(record: Record, limit: int) -> Record:
    return replace(record, defect=f"expected at most {limit} bytes, got {len(record.data)}")


def _malformed(index: int, expected: str, got: str) -> MalformedEvent:
    return MalformedEvent(f"record {index} of the event: expected {expected}, got {got}")
