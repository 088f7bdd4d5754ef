"""The shape of every request: the signature of the world's method, so the two cannot drift apart."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from streamkit.testing.kinesis.values import aws_name
from streamkit.testing.kinesis.world import KinesisWorld

_OPERATIONS: Final = (
    *("create_stream", "delete_stream", "describe_stream", "describe_stream_summary", "list_streams", "list_shards"),
    *("put_record", "put_records", "get_shard_iterator", "get_records"),
    *("split_shard", "merge_shards", "update_shard_count", "update_max_record_size"),
    *("increase_stream_retention_period", "decrease_stream_retention_period"),
    *("add_tags_to_stream", "remove_tags_from_stream", "list_tags_for_stream"),
    *("register_stream_consumer", "describe_stream_consumer", "list_stream_consumers", "deregister_stream_consumer"),
    "subscribe_to_shard",
)
_WRAPPED: Final = {
    "GetShardIterator": "ShardIterator",
    "DescribeStream": "StreamDescription",
    "DescribeStreamSummary": "StreamDescriptionSummary",
    "RegisterStreamConsumer": "Consumer",
    "DescribeStreamConsumer": "ConsumerDescription",
}
"""Operations whose answer is one named thing."""


def _request(method: Callable[..., Any]) -> type[msgspec.Struct]:
    """Make the type of a request from a method's keyword arguments."""
    hints = typing.get_type_hints(method)
    given = [parameter for parameter in inspect.signature(method).parameters.values() if parameter.name != "self"]
    required = [(p.name, hints[p.name]) for p in given if p.default is p.empty]
    optional = [(p.name, hints[p.name], p.default) for p in given if p.default is not p.empty]
    return msgspec.defstruct(aws_name(method.__name__), [*required, *optional], rename=aws_name, kw_only=True)


REQUESTS: Final[Mapping[str, tuple[str, type[msgspec.Struct]]]] = {
    aws_name(name): (name, _request(getattr(KinesisWorld, name))) for name in _OPERATIONS
}
"""By AWS's name of an operation: the world's method, and the type of a request."""


def wrapped(operation: str, answer: object) -> object:
    """Return the answer in the name it has for AWS, if it is one named thing."""
    name = _WRAPPED.get(operation)
    return {name: answer} if name else answer
