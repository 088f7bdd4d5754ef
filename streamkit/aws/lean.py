"""GetRecords at a fraction of the SDK's price: the request that the SDK sends, sent again with another iterator.

    first call --> the SDK --> its request, as it signed it --> `Pattern`
    next calls --> Pattern: other body, date and signature --> a connection of our own
    an answer that is an error, a connection that fails, five minutes --> the SDK again

Whoever reads a shard asks the same thing over and over. Endpoint, headers, region and the way to sign are the SDK's
doing, found in the request it made; credentials are the SDK's, asked for each call; errors are parsed by its parser.
Nothing is assumed: unless our signature of the SDK's request equals the SDK's own, and wherever a proxy, a client
certificate or another protocol is in use, all calls stay with the SDK. What hooks into the SDK sees its calls only.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from streamkit.aws.backoff import PASSING
from streamkit.aws.decode import MULTIPLE_CHOICES, decode_changes, decode_records
from streamkit.aws.errors import Request, meaning
from streamkit.aws.signing import Credentials, Signer
from streamkit.aws.wire import Answer, Unconnected, Unusual, Wires

if TYPE_CHECKING:
    from streamkit.aws.call import Call
    from streamkit.ports import Clock

OPERATION = "GetRecords"
FRESH_SECONDS = 300.0
"""So long a pattern is used before the SDK is asked for another."""
_TRIES = 3
"""Failures in a row before all calls stay with the SDK."""
_JSON = "application/x-amz-json-1."
_SERVICES = {"kinesis": ("kinesis", decode_records), "dynamodbstreams": ("dynamodb-streams", decode_changes)}
"""How the SDK's events name a service, and what decodes its answers."""


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
    """A `Call` that learns from the SDK's client how to ask for records, and asks by itself from then on."""

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
        event, self._decode = _SERVICES[self._service]
        client.meta.events.register(f"before-send.{event}.{OPERATION}", self._look)
        self._seen: Any = None
        self._pattern: Pattern | None = None
        self._place: tuple[str, int, bool] | None = None
        self._wires: Wires | None = None
        self._left = _TRIES
        """How often it may still fail before it gives up for good; a good answer makes up for it all."""

    def __repr__(self) -> str:
        return f"{self._sdk!r}{', lean' if self._pattern else ''}"

    async def __call__(self, operation: str, /, **parameters: object) -> dict[str, Any]:
        """Send one request: through the SDK, unless it is known how it would."""
        if operation != OPERATION:
            return await self._sdk(operation, **parameters)
        pattern = self._pattern
        if pattern is None or self._clock.monotonic() >= pattern.until:
            return await self._taught(parameters)
        try:
            async with asyncio.timeout(self._settings.answer_seconds):
                answer = await self._ask(pattern, msgspec.json.encode(parameters))
        except (Unusual, ConnectionError, TimeoutError) as error:
            self._forget()
            raise meaning(error, self._request(parameters)) from error
        return await self._taught(parameters) if answer is None else self._read(answer, parameters)

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

    def _read(self, answer: Answer, parameters: Mapping[str, object]) -> dict[str, Any]:
        """Return the answer as the SDK would. Raises what it would, in our words."""
        found: dict[str, Any] = {}
        self._decode({"status_code": answer.status, "body": answer.body}, found)
        if not found:
            found = self._parse(answer, self._request(parameters))
        self._left = _TRIES
        return found

    def _parse(self, answer: Answer, request: Request) -> dict[str, Any]:
        """Let the SDK's parser read what is not an answer with records."""
        from botocore.parsers import ResponseParserError, create_parser

        model = self._client.meta.service_model
        response = {"status_code": answer.status, "headers": answer.headers, "body": bytes(answer.body)}
        try:
            parser = create_parser(model.metadata["protocol"])
            parsed: dict[str, Any] = parser.parse(response, model.operation_model(OPERATION).output_shape)
        except ResponseParserError as error:
            raise meaning(error, request) from error
        if answer.status < MULTIPLE_CHOICES:
            return parsed
        refusal = self._client.exceptions.from_code(parsed.get("Error", {}).get("Code"))(parsed, OPERATION)
        meant = meaning(refusal, request)
        if not isinstance(meant, PASSING):
            self._forget()
        raise meant from refusal

    def _request(self, parameters: Mapping[str, object]) -> Request:
        return Request.of(self._service, OPERATION, parameters)

    # Learning

    async def _taught(self, parameters: Mapping[str, object]) -> dict[str, Any]:
        """Let the SDK ask, and look how it does."""
        answer = await self._sdk(OPERATION, **parameters)
        seen, self._seen = self._seen, None
        if (
            seen is not None
            and self._left
            and (self._pattern is None or self._clock.monotonic() >= self._pattern.until)
        ):
            self._pattern = self._learned(seen, await self._credentials.get_frozen_credentials())
            self._left -= self._pattern is None
        return answer

    def _look(self, request: Any, **_: object) -> None:
        """Keep what the SDK is about to send; it sends it all the same."""
        self._seen = request

    def _forget(self) -> None:
        """Something went wrong: let the SDK ask next, and for good if it was once too often."""
        self._pattern = None
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
