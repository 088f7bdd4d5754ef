"""Requests made over and over, at a fraction of the SDK's price: the SDK's own, sent again with another body.

    first call --> the SDK --> its request, as it signed it --> `Pattern`
    next calls --> Pattern: other body, date and signature --> a connection of our own
    an answer that is an error, a connection that fails, five minutes --> the SDK again

Whoever reads a shard asks the same thing again and again, and so does a function for each batch. Endpoint, headers,
region and the way to sign are the SDK's doing, found in the request it made; credentials are the SDK's, asked for each
call; errors are parsed by its parser. Nothing is assumed: unless our signature of the SDK's request equals the SDK's
own, and wherever a proxy, a client certificate or another protocol is in use, all calls stay with the SDK. What hooks
into the SDK sees its calls only.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from streamkit.aws.backoff import PASSING
from streamkit.aws.decode import MULTIPLE_CHOICES, decode_changes, decode_records, decode_row
from streamkit.aws.errors import ConditionFailed, Request, meaning
from streamkit.aws.signing import Credentials, Signer
from streamkit.aws.wire import Answer, Unconnected, Unusual, Wires

if TYPE_CHECKING:
    from streamkit.aws.call import Call
    from streamkit.ports import Clock

Decode = Callable[[dict[str, Any], dict[str, Any]], bool]
OFTEN: Mapping[str, Mapping[str, Decode]] = {
    "kinesis": {"GetRecords": decode_records},
    "dynamodbstreams": {"GetRecords": decode_changes},
    "dynamodb": {"PutItem": decode_row, "UpdateItem": decode_row},
}
"""By service the operations worth it, and what decodes their answers."""
FRESH_SECONDS = 300.0
"""So long a pattern is used before the SDK is asked for another."""
_TRIES = 3
"""Failures in a row before all calls stay with the SDK."""
_JSON = "application/x-amz-json-1."


class Pattern(msgspec.Struct, frozen=True):
    """What all requests have in common."""

    signer: Signer
    head: str
    """Request line and headers, but for those that a signature brings and the length."""
    wires: Wires
    until: float
    """Monotonic seconds."""

    def request(self, body: bytes, signed: Mapping[str, str]) -> bytes:
        """Return the request as it goes out."""
        own = "".join([f"{name}: {value}\r\n" for name, value in signed.items()])
        return f"{self.head}{own}Content-Length: {len(body)}\r\n\r\n".encode() + body


class LeanSettings(msgspec.Struct, frozen=True):
    """How a service is asked without the SDK: by the same limits as with it."""

    connections: int
    connect_seconds: float
    answer_seconds: float
    trust: str | bool
    """Whose certificates are trusted: a bundle's path, True or False."""


class LeanCall:
    """A `Call` that learns from the SDK's client how to ask, and asks by itself what is asked often."""

    def __init__(
        self,
        sdk: Call,
        client: Any,
        credentials: Any,
        *,
        clock: Clock,
        settings: LeanSettings,
    ) -> None:
        """`sdk` calls through `client`, whose credentials these are."""
        self._sdk = sdk
        self._client = client
        self._credentials = credentials
        self._clock = clock
        self._settings = settings
        self._service: str = client.meta.service_model.service_name
        self._operations = OFTEN[self._service]
        for operation in self._operations:
            event = client.meta.service_model.service_id.hyphenize()
            client.meta.events.register(f"before-send.{event}.{operation}", self._look)
        self._seen = dict[str, Any]()
        self._patterns = dict[str, Pattern]()
        self._place: tuple[str, int, bool] | None = None
        self._wires: Wires | None = None
        self._left = _TRIES
        """How often it may still fail before it gives up for good; a good answer makes up for it all."""

    def __repr__(self) -> str:
        return f"{self._sdk!r}{', lean' if self._patterns else ''}"

    async def __call__(self, operation: str, /, **parameters: object) -> dict[str, Any]:
        """Send one request: through the SDK, unless it is known how it would."""
        if operation not in self._operations:
            return await self._sdk(operation, **parameters)
        pattern = self._fresh(operation)
        if pattern is None:
            return await self._taught(operation, parameters)
        try:
            async with asyncio.timeout(self._settings.answer_seconds):
                answer = await self._ask(pattern, msgspec.json.encode(parameters))
        except (Unusual, ConnectionError, TimeoutError) as error:
            self._forget()
            raise meaning(error, self._request(operation, parameters)) from error
        if answer is None:
            return await self._taught(operation, parameters)
        return self._read(answer, self._request(operation, parameters))

    def close(self) -> None:
        """Close the connections at rest."""
        if self._wires is not None:
            self._wires.close()

    async def _ask(self, pattern: Pattern, body: bytes) -> Answer | None:
        """Send a request; None if no connection came about, so that it was not sent."""
        credentials = await self._credentials.get_frozen_credentials()
        try:
            async with pattern.wires.one() as wire:
                signed = pattern.signer.sign(body, self._clock.now(), credentials)
                return await wire.ask(pattern.request(body, signed))
        except Unconnected:
            self._forget()
            return None

    def _read(self, answer: Answer, request: Request) -> dict[str, Any]:
        """Return the answer as the SDK would. Raises what it would, in our words."""
        found: dict[str, Any] = {}
        response: dict[str, Any] = {"status_code": answer.status, "body": answer.body}
        if not self._operations[request.operation](response, found):
            found = self._parse(answer, request)
        self._left = _TRIES
        return found

    def _parse(self, answer: Answer, request: Request) -> dict[str, Any]:
        """Let the SDK's parser read what has no decoder of ours. Raises what it says in our words."""
        from botocore.parsers import ResponseParserError, create_parser

        model = self._client.meta.service_model
        response = {"status_code": answer.status, "headers": answer.headers, "body": bytes(answer.body)}
        parser = create_parser(model.metadata["protocol"])
        try:
            parsed: dict[str, Any] = parser.parse(response, model.operation_model(request.operation).output_shape)
            if answer.status < MULTIPLE_CHOICES:
                return parsed
            code = parsed.get("Error", {}).get("Code")
            if (shape := model.shape_for_error_code(code)) is not None:
                parsed |= parser.parse(response, shape)
        except ResponseParserError as error:
            raise meaning(error, request) from error
        refusal = self._client.exceptions.from_code(code)(parsed, request.operation)
        meant = meaning(refusal, request)
        if not isinstance(meant, (*PASSING, ConditionFailed)):
            self._forget()
        raise meant from refusal

    def _request(self, operation: str, parameters: Mapping[str, object]) -> Request:
        return Request.of(self._service, operation, parameters)

    # Learning

    def _fresh(self, operation: str) -> Pattern | None:
        pattern = self._patterns.get(operation)
        return pattern if pattern is not None and self._clock.monotonic() < pattern.until else None

    async def _taught(self, operation: str, parameters: Mapping[str, object]) -> dict[str, Any]:
        """Let the SDK ask, and look how it does."""
        answer = await self._sdk(operation, **parameters)
        seen = self._seen.pop(operation, None)
        if seen is not None and self._left and self._fresh(operation) is None:
            pattern = self._learned(seen, await self._credentials.get_frozen_credentials())
            self._left -= pattern is None
            if pattern is not None:
                self._patterns[operation] = pattern
        return answer

    def _look(self, request: Any, event_name: str, **_: object) -> None:
        """Keep what the SDK is about to send; it sends it all the same."""
        self._seen[event_name.rpartition(".")[2]] = request

    def _forget(self) -> None:
        """Something went wrong: let the SDK ask next, and for good if it was once too often."""
        self._patterns.clear()
        self._left = max(0, self._left - 1)

    def _learned(self, seen: Any, credentials: Credentials) -> Pattern | None:
        """Return the pattern of a request, if it is one that can be made again."""
        headers = {name.lower(): _text(value) for name, value in seen.headers.items()}
        url = urlsplit(seen.url)
        headers["host"] = url.netloc
        plain = seen.method == "POST" and not url.query and headers.get("content-type", "").startswith(_JSON)
        if not plain or not url.hostname or self._detours(seen.url):
            return None
        path = url.path or "/"
        signer = Signer.learn(path, headers, seen.body, credentials)
        if signer is None:
            return None
        kept = {**signer.headers, "user-agent": headers["user-agent"], "accept-encoding": "identity"}
        lines = "".join(f"{name}: {value}\r\n" for name, value in kept.items())
        return Pattern(
            signer=signer,
            head=f"POST {path} HTTP/1.1\r\n{lines}",
            wires=self._wires_to(url.hostname, url.port, tls=url.scheme == "https"),
            until=self._clock.monotonic() + FRESH_SECONDS,
        )

    def _detours(self, url: str) -> bool:
        """Say whether the SDK reaches the place in a way that is its own."""
        from botocore.utils import get_environ_proxies

        config = self._client.meta.config
        return bool(config.proxies or config.client_cert or get_environ_proxies(url))

    def _wires_to(self, host: str, port: int | None, *, tls: bool) -> Wires:
        """Return connections to a place: those that are there, unless it changed."""
        place = (host, port or (443 if tls else 80), tls)
        if self._wires is None or self._place != place:
            self.close()
            self._place, settings = place, self._settings
            self._wires = Wires(
                *place[:2],
                tls=_tls(settings.trust) if tls else None,
                most=settings.connections,
                connect_seconds=settings.connect_seconds,
                clock=self._clock,
            )
        return self._wires


def _tls(trust: str | bool) -> ssl.SSLContext:  # noqa: FBT001 - as the SDK says it
    """Return whom to trust: the certificates that the SDK trusts."""
    from botocore.httpsession import get_cert_path

    context = ssl.create_default_context(cafile=get_cert_path(trust) if trust else None)
    if trust is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
