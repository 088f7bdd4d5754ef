"""How the service in memory is asked: by the adapter in this process, or as JSON over HTTP.

Source of the protocol: https://smithy.io/2.0/aws/protocols/aws-json-1_0-protocol.html
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from streamkit.aws.call import Call
from streamkit.aws.errors import Rejected, Trimmed
from streamkit.errors import Expired, Missing, Throttled, Unanswered
from streamkit.testing.dynamodb_streams import errors
from streamkit.testing.dynamodb_streams.errors import StreamsError

if TYPE_CHECKING:
    from streamkit.testing.dynamodb_streams.streams import ChangeStreams
    from streamkit.testing.dynamodb_streams.table import ChangingTable

TARGET: Final = "DynamoDBStreams_20120810."
JSON: Final = "application/x-amz-json-1.0"
_OPERATIONS: Final = ("ListStreams", "DescribeStream", "GetShardIterator", "GetRecords")
_MEANINGS: Final = {
    "ExpiredIteratorException": Expired,
    "LimitExceededException": Throttled,
    "ResourceNotFoundException": Missing,
    "TrimmedDataAccessException": Trimmed,
    "InternalServerError": Unanswered,
}


def calls(table: ChangingTable) -> tuple[Call, Call]:
    """Return the ways to call DynamoDB and DynamoDB Streams about one table, as `streamkit.aws.call.Call`s."""

    async def dynamodb(_operation: str, /, **_parameters: object) -> dict[str, Any]:
        await asyncio.sleep(0)
        found = table.described()
        if not found:
            raise Missing(f"table {table.name} not found")
        return {"Table": found}

    async def streams(operation: str, /, **parameters: object) -> dict[str, Any]:
        await asyncio.sleep(0)
        try:
            return _carried_out(table.streams, operation, parameters)
        except StreamsError as refused:
            raise _MEANINGS.get(refused.code, Rejected)(str(refused)) from refused

    return dynamodb, streams


def answer(streams: ChangeStreams, operation: str, body: bytes) -> tuple[int, bytes]:
    """Return HTTP status and JSON that answer a request."""
    try:
        parameters = msgspec.json.decode(body or b"{}", type=dict[str, Any])
        answered = _carried_out(streams, operation, parameters)
    except msgspec.MsgspecError as wrong:
        return _refusal("SerializationException", str(wrong))
    except StreamsError as refused:
        return _refusal(refused.code, refused.message)
    if "Records" in answered:
        answered["Records"] = [msgspec.Raw(each) for each in answered["Records"]]
    return 200, msgspec.json.encode(answered)


def _carried_out(streams: ChangeStreams, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """Do what was asked. Raises `StreamsError`."""
    if operation not in _OPERATIONS:
        raise StreamsError("UnknownOperationException", f"expected one of {_OPERATIONS}, got {operation}")
    try:
        return getattr(streams, _snake(operation))(**{_snake(name): value for name, value in parameters.items()})  # type: ignore[no-any-return]
    except TypeError as wrong:
        raise errors.invalid(str(wrong)) from wrong


def _snake(name: str) -> str:
    """Return the Python name of an operation or parameter."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _refusal(code: str, message: str) -> tuple[int, bytes]:
    kind = f"com.amazonaws.dynamodb.v20120810#{code}"
    return 400, msgspec.json.encode({"__type": kind, "message": message})
