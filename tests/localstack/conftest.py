"""The LocalStack tier: clients of the endpoints in the SDK's own variables.

`make localstack-test` provides the endpoints (localstack/host.py). Without them every test here is skipped,
with the reason; under STREAMKIT_LOCALSTACK=required it fails instead.
"""

import json
import os
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.aws.fixtures import aws, dynamodb, layout, name, recorder, table

__all__ = ["aws", "dynamodb", "layout", "name", "recorder", "table"]

PATIENT = Config(connect_timeout=5, read_timeout=30, retries={"total_max_attempts": 3})

Connect = Callable[[str], Any]  # the SDK has no types


@pytest.fixture(scope="session", autouse=True)
def localstack() -> str:
    """Give the URL of LocalStack's gateway, or keep the tests from running against anything else."""
    url = os.environ.get("AWS_ENDPOINT_URL_KINESIS") or os.environ.get("AWS_ENDPOINT_URL")
    reason = reason_against(url)
    if reason and os.environ.get("STREAMKIT_LOCALSTACK") == "required":
        pytest.fail(f"STREAMKIT_LOCALSTACK=required, but {reason}", pytrace=False)
    if reason:
        pytest.skip(reason)
    assert url is not None
    return url


def reason_against(url: str | None) -> str | None:
    """Say why there is no LocalStack to test against; None if there is one."""
    if url is None:
        return "no AWS_ENDPOINT_URL is set: run `make localstack-test`"
    try:
        with urllib.request.urlopen(f"{url}/_localstack/health", timeout=5) as response:  # noqa: S310 - theirs
            health: Any = json.load(response)
    except (OSError, ValueError) as error:
        return f"expected a LocalStack at {url}, got {error}: run `make localstack-test`"
    return None if "version" in health else f"expected a LocalStack at {url}, got another server"


@pytest.fixture(scope="session")
def connect() -> Iterator[Connect]:
    """Give one client for each service; its endpoint comes from the environment."""
    with ExitStack() as stack:
        clients: dict[str, Any] = {}

        def client(service: str) -> Any:
            if service not in clients:
                clients[service] = stack.enter_context(closing(boto3.client(service, config=PATIENT)))
            return clients[service]

        yield client


@pytest.fixture
def endpoint() -> None:
    """The SDK's own variables lead there already."""
