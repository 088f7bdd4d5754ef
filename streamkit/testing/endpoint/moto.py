"""Everything but Kinesis: moto's server, in this process and without a port of its own.

moto keeps its state in module globals, so one process can run one of these at a time.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import msgspec

from streamkit.testing.dynamodb_streams import service
from streamkit.testing.dynamodb_streams.shards import ROLL_SECONDS
from streamkit.testing.endpoint import expressions, queries, transactions
from streamkit.testing.endpoint.changes import TableChanges
from streamkit.testing.endpoint.tokens import Mismatch, Tokens
from streamkit.testing.endpoint.wsgi import Answered, Application, Asked, call

if TYPE_CHECKING:
    from collections.abc import Callable

MISSING: Final = 'DynamoDB, SQS and S3 need moto, which is not installed: pip install "streamkit[local]"'
_DYNAMODB: Final = "DynamoDB_20120810."
_TRANSACT: Final = f"{_DYNAMODB}TransactWriteItems"
_RECEIVE: Final = "AmazonSQS.ReceiveMessage"
_LONGEST_POLL_SECONDS: Final = 20
_POLL_SECONDS: Final = 0.1
_ANSWERED_OK: Final = 200


def is_installed() -> bool:
    """Whether `Moto` can run."""
    return all(importlib.util.find_spec(name) for name in ("moto", "flask", "flask_cors"))


class _Applications(NamedTuple):
    dynamodb: Application
    others: Application


class Moto:
    """moto behind two threads: one for DynamoDB and its streams, one for all else, so that no two calls race.

    It is imported with the first request, which takes about a second. SQS's long polls wait here, not in a thread.
    """

    _running = False

    def __init__(self, clock: Callable[[], float], *, roll_seconds: float = ROLL_SECONDS) -> None:
        self._changes = TableChanges(clock, roll_seconds=roll_seconds)
        self._tokens: Tokens[Answered] = Tokens(clock)
        self._dynamodb = ThreadPoolExecutor(1, thread_name_prefix="dynamodb")
        self._others = ThreadPoolExecutor(1, thread_name_prefix="moto")
        self._applications: _Applications | None = None
        self._installed = ExitStack()

    async def __aenter__(self) -> Self:
        """Claim moto's globals. Raises RuntimeError if they are in use."""
        if Moto._running:
            raise RuntimeError("expected one endpoint with moto in a process, got a second: pass moto=False to one")
        Moto._running = True
        return self

    async def __aexit__(self, *_: object) -> None:
        """Wait for calls under way, and leave moto as it was."""
        loop = asyncio.get_running_loop()
        for executor in (self._others, self._dynamodb):
            await loop.run_in_executor(None, executor.shutdown)
        self._installed.close()
        Moto._running = False

    async def answer(self, asked: Asked, *, region: str) -> Answered:
        """Answer a request of any AWS service but Kinesis."""
        loop = asyncio.get_running_loop()
        applications = self._applications
        if applications is None:
            applications = await loop.run_in_executor(self._dynamodb, self._load)
        target = asked.header("X-Amz-Target")
        if target == _RECEIVE:
            return await self._poll(applications.others, asked)
        if target.startswith((_DYNAMODB, service.TARGET)):
            return await loop.run_in_executor(self._dynamodb, self._answer, applications.dynamodb, asked, region)
        return await loop.run_in_executor(self._others, call, applications.others, asked)

    def _answer(self, application: Application, asked: Asked, region: str) -> Answered:
        """Answer a request of DynamoDB or its streams, and note what it wrote."""
        target = asked.header("X-Amz-Target")
        if target.startswith(service.TARGET):
            return self._changes.answer(region, target.removeprefix(service.TARGET), asked.body)
        try:
            return self._transact(application, asked, region) if target == _TRANSACT else call(application, asked)
        finally:
            self._changes.note()

    async def _poll(self, application: Application, asked: Asked) -> Answered:
        """Ask SQS for messages again and again, without waiting in its thread, until there is one or time is up."""
        seconds, impatient = _without_wait(asked)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            answered = await loop.run_in_executor(self._others, call, application, impatient)
            if b'"Messages"' in answered.body or answered.status != _ANSWERED_OK or loop.time() >= deadline:
                return answered
            await asyncio.sleep(_POLL_SECONDS)

    def _load(self) -> _Applications:
        if self._applications is not None:
            return self._applications
        os.environ.setdefault("MOTO_ALLOW_NONEXISTENT_REGION", "true")  # moto refuses regions younger than itself
        from moto.moto_api._internal.models import moto_api_backend
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        for better in (transactions, expressions, queries, self._changes):
            self._installed.enter_context(better.installed())
        moto_api_backend.reset()
        self._applications = _Applications(
            create_backend_app("dynamodb"), DomainDispatcherApplication(create_backend_app)
        )
        return self._applications

    def _transact(self, application: Application, asked: Asked, region: str) -> Answered:
        """Answer TransactWriteItems, or repeat the answer its token had before."""

        def run() -> tuple[bool, Answered]:
            answered = call(application, asked)
            return answered.status == _ANSWERED_OK, answered

        try:
            return self._tokens.once(region, asked.body, run)
        except Mismatch:
            return _refused(
                "com.amazonaws.dynamodb.v20120810#IdempotentParameterMismatchException",
                "The request uses the same client token as a previous, but non-identical request.",
            )
        except msgspec.DecodeError as wrong:
            return _refused("com.amazon.coral.service#SerializationException", str(wrong))


def _without_wait(asked: Asked) -> tuple[float, Asked]:
    """Take the time to wait out of a ReceiveMessage. The queue's own, for those that name none, counts as none.

    moto judges a time that makes no sense.
    """
    try:
        request = msgspec.json.decode(asked.body, type=dict[str, object])
    except msgspec.MsgspecError:
        return 0, asked
    seconds = request.get("WaitTimeSeconds", 0)
    if not isinstance(seconds, int) or not 0 <= seconds <= _LONGEST_POLL_SECONDS:
        return 0, asked
    return seconds, asked._replace(body=msgspec.json.encode(request | {"WaitTimeSeconds": 0}))


def _refused(kind: str, message: str) -> Answered:
    body = msgspec.json.encode({"__type": kind, "message": message})
    return Answered(400, [("Content-Type", "application/x-amz-json-1.0")], body)
