"""Read GetRecords answers an order of magnitude faster than the SDK's own parser does.

The SDK emits `before-parse.kinesis.GetRecords` with the raw answer and a dictionary that it merges into the
parsed one: the records go there, decoded by msgspec, and an empty object is left to parse. Authentication and
errors stay the SDK's. An answer that does not decode here is left as it came.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

import msgspec

MULTIPLE_CHOICES = 300
"""From this HTTP status on an answer is an error."""


class RawRecord(TypedDict):
    """One record as the service returns it."""

    Data: bytes
    PartitionKey: str
    SequenceNumber: str
    ApproximateArrivalTimestamp: float
    EncryptionType: NotRequired[str]


class RawRecords(TypedDict):
    """The answer of GetRecords; moments are seconds since the epoch."""

    Records: list[RawRecord]
    NextShardIterator: NotRequired[str | None]
    MillisBehindLatest: NotRequired[int | None]
    ChildShards: NotRequired[list[Any] | None]


_records = msgspec.json.Decoder(RawRecords)


def decode_records(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object) -> None:
    """Decode one answer in place of the SDK's parser, if it is what it should be."""
    if response_dict["status_code"] >= MULTIPLE_CHOICES:
        return
    try:
        answer = _records.decode(response_dict["body"])
    except msgspec.MsgspecError:
        return
    customized_response_dict.update((name, value) for name, value in answer.items() if value is not None)
    response_dict["body"] = b"{}"


class RawChanges(TypedDict):
    """The answer of DynamoDB Streams' GetRecords: each change as the JSON it is."""

    Records: list[msgspec.Raw]
    NextShardIterator: NotRequired[str | None]


_changes = msgspec.json.Decoder(RawChanges)


def decode_changes(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object) -> None:
    """Cut one answer into its changes in place of the SDK's parser, if it is what it should be."""
    if response_dict["status_code"] >= MULTIPLE_CHOICES:
        return
    try:
        answer = _changes.decode(response_dict["body"])
    except msgspec.MsgspecError:
        return
    customized_response_dict["Records"] = [bytes(each) for each in answer["Records"]]
    if (following := answer.get("NextShardIterator")) is not None:
        customized_response_dict["NextShardIterator"] = following
    response_dict["body"] = b"{}"


def install_changes(client: Any) -> None:  # noqa: ANN401 - the SDK's clients have no type
    """Let a client of DynamoDB Streams leave changes undecoded."""
    client.meta.events.register("before-parse.dynamodb-streams.GetRecords", decode_changes)


def install(client: Any) -> None:  # noqa: ANN401 - the SDK's clients have no type
    """Let a Kinesis client decode records this way."""
    client.meta.events.register("before-parse.kinesis.GetRecords", decode_records)
