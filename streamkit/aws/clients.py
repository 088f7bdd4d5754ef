"""Clients of AWS services for one event loop: the only file that makes any.

A worker opens one `Aws` in its main loop and another in the loop of its heartbeat thread.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import msgspec

from streamkit.aws import decode, fan_out_stream
from streamkit.aws.call import Call
from streamkit.aws.endpoints import is_loopback, is_overridden
from streamkit.aws.errors import Request, meaning
from streamkit.aws.lean import LeanCall, LeanSettings
from streamkit.core.kept import MAX_PAYLOAD
from streamkit.errors import ConfigurationError
from streamkit.events import EndpointOverridden

if TYPE_CHECKING:
    from streamkit.ports import Clock, Report

Session = Any
"""An aioboto3.Session; the SDK is published without types."""
Service = Literal["kinesis", "dynamodb", "dynamodbstreams", "s3", "sqs", "sts"]


class AwsSettings(msgspec.Struct, frozen=True):
    """How services are spoken to. Credentials are the business of the SDK's own chain."""

    region: str | None = None
    """None leaves it to AWS_REGION, AWS_DEFAULT_REGION and the profile."""
    verify: bool = True
    """Whether TLS certificates are verified; False is for loopback endpoints only."""
    connections: int = 512
    """Most connections to one service at once: every shard has at most one request under way."""
    connect_seconds: float = 2.0
    answer_seconds: float = 15.0
    """Longest wait for a whole answer of Kinesis, DynamoDB Streams, SQS or S3."""
    lean: bool = True
    """Whether records are asked for without the SDK, once it has shown how (`streamkit.aws.lean`)."""
    lease_answer_seconds: float = 2.0
    """The same for DynamoDB, where a lease of a few seconds depends on the answer."""

    def limit(self, service: Service) -> float:
        """Return the longest wait for an answer of a service, in seconds."""
        return self.lease_answer_seconds if service == "dynamodb" else self.answer_seconds


class Aws:
    """The clients of one event loop, by service, made when first asked for."""

    def __init__(self, *, settings: AwsSettings, report: Report, clock: Clock | None = None) -> None:
        """Without a clock, which tells the time to sign for, all is asked through the SDK."""
        self._clock = clock
        self._settings = settings
        self._report = report
        self._exit = AsyncExitStack()
        self._calls: dict[tuple[Service, str | None, str | None], Call] = {}
        self._sessions: dict[tuple[str | None, str | None], tuple[Session, str | bool]] = {}
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._calls.clear()
        await self._exit.aclose()

    async def call(self, service: Service, *, role: str | None = None, region: str | None = None) -> Call:
        """Return the way to call a service, in the name of `role` (its ARN) if one is given.

        Raises `ConfigurationError` for a missing region or credentials, a malformed endpoint, or TLS
        verification that is switched off for an endpoint elsewhere.
        """
        async with self._opening:
            known = self._calls.get((service, role, region))
            if known is None:
                known = await self._open(service, role, region)
                self._calls[service, role, region] = known
            return known

    async def _open(self, service: Service, role: str | None, region: str | None) -> Call:
        """Make a client and watch over it until this `Aws` is left."""
        from botocore.exceptions import BotoCoreError, ClientError

        request = Request(service, "*", "")
        try:
            session, trust = await self._session(role, region)
            client = await self._exit.enter_async_context(
                session.client(service, verify=trust, config=_config(service, self._settings))
            )
        except (BotoCoreError, ClientError, OSError, ValueError) as error:
            raise ConfigurationError(f"no client for {service}: {meaning(error, request)}") from error
        url: str = client.meta.endpoint_url
        if not url.startswith(("https://", "http://")):
            raise ConfigurationError(
                f"expected an https or http endpoint for {service}, got {url}: see AWS_ENDPOINT_URL"
            )
        if trust is False and not is_loopback(url):
            raise ConfigurationError(f"expected verified TLS for {url}, got none: only loopback endpoints do without")
        if is_overridden(service, url, os.environ):
            self._report(EndpointOverridden(service=service, url=url))
        if service == "kinesis":
            decode.install(client)
            fan_out_stream.install(client)
        if service == "dynamodbstreams":
            decode.install_changes(client)
        call = _SdkCall(client, service, within_seconds=self._settings.limit(service))
        if service not in {"kinesis", "dynamodbstreams"} or self._clock is None or not self._settings.lean:
            return call
        lean = LeanCall(
            call, client, await session.get_credentials(), clock=self._clock, settings=self._lean(service, trust)
        )
        self._exit.callback(lean.close)
        return lean

    def _lean(self, service: Service, trust: str | bool) -> LeanSettings:  # noqa: FBT001 - as the SDK says it
        """Return the limits of the SDK's client for calls without it."""
        settings = self._settings
        within = settings.limit(service)
        return LeanSettings(
            connections=settings.connections,
            connect_seconds=min(settings.connect_seconds, within),
            answer_seconds=within,
            trust=trust,
        )

    async def _session(self, role: str | None, region: str | None) -> tuple[Session, str | bool]:
        """Return a session in the name of `role`, and what it trusts: a bundle's path, True or False.

        Services share it, and with it the credentials.
        """
        known = self._sessions.get((role, region))
        if known is None:
            known = await self._log_in(role, region or self._settings.region)
            self._sessions[role, region] = known
        return known

    async def _log_in(self, role: str | None, region: str | None) -> tuple[Session, str | bool]:
        """Make a session, having seen that there are a region and credentials."""
        import aioboto3
        from aiobotocore.session import AioSession

        core = AioSession()
        region = region or os.environ.get("AWS_REGION") or core.get_config_variable("region")
        if not region:
            raise ConfigurationError("expected an AWS region, got none: set AWS_REGION")
        trust = _trust(core.get_config_variable("ca_bundle"), verify=self._settings.verify)
        if await core.get_credentials() is None:
            raise ConfigurationError(
                "expected AWS credentials, got none: set AWS_PROFILE or AWS_ACCESS_KEY_ID, or attach a role"
            )
        base: Session = aioboto3.Session(botocore_session=core, region_name=region)
        return (base if role is None else await _assume(role, base, trust=trust)), trust


def _trust(bundle: str | None, *, verify: bool) -> str | bool:
    """Return whose certificates are trusted. The SDK would read an empty bundle as "do not verify"."""
    chosen = bundle if bundle is not None else os.environ.get("REQUESTS_CA_BUNDLE")
    if not verify or chosen is None:
        return verify
    if not chosen or not Path(chosen).exists():
        raise ConfigurationError(
            f"expected a file of certificates, got {chosen!r}: correct AWS_CA_BUNDLE or REQUESTS_CA_BUNDLE"
        )
    return chosen


def _config(service: Service, settings: AwsSettings) -> Any:
    """Return the client's settings. Every request is sent once: whoever asks decides about asking again."""
    from aiobotocore.config import AioConfig

    within = settings.limit(service)
    return AioConfig(
        connect_timeout=min(settings.connect_seconds, within),
        read_timeout=within,
        max_pool_connections=settings.connections,
        retries={"mode": "standard", "total_max_attempts": 3 if service == "sts" else 1},
        user_agent_extra=f"streamkit/{version('streamkit')}",
    )


async def _assume(role: str, base: Session, *, trust: str | bool) -> Session:
    """Return a session whose credentials are those of `role`, renewed before they expire."""
    import aioboto3
    from aiobotocore.credentials import AioAssumeRoleCredentialFetcher, AioDeferredRefreshableCredentials
    from aiobotocore.session import AioSession

    def sts(service: Service, **credentials: str) -> Any:
        return base.client(service, verify=trust, config=_config(service, AwsSettings()), **credentials)

    fetcher = AioAssumeRoleCredentialFetcher(
        sts, await base.get_credentials(), role, extra_args={"RoleSessionName": "streamkit"}
    )

    class AssumedRole:
        """A provider of credentials, asked before all others."""

        METHOD = CANONICAL_NAME = "streamkit-role"

        async def load(self) -> Any:
            """Return credentials that are fetched when first needed."""
            return AioDeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")

    core = AioSession()
    core.get_component("credential_provider").insert_before("env", AssumedRole())
    return aioboto3.Session(botocore_session=core, region_name=base.region_name)


async def _read(body: Any) -> bytes:
    """Read an object, and no more of it than any payload has."""
    found = bytearray()
    async with body:
        while len(found) <= MAX_PAYLOAD and (piece := await body.read(MAX_PAYLOAD + 1 - len(found))):
            found += piece
    return bytes(found)


class _SdkCall:
    """A `Call` that an SDK client carries out."""

    def __init__(self, client: Any, service: Service, *, within_seconds: float) -> None:
        from aiohttp import ClientPayloadError
        from botocore import xform_name
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        self._client = client
        self._service: Service = service
        self._within = within_seconds
        self._named = xform_name
        self._failures = (ClientError, ClientPayloadError, BotoCoreError, ResponseParserError, TimeoutError)

    async def __call__(self, operation: str, /, **parameters: object) -> dict[str, Any]:
        """Send one request through the SDK, with a limit to the whole of it."""
        send = getattr(self._client, self._named(operation))
        try:
            async with asyncio.timeout(self._within):
                answer: dict[str, Any] = await send(**parameters)
                if self._service == "s3" and "Body" in answer:
                    answer["Body"] = await _read(answer["Body"])
        except self._failures as error:
            raise meaning(error, Request.of(self._service, operation, parameters)) from error
        return answer

    def __repr__(self) -> str:
        return f"<calls {self._service} at {self._client.meta.endpoint_url}>"
