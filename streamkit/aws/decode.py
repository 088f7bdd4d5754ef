"""Read GetRecords answers an order of magnitude faster than the SDK's own parser does.

The SDK emits `before-parse.kinesis.GetRecords` with the raw answer and a dictionary that it merges into the
parsed one: the records go there, decoded by msgspec, and an empty object is left to parse. Authentication and
errors stay the SDK's. An answer that does not decode here is left as it came. Each function says whether it decoded,
which the SDK does not ask.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import msgspec

T = TypeVar("T")

MULTIPLE_CHOICES = 300
"""From this HTTP status on an answer is an error."""


class RawRecord(msgspec.Struct, gc=False):
    """One record as the service returns it."""

    Data: bytes
    PartitionKey: str
    SequenceNumber: str
    ApproximateArrivalTimestamp: float
    """Seconds since the epoch."""


class RawRecords(msgspec.Struct):
    """The answer of GetRecords."""

    Records: list[RawRecord]
    NextShardIterator: str | None = None
    MillisBehindLatest: int | None = None
    ChildShards: list[Any] | None = None


_records = msgspec.json.Decoder(RawRecords)


def decode_records(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object) -> bool:
    """Decode one answer in place of the SDK's parser, if it is what it should be."""
    if (answer := _taken(_records, response_dict)) is None:
        return False
    for name in answer.__struct_fields__:
        if (value := getattr(answer, name)) is not None:
            customized_response_dict[name] = value
    return True


class RawChanges(msgspec.Struct):
    """The answer of DynamoDB Streams' GetRecords: each change as the JSON it is."""

    Records: list[msgspec.Raw]
    NextShardIterator: str | None = None


_changes = msgspec.json.Decoder(RawChanges)


def decode_changes(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object) -> bool:
    """Cut one answer into its changes in place of the SDK's parser, if it is what it should be."""
    if (answer := _taken(_changes, response_dict)) is None:
        return False
    customized_response_dict["Records"] = [bytes(each) for each in answer.Records]
    if answer.NextShardIterator is not None:
        customized_response_dict["NextShardIterator"] = answer.NextShardIterator
    return True


class RawRow(msgspec.Struct):
    """The answer of a write to DynamoDB: the row as it was, where that was asked for. Of texts, numbers and truths."""

    Attributes: dict[str, dict[Literal["S", "N", "BOOL"], str | bool]] | None = None


_row = msgspec.json.Decoder(RawRow)


def decode_row(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object) -> bool:
    """Decode one answer in place of the SDK's parser, if it is what it should be. Other rows are left to that one."""
    if (answer := _taken(_row, response_dict)) is None:
        return False
    if answer.Attributes is not None:
        customized_response_dict["Attributes"] = answer.Attributes
    return True


def install_changes(client: Any) -> None:
    """Let a client of DynamoDB Streams leave changes undecoded."""
    client.meta.events.register("before-parse.dynamodb-streams.GetRecords", decode_changes)


def install(client: Any) -> None:
    """Let a Kinesis client decode records this way."""
    client.meta.events.register("before-parse.kinesis.GetRecords", decode_records)


def _taken(decoder: msgspec.json.Decoder[T], response: dict[str, Any]) -> T | None:
    """Return what was answered, and leave an empty answer to the SDK's parser; None if it is not what it should be."""
    if response["status_code"] >= MULTIPLE_CHOICES:
        return None
    try:
        answer = decoder.decode(response["body"])
    except msgspec.MsgspecError:
        return None
    response["body"] = b"{}"
    return answer
