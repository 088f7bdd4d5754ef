"""Kinesis over AWS JSON 1.1: one POST an operation, named by the header X-Amz-Target.

The shape of every request is the signature of the world's method, so the two cannot drift apart.
Source: https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from streamkit.testing.kinesis import KinesisError, KinesisWorld
from streamkit.testing.kinesis.fan_out import Subscription
from streamkit.testing.kinesis.requests import REQUESTS, wrapped

TARGET: Final = "Kinesis_20131202."
JSON: Final = "application/x-amz-json-1.1"
_DECODERS: Final[Mapping[str, msgspec.json.Decoder[Any]]] = {
    operation: msgspec.json.Decoder(request) for operation, (_, request) in REQUESTS.items()
}
_encode: Final = msgspec.json.Encoder().encode


def answer(world: KinesisWorld, operation: str, body: bytes, *, content_type: str) -> bytes | Subscription:
    """Carry out one request and return the body of the answer, or what is to be pushed.

    Raises `KinesisError`, `AnswerLost`.
    """
    if "cbor" in content_type:
        raise KinesisError(
            "SerializationException",
            f"expected {JSON}, got {content_type}: switch CBOR off in the client (Java: AWS_CBOR_DISABLE=true)",
        )
    if operation not in _DECODERS:
        raise KinesisError("UnknownOperationException", f"expected one of {sorted(_DECODERS)}, got {operation}")
    name, _ = REQUESTS[operation]
    try:
        request = _DECODERS[operation].decode(body or b"{}")
    except msgspec.ValidationError as wrong:
        code = "SerializationException" if str(wrong).startswith("Expected") else "ValidationException"
        raise KinesisError(code, str(wrong)) from wrong
    except msgspec.DecodeError as wrong:
        raise KinesisError("SerializationException", str(wrong)) from wrong
    found = getattr(world, name)(**msgspec.structs.asdict(request))
    if found is None:
        return b""
    if isinstance(found, Subscription):
        return found
    return _encode(wrapped(operation, found))


def refusal(error: KinesisError) -> tuple[int, bytes]:
    """Return the status and body of an error's answer."""
    status = 500 if error.code == "InternalFailureException" else 400
    return status, _encode({"__type": error.code, "message": error.message})
