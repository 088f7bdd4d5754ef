"""Clients, a table and names for the adapters' tests, wherever the SDK's own variables lead."""

from collections.abc import AsyncIterator

import pytest

from streamkit.aws import schema
from streamkit.aws.call import Call
from streamkit.aws.clients import Aws, AwsSettings
from streamkit.aws.rows import Layout
from streamkit.clock import SystemChance, SystemClock
from streamkit.testing import Recorder

PATIENT = AwsSettings(lease_answer_seconds=30.0, answer_seconds=30.0)
"""A busy machine is not judged."""


@pytest.fixture
def name() -> str:
    """A name nobody used before."""
    return f"test-{SystemChance().token()}"


@pytest.fixture
def recorder() -> Recorder:
    """What was reported."""
    return Recorder()


@pytest.fixture
async def aws(endpoint: None, recorder: Recorder) -> AsyncIterator[Aws]:
    """Clients of the services in force."""
    async with Aws(settings=PATIENT, report=recorder, clock=SystemClock()) as aws:
        yield aws


@pytest.fixture
async def dynamodb(aws: Aws) -> Call:
    """The way to call DynamoDB."""
    return await aws.call("dynamodb")


@pytest.fixture
async def table(dynamodb: Call, name: str) -> str:
    """A new checkpoint table, by its name."""
    await schema.create(dynamodb, name, clock=SystemClock(), protected=False)
    return name


@pytest.fixture(params=[1, 5], ids=["one bucket", "five buckets"])
def layout(table: str, request: pytest.FixtureRequest) -> Layout:
    """Where rows lie."""
    return Layout(table, "0123456789ab", request.param)
