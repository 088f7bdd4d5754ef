"""From an event of a mapping to records: parsed here, trusted from here on.

Shapes: https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis-example.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, cast

import msgspec
from msgspec.structs import replace

from streamkit.core.kpl import expand
from streamkit.core.positions import MAX_DIGITS
from streamkit.core.records import Compression, Origin, Record
from streamkit.errors import MalformedEvent

SequenceNumber = Annotated[str, msgspec.Meta(pattern=rf"^[0-9]{{1,{MAX_DIGITS}}}$")]

_ARN = re.compile(r"arn:[^:]+:kinesis:[^:]*:[^:]*:stream/([^/:]+)(?:/.*)?")
_EVENT_ID = re.compile(r"(shardId-[^:]+):([0-9]+)")


class _Kinesis(msgspec.Struct):
    partition_key: str = msgspec.field(name="partitionKey")
    sequence_number: SequenceNumber = msgspec.field(name="sequenceNumber")
    data: bytes
    arrived: float = msgspec.field(name="approximateArrivalTimestamp")


class _KinesisEntry(msgspec.Struct):
    kinesis: _Kinesis
    event_id: str = msgspec.field(name="eventID")
    arn: str = msgspec.field(name="eventSourceARN")


class Part(msgspec.Struct, frozen=True):
    """The records of one shard in one event, in stream order, aggregates taken apart."""

    arn: str
    """Of the stream."""
    shard: str
    """Empty where the event does not tell."""
    records: Sequence[Record]
    places: Sequence[int]
    """For each, which entry of the event it came in."""


class Intake(msgspec.Struct, frozen=True):
    """What a consumer lets in."""

    compression: Compression | None
    max_record_bytes: int


def parts(event: object, intake: Intake) -> list[Part]:
    """Return what an event brought, by shard. Raises `MalformedEvent`, which never quotes a payload."""
    found: dict[tuple[str, str], tuple[list[Record], list[int]]] = {}
    origins: dict[tuple[str, str], Origin] = {}
    for index, entry in enumerate(_entries(event)):
        parsed = _parsed(entry, index)
        stream, shard = _stream(parsed, index), _shard(parsed, index)
        where = parsed.arn, shard
        origin = origins.setdefault(where, Origin(stream, shard, intake.compression))
        records, places = found.setdefault(where, ([], []))
        record = _record(parsed.kinesis, origin, intake)
        if records and record.sequence <= records[-1].sequence:
            raise _malformed(index, "sequence numbers of a shard that ascend", "one that does not")
        for each in expand(record):
            records.append(each)
            places.append(index)
    return [Part(arn, shard, records, places) for (arn, shard), (records, places) in found.items()]


def sequence_number(event: object, index: int) -> str:
    """Return how an entry of a parsed event names itself to Lambda: its text, untouched."""
    return str(_entries(event)[index]["kinesis"]["sequenceNumber"])


def _entries(event: object) -> Sequence[Mapping[str, Any]]:
    if not isinstance(event, Mapping):
        raise MalformedEvent(f"expected an event of a stream, got {type(event).__name__}")
    known = cast("Mapping[str, object]", event)
    if "isFinalInvokeForWindow" in known:
        raise MalformedEvent("expected an event of a mapping without a tumbling window, got one with its state")
    entries = known.get("Records")
    if not isinstance(entries, list):
        raise MalformedEvent(f"expected an event of a stream, with a list of Records, got {type(entries).__name__}")
    return cast("Sequence[Mapping[str, Any]]", entries)


def _parsed(entry: object, index: int) -> _KinesisEntry:
    source = cast("Mapping[str, object]", entry).get("eventSource") if isinstance(entry, Mapping) else None
    if source != "aws:kinesis":
        raise _malformed(index, "eventSource aws:kinesis", repr(source)[:40] if isinstance(source, str) else "none")
    try:
        return msgspec.convert(entry, _KinesisEntry)
    except msgspec.ValidationError as error:
        raise MalformedEvent(f"record {index} of the event: {error}") from None


def _stream(entry: _KinesisEntry, index: int) -> str:
    arn = _ARN.fullmatch(entry.arn)
    if arn is None:
        raise _malformed(index, "eventSourceARN of a Kinesis stream", repr(entry.arn)[:120])
    return arn[1]


def _shard(entry: _KinesisEntry, index: int) -> str:
    found = _EVENT_ID.fullmatch(entry.event_id)
    if found is None or found[2] != entry.kinesis.sequence_number:
        raise _malformed(index, "eventID <shard id>:<sequence number>", "another")
    return found[1]


def _record(entry: _Kinesis, origin: Origin, intake: Intake) -> Record:
    record = Record(entry.data, entry.partition_key, entry.sequence_number, origin, entry.arrived)
    if len(entry.data) <= intake.max_record_bytes:
        return record
    return replace(record, defect=f"expected at most {intake.max_record_bytes} bytes, got {len(entry.data)}")


def _malformed(index: int, expected: str, got: str) -> MalformedEvent:
    return MalformedEvent(f"record {index} of the event: expected {expected}, got {got}")
