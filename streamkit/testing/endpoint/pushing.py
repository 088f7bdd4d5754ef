"""Subscriptions over HTTP/1.1: one response, chunked, whose body is an event stream.

Source of the encoding: https://smithy.io/2.0/aws/amazon-eventstream.html
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import ClientConnectionError, web

from streamkit.testing.kinesis import KinesisError

if TYPE_CHECKING:
    from streamkit.testing.kinesis.fan_out import Subscription

CONTENT_TYPE: Final = "application/vnd.amazon.eventstream"
_LOOK_SECONDS: Final = 0.02
_STRING: Final = 7
_PRELUDE_BYTES: Final = 12
_CRC_BYTES: Final = 4
_JSON: Final = "application/json"


async def push(
    request: web.Request, subscription: Subscription, *, now: Callable[[], float], headers: Mapping[str, str]
) -> web.StreamResponse:
    """Send what is due for as long as the subscription lasts, and no faster than the client reads."""
    response = web.StreamResponse(headers={**headers, "Content-Type": CONTENT_TYPE})
    try:
        await response.prepare(request)
        await response.write(_event("initial-response", b"{}"))
        while not subscription.over:
            due = _due(subscription, now())
            if due:
                await response.write(due)
            else:
                await asyncio.sleep(_LOOK_SECONDS)
        await response.write_eof()
    except (ClientConnectionError, ConnectionError):
        return response  # the client has hung up
    finally:
        subscription.over = True
    return response


def _due(subscription: Subscription, now: float) -> bytes | None:
    """Return the message that is due, if any: an event, or the error that ends it."""
    try:
        found = subscription.due(now)
    except KinesisError as error:
        headers = {":message-type": "exception", ":exception-type": error.code, ":content-type": _JSON}
        return message(headers, msgspec.json.encode({"message": error.message}))
    return None if found is None else _event("SubscribeToShardEvent", msgspec.json.encode(found))


def _event(kind: str, payload: bytes) -> bytes:
    return message({":message-type": "event", ":event-type": kind, ":content-type": _JSON}, payload)


def message(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Write one message: lengths, headers that are strings, payload, and the checksums over them."""
    written = b"".join(_header(name, value) for name, value in headers.items())
    total = _PRELUDE_BYTES + len(written) + len(payload) + _CRC_BYTES
    lengths = struct.pack("!II", total, len(written))
    body = lengths + struct.pack("!I", zlib.crc32(lengths)) + written + payload
    return body + struct.pack("!I", zlib.crc32(body))


def _header(name: str, value: str) -> bytes:
    text = value.encode()
    return struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", _STRING, len(text)) + text
