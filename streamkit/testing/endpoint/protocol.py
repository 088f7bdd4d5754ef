"""Kinesis over AWS JSON 1.1: one POST an operation, named by the header X-Amz-Target.

The shape of every request is the signature of the world's method, so the two cannot drift apart.
Source: https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from streamkit.testing.kinesis import KinesisError, KinesisWorld
from streamkit.testing.kinesis.values import aws_name

TARGET: Final = "Kinesis_20131202."
JSON: Final = "application/x-amz-json-1.1"
OPERATIONS: Final = (
    *("create_stream", "delete_stream", "describe_stream", "describe_stream_summary", "list_streams", "list_shards"),
    *("put_record", "put_records", "get_shard_iterator", "get_records"),
    *("split_shard", "merge_shards", "update_shard_count", "update_max_record_size"),
    *("increase_stream_retention_period", "decrease_stream_retention_period"),
    *("add_tags_to_stream", "remove_tags_from_stream", "list_tags_for_stream"),
)
_WRAPPED: Final = {
    "GetShardIterator": "ShardIterator",
    "DescribeStream": "StreamDescription",
    "DescribeStreamSummary": "StreamDescriptionSummary",
}
"""Operations whose answer is one named thing."""


def _request(method: Callable[..., Any]) -> type[msgspec.Struct]:
    """Make the type of a request from a method's keyword arguments."""
    hints = typing.get_type_hints(method)
    given = [parameter for parameter in inspect.signature(method).parameters.values() if parameter.name != "self"]
    required = [(p.name, hints[p.name]) for p in given if p.default is p.empty]
    optional = [(p.name, hints[p.name], p.default) for p in given if p.default is not p.empty]
    return msgspec.defstruct(aws_name(method.__name__), [*required, *optional], rename=aws_name, kw_only=True)


_DECODERS: Final[Mapping[str, tuple[str, msgspec.json.Decoder[msgspec.Struct]]]] = {
    aws_name(name): (name, msgspec.json.Decoder(_request(getattr(KinesisWorld, name)))) for name in OPERATIONS
}
_encode: Final = msgspec.json.Encoder().encode


def answer(world: KinesisWorld, operation: str, body: bytes, *, content_type: str) -> bytes:
    """Carry out one request and return the body of the answer. Raises `KinesisError`, `AnswerLost`."""
    if "cbor" in content_type:
        raise KinesisError(
            "SerializationException",
            f"expected {JSON}, got {content_type}: switch CBOR off in the client (Java: AWS_CBOR_DISABLE=true)",
        )
    if operation not in _DECODERS:
        raise KinesisError("UnknownOperationException", f"expected one of {sorted(_DECODERS)}, got {operation}")
    name, decoder = _DECODERS[operation]
    try:
        request = decoder.decode(body or b"{}")
    except msgspec.ValidationError as wrong:
        code = "SerializationException" if str(wrong).startswith("Expected") else "ValidationException"
        raise KinesisError(code, str(wrong)) from wrong
    except msgspec.DecodeError as wrong:
        raise KinesisError("SerializationException", str(wrong)) from wrong
    found = getattr(world, name)(**msgspec.structs.asdict(request))
    if found is None:
        return b""
    wrapper = _WRAPPED.get(operation)
    return _encode({wrapper: found} if wrapper else found)


def refusal(error: KinesisError) -> tuple[int, bytes]:
    """Return the status and body of an error's answer."""
    status = 500 if error.code == "InternalFailureException" else 400
    return status, _encode({"__type": error.code, "message": error.message})
