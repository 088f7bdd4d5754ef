"""An endpoint for the adapters, in a thread of its own."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from streamkit.testing.endpoint import Endpoint
from tests.aws.fixtures import aws, dynamodb, layout, name, recorder, table

__all__ = ["aws", "dynamodb", "layout", "name", "recorder", "table"]


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
def endpoint(endpoint_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lead the SDK there."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint_url)
