"""Records asked for without the SDK: as the SDK would, or by the SDK."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import botocore.auth
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

from streamkit.aws.call import Call
from streamkit.aws.clients import Aws, AwsSettings
from streamkit.aws.errors import Rejected, Unaccredited
from streamkit.aws.function import Sdk
from streamkit.aws.lean import FRESH_SECONDS
from streamkit.aws.memory import TableMemory
from streamkit.aws.signing import Signer
from streamkit.clock import SystemClock
from streamkit.errors import Denied, Expired, Throttled, Unanswered, WorldError
from streamkit.testing import Recorder
from streamkit.testing.contracts import MemoryContract

RECORD = {"Data": "eHg=", "PartitionKey": "a", "SequenceNumber": "49", "ApproximateArrivalTimestamp": 1.5}
ANSWER = json.dumps({"Records": [RECORD], "NextShardIterator": "next", "MillisBehindLatest": 0}).encode()
FOREIGN = "amz-sdk-invocation-id"
"""A header that the SDK's own requests have."""


def plainly(body: bytes = ANSWER, *, status: int = 200) -> bytes:
    """An answer as AWS sends it."""
    return b"HTTP/1.1 %d Said\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


def refusing(code: str, *, status: int = 400) -> bytes:
    """An answer that is an error."""
    return plainly(json.dumps({"__type": code, "message": "no"}).encode(), status=status)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(ANSWER), ANSWER)
BROKEN_OFF = plainly()[:-5]
TOO_LONG = plainly() + b"more"
NO_HTTP = b"what?\r\n\r\n"


class Service:
    """Answers the SDK well, and everybody else with what it was told."""

    def __init__(self) -> None:
        self.requests: list[dict[str, str]] = []
        self.answer: bytes | None = plainly()
        """None is silence."""
        self.piece = 1_000_000

    @property
    def askers(self) -> list[str]:
        """Who asked, request after request."""
        return ["SDK" if FOREIGN in headers else "lean" for headers in self.requests]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:-2]
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head)}
                headers["body"] = (await reader.readexactly(int(headers["content-length"]))).decode()
                self.requests.append(headers)
                await self.reply(writer, plainly() if FOREIGN in headers else self.answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def reply(self, writer: asyncio.StreamWriter, answer: bytes | None) -> None:
        """Send an answer, piece by piece; break off after one that is not whole."""
        if answer is None:
            await asyncio.sleep(3600)
            return
        for first in range(0, len(answer), self.piece):
            writer.write(answer[first : first + self.piece])
            await asyncio.sleep(0)
        await writer.drain()
        if answer is BROKEN_OFF:
            raise ConnectionError


class ShiftedClock(SystemClock):
    """The machine's time, and a while more."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        """Return the time."""
        return super().monotonic() + self.ahead


@pytest.fixture
async def service(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Service]:
    """A service in the place of AWS, for a caller with a session token."""
    found = Service()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a-token")
    yield found
    server.close()


@pytest.fixture
def clock() -> ShiftedClock:
    """The time that patterns age by."""
    return ShiftedClock()


@pytest.fixture
async def kinesis(service: Service, clock: ShiftedClock) -> AsyncIterator[Call]:
    """The way to call it."""
    async with Aws(settings=AwsSettings(answer_seconds=1.0), report=Recorder(), clock=clock) as aws:
        yield await aws.call("kinesis")


async def ask(call: Call, *, times: int = 1) -> list[Any]:
    """Ask for records, and return what came of it each time."""
    found: list[Any] = []
    for n in range(times):
        try:
            found.append(await call("GetRecords", ShardIterator=f"iterator-{n}", Limit=10))
        except WorldError as error:
            found.append(type(error))
    return found


async def test_the_sdk_asks_once_and_shows_how(service: Service, kinesis: Call) -> None:
    """The gate for new versions of the SDK: were anything learned otherwise than it is, the SDK would go on asking."""
    answers = await ask(kinesis, times=4)
    assert service.askers == ["SDK", "lean", "lean", "lean"]
    assert answers[0]["Records"] == answers[3]["Records"]
    assert [json.loads(each["body"])["ShardIterator"] for each in service.requests] == [
        f"iterator-{n}" for n in range(4)
    ]
    first, last = service.requests[0], service.requests[3]
    same = ("x-amz-target", "content-type", "user-agent", "host", "x-amz-security-token", "accept-encoding")
    assert {name: last[name] for name in same} == {name: first[name] for name in same}


async def test_changes_are_asked_for_like_records(service: Service) -> None:
    """DynamoDB Streams speaks an older version of the protocol."""
    async with Aws(settings=AwsSettings(), report=Recorder(), clock=SystemClock()) as aws:
        answers = await ask(await aws.call("dynamodbstreams"), times=2)
    assert service.askers == ["SDK", "lean"]
    assert answers[0]["Records"] == answers[1]["Records"] == [json.dumps(RECORD).encode()]


async def test_without_leave_the_sdk_asks_always(service: Service) -> None:
    """It is a setting; and without a clock nothing can be signed."""
    for settings, clock in ((AwsSettings(lean=False), SystemClock()), (AwsSettings(), None)):
        async with Aws(settings=settings, report=Recorder(), clock=clock) as aws:
            await ask(await aws.call("kinesis"), times=2)
    assert service.askers == ["SDK"] * 4


async def test_a_proxy_is_the_sdks_business(service: Service, kinesis: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has set one does not want it gone round."""
    monkeypatch.setattr("botocore.utils.get_environ_proxies", lambda _: {"http": "http://proxy"})
    await ask(kinesis, times=3)
    assert service.askers == ["SDK"] * 3


async def test_what_was_learned_ages(service: Service, kinesis: Call, clock: ShiftedClock) -> None:
    """Endpoints and headers may change: the SDK is asked again."""
    await ask(kinesis, times=2)
    clock.ahead = FRESH_SECONDS
    await ask(kinesis, times=2)
    assert service.askers == ["SDK", "lean", "SDK", "lean"]


async def test_an_answer_in_many_pieces_is_put_together(service: Service, kinesis: Call) -> None:
    """Head and body may be cut anywhere."""
    for service.piece in (1, 7, 40):
        (answer,) = (await ask(kinesis, times=2))[1:]
        assert answer["Records"][0].Data == b"xx"
    assert service.askers.count("SDK") == 1


@pytest.mark.parametrize(
    ("answer", "meaning", "next_asker"),
    [
        (refusing("ProvisionedThroughputExceededException"), Throttled, "lean"),
        (refusing("ExpiredIteratorException"), Expired, "lean"),
        (refusing("InternalFailure", status=500), Unanswered, "lean"),
        (plainly(b"<html>", status=503), Unanswered, "lean"),
        (refusing("AccessDeniedException"), Denied, "SDK"),
        (refusing("InvalidSignatureException", status=403), Unaccredited, "SDK"),
        (refusing("SomethingNew"), Rejected, "SDK"),
        (CHUNKED, Unanswered, "SDK"),
        (BROKEN_OFF, Unanswered, "SDK"),
        (TOO_LONG, Unanswered, "SDK"),
        (NO_HTTP, Unanswered, "SDK"),
        (None, Unanswered, "SDK"),
    ],
    ids=str,
)
async def test_an_error_means_what_it_would_from_the_sdk(
    service: Service, kinesis: Call, answer: bytes | None, meaning: type[WorldError], next_asker: str
) -> None:
    """And one that may be of our own making sends the next request through the SDK."""
    service.answer = answer
    assert (await ask(kinesis, times=2))[1] is meaning
    await ask(kinesis)
    assert service.askers == ["SDK", "lean", next_asker]


async def test_what_fails_again_and_again_is_left_to_the_sdk(service: Service, kinesis: Call) -> None:
    """Three failures with nothing good between them are enough."""
    service.answer = CHUNKED
    await ask(kinesis, times=12)
    assert service.askers.count("lean") == 3
    assert service.askers[-6:] == ["SDK"] * 6


async def test_where_no_connection_comes_about_the_sdk_asks(
    service: Service, kinesis: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was sent: it may succeed in its own way, or says what is wrong in full."""

    async def refused(*_: object, **__: object) -> None:
        raise ConnectionRefusedError

    await ask(kinesis)
    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", refused)
    (answer,) = await ask(kinesis)
    assert answer["NextShardIterator"] == "next"
    assert service.askers == ["SDK", "SDK"]


async def test_a_call_that_is_cancelled_leaves_no_answer_for_the_next(service: Service, kinesis: Call) -> None:
    """Its connection is not used again."""
    await ask(kinesis, times=2)
    service.answer = None
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await ask(kinesis)
    service.answer = plainly()
    (answer,) = await ask(kinesis)
    assert answer["NextShardIterator"] == "next"


async def test_many_calls_at_once_have_a_connection_each(service: Service, kinesis: Call) -> None:
    """And none gets another's answer."""
    await ask(kinesis)
    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(ask(kinesis)) for _ in range(30)]
    assert all(call.result()[0]["NextShardIterator"] == "next" for call in calls)
    assert service.askers.count("SDK") == 1


class TestMemoryOfFunctions(MemoryContract):
    """What a function writes at every batch is written without the SDK: the same contract holds."""

    @pytest.fixture
    async def memory(self, table: str) -> AsyncIterator[TableMemory]:
        """A new table; the SDK has shown how to write to it."""
        with (
            ThreadPoolExecutor(2) as threads,
            closing(Sdk(threads, Recorder())) as sdk,
            closing(sdk.thrifty("dynamodb", clock=SystemClock())) as call,
        ):
            key, values = {"pk": {"S": "lesson"}, "sk": {"S": "lesson"}}, {":a": {"N": "1"}}
            for _ in range(3):  # by the SDK, and then by the SDK again that is watched
                await call("PutItem", TableName=table, Item=key)
                update = {"UpdateExpression": "SET a = :a", "ExpressionAttributeValues": values}
                await call("UpdateItem", TableName=table, Key=key, **update)
            yield TableMemory(call, table, consumer="consumer", keep=timedelta(days=7))
            assert "lean" in repr(call)


# Signatures

NOW = datetime(2026, 11, 21, 15, 0, 0, tzinfo=UTC)
OLD, NEW = ReadOnlyCredentials("AKOLD", "secret", None), ReadOnlyCredentials("AKNEW", "other", "token")


@pytest.fixture
def signed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, str]]:
    """Headers as the SDK signs them."""

    def sign(body: bytes, at: datetime, credentials: ReadOnlyCredentials) -> dict[str, str]:
        monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: at)
        headers = {"X-Amz-Target": "Kinesis.GetRecords", "Content-Type": "application/x-amz-json-1.1"}
        request = AWSRequest(method="POST", url="https://kinesis.example.com/", headers=headers, data=body)
        SigV4Auth(credentials, "kinesis", "eu-west-1").add_auth(request)
        return {"host": "kinesis.example.com"} | {name.lower(): value for name, value in request.headers.items()}

    return sign


@pytest.mark.parametrize("then", [NOW, NOW + timedelta(days=1)], ids=["the same day", "the next day"])
@pytest.mark.parametrize("known", [OLD, NEW], ids=["without a token", "with a token"])
@pytest.mark.parametrize("current", [OLD, NEW], ids=["to none", "to one"])
def test_a_learned_signature_is_the_sdks(
    signed: Callable[..., dict[str, str]], then: datetime, known: ReadOnlyCredentials, current: ReadOnlyCredentials
) -> None:
    """Over another body, at another time, with other credentials: to the last digit."""
    signer = Signer.learn("/", signed(b"one", NOW, known), b"one", known)
    assert signer is not None
    theirs = signed(b"another", then, current)
    assert signer.sign(b"another", then, current).items() <= theirs.items()


@pytest.mark.parametrize("wrong", ["authorization", "x-amz-target", "x-amz-date", "host"])
def test_what_the_sdk_signed_otherwise_is_not_learned(signed: Callable[..., dict[str, str]], wrong: str) -> None:
    """Whatever the reason: then this is not how the SDK signs."""
    headers = signed(b"one", NOW, OLD)
    assert Signer.learn("/", {**headers, wrong: f"{headers[wrong]}0"}, b"one", OLD) is None
    assert Signer.learn("/", headers, b"two", OLD) is None
    assert Signer.learn("/", headers, b"one", NEW) is None
