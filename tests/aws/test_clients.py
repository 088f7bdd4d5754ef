"""Clients of services: settings that cannot work are said at once, requests are sent once."""

import asyncio
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from streamkit.aws.clients import Aws, AwsSettings, Service
from streamkit.aws.endpoints import is_loopback, is_overridden
from streamkit.aws.errors import Unreachable
from streamkit.errors import ConfigurationError, Unanswered
from streamkit.events import EndpointOverridden
from streamkit.testing import Recorder


class OddServer:
    """Keeps every request and answers none of them well."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self.url = ""
        self.status = 500
        self.silent = asyncio.Event()
        self.wait = False

    async def answer(self, request: web.Request) -> web.Response:
        """Fail."""
        await request.read()
        self.requests.append((request.headers.get("X-Amz-Target", ""), request.headers["User-Agent"]))
        if self.wait:
            await self.silent.wait()
        return web.json_response({"__type": "InternalServerError"}, status=self.status)


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OddServer]:
    """A server in the place of AWS."""
    odd = OddServer()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", odd.answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    odd.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", odd.url)
    yield odd
    odd.silent.set()
    await runner.cleanup()


async def refusal(settings: AwsSettings | None = None, service: Service = "kinesis") -> str:
    """What is said when a client is asked for that cannot be made."""
    async with Aws(settings=settings or AwsSettings(), report=Recorder()) as aws:
        with pytest.raises(ConfigurationError) as error:
            await aws.call(service)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("service", ["kinesis", "dynamodb", "sqs"])
async def test_a_request_is_sent_once_and_named(server: OddServer, service: Service) -> None:
    """The SDK's own retries are off: a write sent twice could land twice (rule 1)."""
    operation = {"kinesis": "ListStreams", "dynamodb": "ListTables", "sqs": "ListQueues"}[service]
    async with Aws(settings=AwsSettings(), report=Recorder()) as aws:
        call = await aws.call(service)
        with pytest.raises(Unanswered, match=f"{service}:{operation} got no answer"):
            await call(operation)
    [(target, agent)] = server.requests
    assert target.endswith(operation)
    assert "streamkit/" in agent


async def test_a_silent_service_is_not_waited_for_longer_than_a_lease_allows(server: OddServer) -> None:
    """Sent and unanswered: it may have happened."""
    server.wait = True
    async with Aws(settings=AwsSettings(lease_answer_seconds=0.2), report=Recorder()) as aws:
        call = await aws.call("dynamodb")
        with pytest.raises(Unanswered):
            await call("ListTables")
    assert len(server.requests) == 1


async def test_a_service_that_is_not_there_was_never_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused at the door: nothing happened."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    async with Aws(settings=AwsSettings(), report=Recorder()) as aws:
        call = await aws.call("dynamodb")
        with pytest.raises(Unreachable, match="check AWS_ENDPOINT_URL"):
            await call("ListTables")


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_a_connection_that_breaks_after_the_request_leaves_doubt(
    monkeypatch: pytest.MonkeyPatch, *, reset: bool
) -> None:
    """The request was received: it may have happened, whatever the SDK calls the error."""

    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if reset:  # closing with no time to linger sends a reset
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    server = await asyncio.start_server(break_off, "127.0.0.1", 0)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    async with server, Aws(settings=AwsSettings(), report=Recorder()) as aws:
        call = await aws.call("dynamodb")
        with pytest.raises(Unanswered, match="it may or may not have happened"):
            await call("ListTables")


async def test_an_endpoint_in_force_is_reported_once(server: OddServer) -> None:
    """Whoever reads the log knows that this is not AWS."""
    recorder = Recorder()
    async with Aws(settings=AwsSettings(), report=recorder) as aws:
        assert await aws.call("kinesis") is await aws.call("kinesis")
        await aws.call("dynamodb")
    assert list(recorder.events) == [
        EndpointOverridden(service="kinesis", url=server.url),
        EndpointOverridden(service="dynamodb", url=server.url),
    ]


async def test_one_process_may_have_clients_in_two_loops(server: OddServer) -> None:
    """Heartbeats run in a thread with a loop of its own."""

    async def ask() -> None:
        async with Aws(settings=AwsSettings(), report=Recorder()) as aws:
            call = await aws.call("dynamodb")
            with pytest.raises(Unanswered):
                await call("ListTables")

    async with Aws(settings=AwsSettings(), report=Recorder()) as aws:
        call = await aws.call("dynamodb")
        await asyncio.to_thread(asyncio.run, ask())
        with pytest.raises(Unanswered):
            await call("ListTables")
    assert len(server.requests) == 2


async def test_a_missing_region_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_REGION, as everywhere else."""
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert await refusal() == "expected an AWS region, got none: set AWS_REGION"


async def test_the_region_may_come_from_either_variable(monkeypatch: pytest.MonkeyPatch, server: OddServer) -> None:
    """The SDK for Python reads only one of them."""
    for left_out in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        with monkeypatch.context() as patch:
            patch.delenv(left_out)
            async with Aws(settings=AwsSettings(), report=Recorder()) as aws:
                await aws.call("kinesis")


async def test_missing_credentials_say_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is asked."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "expected AWS credentials, got none: set AWS_PROFILE" in await refusal()


async def test_half_of_the_credentials_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK says which half."""
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "aws_secret_access_key" in (await refusal()).lower()


async def test_a_profile_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A spelling mistake is found at the start."""
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert "nobody" in await refusal()


@pytest.mark.parametrize("url", ["nowhere", "http//127.0.0.1:4566", "http://exa mple:1"])
async def test_a_malformed_endpoint_is_named(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """What was expected follows from what is said."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    assert url in await refusal()


async def test_an_odd_region_is_named() -> None:
    """It becomes a part of a host name."""
    assert "not a region!" in await refusal(AwsSettings(region="not a region!"))


@pytest.mark.parametrize("url", ["https://example.com:4566", "http://example.com"])
async def test_unverified_tls_is_refused_beyond_this_machine(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Credentials and payloads would go to whoever answers."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    assert f"expected verified TLS for {url}" in await refusal(AwsSettings(verify=False))


async def test_unverified_tls_is_for_this_machine(server: OddServer) -> None:
    """An emulator has a certificate of its own making."""
    async with Aws(settings=AwsSettings(verify=False), report=Recorder()) as aws:
        await aws.call("kinesis")


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
@pytest.mark.parametrize("value", ["", "/no/such/file.pem"])
async def test_an_empty_bundle_does_not_switch_verification_off(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """The SDK would read an empty name as "do not verify", and a wrong one as trouble at every request."""
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    monkeypatch.setenv(variable, value)
    said = await refusal()
    assert variable in said
    assert repr(value) in said


@pytest.mark.usefixtures("endpoint")
async def test_a_role_is_assumed_before_its_first_use() -> None:
    """Another account's stream is read in the name of a role there; its credentials are fetched by STS."""
    async with Aws(settings=AwsSettings(), report=Recorder()) as aws:
        call = await aws.call("sts", role="arn:aws:iam::123456789012:role/reader")
        identity = await call("GetCallerIdentity")
    assert identity["Arn"] == "arn:aws:sts::123456789012:assumed-role/reader/streamkit"


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:4566", True),
        ("http://127.8.9.1", True),
        ("https://[::1]:4566", True),
        ("http://localhost:4566", True),
        ("https://sqs.localhost:4566", True),
        ("http://localhost.example.com", False),
        ("http://127.0.0.1.example.com", False),
        ("http://10.0.0.1", False),
        ("https://kinesis.us-east-1.amazonaws.com", False),
        ("", False),
    ],
)
def test_this_machine_is_known_by_its_addresses(url: str, *, loopback: bool) -> None:
    """And by no name that only looks like them."""
    assert is_loopback(url) is loopback


@pytest.mark.parametrize(
    ("url", "environment", "overridden"),
    [
        ("https://kinesis.us-east-1.amazonaws.com", {}, False),
        ("https://123.ddb.us-east-1.amazonaws.com", {"AWS_ENDPOINT_URL_SQS": "http://x"}, False),
        ("https://vpce-1.kinesis.us-east-1.vpce.amazonaws.com", {"AWS_ENDPOINT_URL_KINESIS": "x"}, True),
        (
            "https://kinesis.us-east-1.amazonaws.com",
            {"AWS_ENDPOINT_URL": "x", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
            False,
        ),
        ("http://127.0.0.1:4566", {}, True),
        ("https://amazonaws.com.example.com", {}, True),
    ],
)
def test_an_override_is_known_from_the_variables_or_the_host(
    url: str, environment: dict[str, str], *, overridden: bool
) -> None:
    """A profile may set it too; then only the host tells."""
    assert is_overridden("kinesis", url, environment) is overridden


def test_the_adapters_load_without_the_sdk() -> None:
    """Only clients make clients: importing the rest stays cheap."""
    names = [path.stem for path in Path(sys.modules["streamkit.aws"].__path__[0]).glob("[a-z]*.py")]
    program = (
        f"import sys, importlib; [importlib.import_module(f'streamkit.aws.{{name}}') for name in {names!r}]; "
        "print({'aioboto3', 'aiohttp', 'boto3', 'botocore', 'tenacity'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
