"""The events of a subscription as they come over the wire, decoded like polled records (`streamkit.aws.decode`).

The SDK emits `before-parse.kinesis.SubscribeToShard` with the response that the events will come in. It is replaced
by `Pushed`, which lets the SDK's parser have the first message, the initial response, and keeps all others: so
authentication and errors of the request stay the SDK's, and nothing is read that was not asked for.

Messages are as https://smithy.io/2.0/aws/amazon-eventstream.html says: the first four bytes are the length of the
whole; botocore checks both checksums and reads the headers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import msgspec

from streamkit.aws.decode import MULTIPLE_CHOICES, RawRecord
from streamkit.aws.errors import Request, meaning
from streamkit.errors import Unanswered

if TYPE_CHECKING:
    from aiohttp import ClientResponse
    from botocore.eventstream import EventStreamMessage

_LENGTH_BYTES = 4
_MOST_BYTES = 32 * 1024 * 1024
"""Of one message: AWS allows 24 MB of payload and 128 KB of headers."""
_OPERATION = Request("kinesis", "SubscribeToShard", "")


class RawPush(msgspec.Struct):
    """One SubscribeToShardEvent."""

    Records: list[RawRecord]
    ContinuationSequenceNumber: str | None = None
    MillisBehindLatest: int | None = None
    ChildShards: list[Any] | None = None


_push = msgspec.json.Decoder(RawPush)


class Pushed:
    """Messages of one response: a `streamkit.aws.fan_out.Subscription`."""

    def __init__(self, response: ClientResponse) -> None:
        self.response = response
        self._buffer = bytearray()

    def __repr__(self) -> str:
        return f"<Pushed, {len(self._buffer)} bytes of the next message>"

    async def event(self) -> dict[str, Any] | None:
        """Return the next event; None at the end of the response."""
        while (message := await self.message()) is not None:
            event = _event(message)
            if event is not None:
                return event
        return None

    def close(self) -> None:
        """Close the connection: it still carries what nobody wants."""
        self.response.close()

    async def message(self) -> bytes | None:
        """Return the next whole message; None at the end. What came of one is kept if this is cancelled."""
        while (length := self._length()) is None or len(self._buffer) < length:
            chunk = await self._chunk()
            if not chunk and self._buffer:
                raise Unanswered(f"{_OPERATION}: expected a whole message, got {len(self._buffer)} bytes of one")
            if not chunk:
                return None
            self._buffer += chunk
        message = bytes(self._buffer[:length])
        del self._buffer[:length]
        return message

    def _length(self) -> int | None:
        """Return the length of the next message, once it is known."""
        if len(self._buffer) < _LENGTH_BYTES:
            return None
        length = int.from_bytes(self._buffer[:_LENGTH_BYTES])
        if not _LENGTH_BYTES < length <= _MOST_BYTES:
            raise Unanswered(f"{_OPERATION}: expected a message of up to {_MOST_BYTES} bytes, got {length}")
        return length

    async def _chunk(self) -> bytes:
        """Return what has come, waiting for it; nothing at the end."""
        from aiohttp import ClientError

        try:
            return await self.response.content.readany()
        except (ClientError, OSError) as error:
            raise Unanswered(f"{_OPERATION}: the connection broke ({type(error).__name__})") from error


class FirstMessage:
    """A response, as the SDK's parser sees it: it takes one message."""

    def __init__(self, pushed: Pushed) -> None:
        self._pushed = pushed
        self.content = self

    def iter_chunks(self) -> Self:
        """Return the chunks: messages."""
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[bytes, bool]:
        message = await self._pushed.message()
        if message is None:
            raise StopAsyncIteration
        return message, True


def decode_pushed(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object) -> None:
    """Keep the events of a response from the SDK's parser."""
    if response_dict["status_code"] >= MULTIPLE_CHOICES:
        return
    pushed = Pushed(response_dict["body"])
    customized_response_dict["EventStream"] = pushed
    response_dict["body"] = FirstMessage(pushed)


def install(client: Any) -> None:
    """Let a Kinesis client hand out subscriptions this way."""
    client.meta.events.register("before-parse.kinesis.SubscribeToShard", decode_pushed)


def _event(message: bytes) -> dict[str, Any] | None:
    """Decode a message, or return None for one of another kind. Raises what an error among them means."""
    from botocore.eventstream import EventStreamBuffer, ParserError

    buffer = EventStreamBuffer()
    buffer.add_data(message)
    try:
        found: EventStreamMessage = next(buffer)
        if found.headers.get(":message-type") != "event":
            raise _trouble(found)
        if found.headers.get(":event-type") != "SubscribeToShardEvent":
            return None
        event = _push.decode(found.payload)
    except (ParserError, StopIteration, msgspec.MsgspecError) as error:
        raise Unanswered(f"{_OPERATION}: expected an event, got what is none ({error})") from error
    return {name: getattr(event, name) for name in event.__struct_fields__}


def _trouble(found: EventStreamMessage) -> Exception:
    """Return what an error in the stream means."""
    from botocore.exceptions import ClientError

    headers = found.headers
    code = headers.get(":exception-type") or headers.get(":error-code") or "unknown"
    response = {"Error": {"Code": str(code), "Message": str(headers.get(":error-message", ""))}}
    return meaning(ClientError(response, "SubscribeToShard"), _OPERATION)
