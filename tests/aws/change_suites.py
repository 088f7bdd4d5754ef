"""The contract of changes for the AWS adapter, on whatever the fixtures of the importing folder lead to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from boto3.dynamodb.types import TypeSerializer

from streamkit.aws.backoff import Backoff
from streamkit.aws.call import Call
from streamkit.aws.change_source import ChangeSettings, ChangeSource
from streamkit.aws.clients import Aws
from streamkit.aws.pace import Pacing
from streamkit.clock import SystemChance, SystemClock
from streamkit.ports import Source
from streamkit.testing import Recorder
from streamkit.testing.contracts import ChangesContract

HASTY = ChangeSettings(
    pacing=Pacing(calls_per_second=500, idle_seconds=0.002, idle_limit_seconds=0.01),
    backoff=Backoff(base_seconds=0.1, limit_seconds=0.3),
)
STREAM = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}


class TableWriter:
    """Writes through the API."""

    def __init__(self, call: Call, name: str) -> None:
        self.call = call
        self.name = name

    async def put(self, item: Mapping[str, object]) -> None:
        """Put."""
        await self.call("PutItem", TableName=self.name, Item=tagged(item))

    async def remove(self, key: str) -> None:
        """Delete."""
        await self.call("DeleteItem", TableName=self.name, Key={"id": {"S": key}})

    async def delete(self) -> None:
        """Delete the table."""
        await self.call("DeleteTable", TableName=self.name)

    async def create(self) -> None:
        """Make it."""
        await self.call(
            "CreateTable",
            TableName=self.name,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification=STREAM,
        )


def tagged(item: Mapping[str, object]) -> dict[str, Any]:
    """Return an item as the SDK takes it."""
    return {name: TypeSerializer().serialize(value) for name, value in item.items()}


@pytest.fixture
async def changing(dynamodb: Call, name: str) -> TableWriter:
    """A new table with a stream, and its writers' side."""
    writer = TableWriter(dynamodb, name)
    await writer.create()
    return writer


@pytest.fixture
async def source(aws: Aws, dynamodb: Call, name: str, recorder: Recorder) -> Source:
    """The consumer's side."""
    return ChangeSource(
        dynamodb,
        await aws.call("dynamodbstreams"),
        table=name,
        clock=SystemClock(),
        chance=SystemChance(),
        report=recorder,
        settings=HASTY,
    )


class TestChanges(ChangesContract):
    """By the SDK."""
