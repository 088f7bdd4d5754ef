"""The services a function uses, through the SDK that Lambda's runtime brings: boto3, in a few threads.

A worker has aioboto3, for hundreds of requests at once. A function makes a handful in a row, and pays for imports at
every cold start.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, closing
from datetime import timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

from streamkit.aws.endpoints import is_overridden
from streamkit.aws.errors import Request, meaning
from streamkit.aws.halts import TableHalts
from streamkit.aws.memory import TableMemory
from streamkit.errors import ConfigurationError
from streamkit.events import EndpointOverridden
from streamkit.ports import FunctionPorts

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from streamkit.aws.call import Call
    from streamkit.aws.lean import LeanCall
    from streamkit.aws.signing import Credentials
    from streamkit.consumer import Consumer
    from streamkit.core.letters import Letter
    from streamkit.ports import Chance, Clock, DeadLetters, Ledger, Payloads, Report, Successes

Service = Literal["dynamodb", "s3", "sqs"]

_AT_ONCE = 8
"""Threads: requests under way at once."""
_COLD_REQUESTS = 4
"""More than the first invocation makes of a clean batch."""
_CONNECT_SECONDS = 2.0
_ANSWER_SECONDS: dict[Service, float] = {"dynamodb": 2.0, "s3": 10.0, "sqs": 5.0}
"""Longest wait for an answer: there has to be time for another try within an invocation."""


class AwsFunctionWorld:
    """Opens a consumer's table and queue (`streamkit.runtimes.function.function.FunctionWorld`)."""

    def __init__(self, *, clock: Clock, chance: Chance) -> None:
        self._clock = clock
        self._chance = chance

    @asynccontextmanager
    async def function(self, consumer: Consumer, report: Report) -> AsyncGenerator[FunctionPorts]:
        """Open table and queue. Nothing is asked of them before the first delivery: a cold start costs no request."""
        with ThreadPoolExecutor(_AT_ONCE, "streamkit-aws") as threads, ExitStack() as stack:
            sdk = stack.enter_context(closing(Sdk(threads, report)))
            dynamodb = stack.enter_context(closing(sdk.thrifty("dynamodb", clock=self._clock)))
            keep = consumer.checkpoint.memory
            yield FunctionPorts(
                memory=TableMemory(dynamodb, consumer.table, consumer=consumer.name, keep=keep),
                halts=TableHalts(dynamodb, consumer.table, consumer=consumer.name),
                dead_letters=self._letters(consumer, sdk, report),
                ledger=None if consumer.dedupe_key is None else self._ledger(dynamodb, consumer),
                successes=None if consumer.on_success is None else self._successes(consumer.on_success.queue, sdk),
            )

    def _ledger(self, dynamodb: Call, consumer: Consumer) -> Ledger:
        from streamkit.aws.ledger import TableLedger

        keep = max(consumer.checkpoint.memory, timedelta(days=1))
        return TableLedger(dynamodb, consumer.table, clock=self._clock, chance=self._chance, keep=keep)

    def _successes(self, queue: str, sdk: Sdk) -> Successes:
        from streamkit.aws.shapes import arn_region
        from streamkit.aws.sqs import SqsSuccesses

        return SqsSuccesses(sdk.call("sqs", region=arn_region(queue)), queue=queue, chance=self._chance)

    def _letters(self, consumer: Consumer, sdk: Sdk, report: Report) -> DeadLetters | None:
        if consumer.dead_letters is None:
            return None
        queue, bucket = consumer.dead_letters.queue, consumer.dead_letters.bucket

        def opened() -> DeadLetters:
            from streamkit.aws.shapes import arn_region
            from streamkit.aws.sqs import SqsDeadLetters

            call = sdk.call("sqs", region=arn_region(queue))
            payloads = None if bucket is None else self._payloads(bucket, sdk)
            return SqsDeadLetters(call, queue=queue, chance=self._chance, report=report, payloads=payloads)

        return _LateLetters(opened)

    def _payloads(self, bucket: str, sdk: Sdk) -> Payloads:
        """Return the bucket for payloads. Its client waits for the first of them."""
        from streamkit.aws.payloads import S3Payloads

        calls: list[Call] = []

        async def opened() -> Call:
            if not calls:
                calls.append(sdk.call("s3"))
            return calls[0]

        return S3Payloads(opened, bucket=bucket, chance=self._chance)


class Sdk:
    """Clients of one event loop."""

    def __init__(self, threads: ThreadPoolExecutor, report: Report) -> None:
        import boto3
        from botocore.session import Session

        self._core: Any = Session()
        self._session: Any = boto3.Session(botocore_session=self._core)
        self._threads = threads
        self._report = report
        self._clients: list[Any] = []

    def close(self) -> None:
        """Close the clients' connections."""
        for client in self._clients:
            client.close()

    def call(self, service: Service, *, region: str | None = None) -> _ThreadedCall:
        """Make a client. Every request is sent once: whoever asks decides about asking again."""
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        settings = Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_ANSWER_SECONDS[service],
            max_pool_connections=_AT_ONCE,
            retries={"mode": "standard", "total_max_attempts": 1},
            user_agent_extra=f"streamkit/{version('streamkit')}",
        )
        try:
            client = self._session.client(service, region_name=region, config=settings)
        except (BotoCoreError, ValueError) as error:
            raise ConfigurationError(f"no client for {service}: {meaning(error, Request(service, '*', ''))}") from error
        self._clients.append(client)
        url: str = client.meta.endpoint_url
        if is_overridden(service, url, os.environ):
            self._report(EndpointOverridden(service=service, url=url))
        return _ThreadedCall(client, service, self._threads)

    def thrifty(self, service: Service, *, clock: Clock) -> Thrifty:
        """Make a client that does without the SDK what it does often."""
        call = self.call(service)
        return Thrifty(call, lambda: self._lean(call, clock))

    def _lean(self, call: _ThreadedCall, clock: Clock) -> LeanCall:
        from streamkit.aws.lean import LeanCall, LeanSettings

        settings = LeanSettings(
            connections=_AT_ONCE,
            connect_seconds=_CONNECT_SECONDS,
            answer_seconds=_ANSWER_SECONDS[call.service],
            trust=self._core.get_config_variable("ca_bundle") or True,
        )
        credentials = _Credentials(self._session.get_credentials(), self._threads)
        return LeanCall(call, call.client, credentials, clock=clock, settings=settings)


class Thrifty:
    """A `Call` through the SDK for the first invocation, which is slow enough, and then without it.

    To load the code and to trust certificates takes 30 ms; each request saves about one.
    """

    def __init__(self, sdk: Call, lean: Callable[[], LeanCall]) -> None:
        self._sdk = sdk
        self._make = lean
        self._lean: LeanCall | None = None
        self._asked = 0

    async def __call__(self, operation: str, /, **parameters: object) -> dict[str, Any]:
        """Send one request."""
        self._asked += 1
        if self._lean is None and self._asked > _COLD_REQUESTS:
            self._lean = self._make()
        return await (self._lean or self._sdk)(operation, **parameters)

    def close(self) -> None:
        """Close the connections at rest."""
        if self._lean is not None:
            self._lean.close()

    def __repr__(self) -> str:
        return repr(self._lean or self._sdk)


class _Credentials:
    """The SDK's credentials, which take their time only where they have to be fetched anew."""

    def __init__(self, credentials: Any, threads: ThreadPoolExecutor) -> None:
        self._credentials = credentials
        self._threads = threads

    async def get_frozen_credentials(self) -> Credentials:
        """Return them as they are now."""
        frozen: Callable[[], Credentials] = self._credentials.get_frozen_credentials
        if getattr(self._credentials, "refresh_needed", bool)():
            return await asyncio.get_running_loop().run_in_executor(self._threads, frozen)
        return frozen()


class _ThreadedCall:
    """A `Call` that an SDK client carries out in a thread."""

    def __init__(self, client: Any, service: Service, threads: ThreadPoolExecutor) -> None:
        from botocore import xform_name

        self.client = client
        self.service: Service = service
        self._threads = threads
        self._named = xform_name

    async def __call__(self, operation: str, /, **parameters: object) -> dict[str, Any]:
        """Send one request through the SDK. A caller that is cancelled does not know what becomes of it."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._send, operation, parameters)

    def _send(self, operation: str, parameters: dict[str, object]) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        try:
            answer: dict[str, Any] = getattr(self.client, self._named(operation))(**parameters)
        except (ClientError, BotoCoreError, ResponseParserError) as error:
            raise meaning(error, Request.of(self.service, operation, parameters)) from error
        return answer

    def __repr__(self) -> str:
        return f"<calls {self.service} at {self.client.meta.endpoint_url}>"


class _LateLetters:
    """A queue that is opened, its client made and its code loaded, at the first letter: most containers see none."""

    def __init__(self, opened: Callable[[], DeadLetters]) -> None:
        self._opened = opened
        self._letters: DeadLetters | None = None

    async def send(self, letters: Sequence[Letter]) -> None:
        """Returning means every letter is durable. Raises `Undelivered` with those that are not."""
        if self._letters is None:
            self._letters = self._opened()
        await self._letters.send(letters)
