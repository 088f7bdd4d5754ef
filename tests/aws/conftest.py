"""An endpoint for the adapters, in a thread of its own, and the way to call it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from streamkit.aws.call import Call
from streamkit.aws.clients import Aws, AwsSettings
from streamkit.clock import SystemChance, SystemClock
from streamkit.testing import Recorder
from streamkit.testing.endpoint import Endpoint

PATIENT = AwsSettings(lease_answer_seconds=30.0, answer_seconds=30.0)
"""A busy machine is not judged."""


@pytest.fixture(scope="session")
def endpoint_url() -> Iterator[str]:
    """The address of an endpoint that serves until all tests are done."""
    served: list[str] = []
    ready, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        async with Endpoint() as endpoint:
            served.append(endpoint.url)
            ready.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(30)
        yield served[0]
    finally:
        stop.set()
        thread.join(30)


@pytest.fixture
def name() -> str:
    """A name nobody used before."""
    return f"test-{SystemChance().token()}"


@pytest.fixture
def recorder() -> Recorder:
    """What was reported."""
    return Recorder()


@pytest.fixture
async def aws(endpoint_url: str, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Aws]:
    """Clients that speak to the endpoint."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint_url)
    async with Aws(settings=PATIENT, report=recorder) as aws:
        yield aws


@pytest.fixture
async def dynamodb(aws: Aws) -> Call:
    """The way to call DynamoDB."""
    return await aws.call("dynamodb")


@pytest.fixture
async def table(dynamodb: Call, name: str) -> str:
    """A new checkpoint table, by its name."""
    from streamkit.aws.schema import create

    await create(dynamodb, name, clock=SystemClock(), protected=False)
    return name
