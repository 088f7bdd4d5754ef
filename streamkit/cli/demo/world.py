"""The stage: an embedded world, and in it what the consumer works with."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from streamkit.aws.clients import Aws, AwsSettings
from streamkit.aws.kinesis import KinesisSource
from streamkit.aws.table import TableLeases, TableMembers, TableRegistry
from streamkit.clock import SystemChance, SystemClock
from streamkit.consumer import Consumer
from streamkit.core.leasing import Member, ShardRow
from streamkit.testing.endpoint import Endpoint
from streamkit.testing.kinesis import Fault, Faults

STREAM = "flights"
QUEUE = "flights-dlq"
STATISTICS = "flight-statistics"
SHARDS = 4

_LOST = 0.06
"""Share of PutRecords calls whose answer never arrives: their producer has to put the batch again."""
_SEED = 7
_FOREIGN = ("AWS_", "STREAMKIT_", "FLIGHTS_")
_NOBODYS = {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "NO_PROXY": "127.0.0.1",
    "no_proxy": "127.0.0.1",
}


class Stage:
    """The services, spoken to through the SDK as any program does."""

    def __init__(self, url: str, aws: Aws) -> None:
        self.url = url
        self._aws = aws

    async def kinesis(self, operation: str, **parameters: object) -> dict[str, Any]:
        """Ask Kinesis. Raises the `WorldError`s of `streamkit.errors`, as all of these do."""
        return await (await self._aws.call("kinesis"))(operation, **parameters)

    async def dynamodb(self, operation: str, **parameters: object) -> dict[str, Any]:
        """Ask DynamoDB."""
        return await (await self._aws.call("dynamodb"))(operation, **parameters)

    async def sqs(self, operation: str, **parameters: object) -> dict[str, Any]:
        """Ask SQS."""
        return await (await self._aws.call("sqs"))(operation, **parameters)

    async def build(self) -> None:
        """Make what belongs to the application: the stream and the table of statistics."""
        await self.kinesis("CreateStream", StreamName=STREAM, ShardCount=SHARDS)
        keys = {"carrier": "HASH", "month_aircraft": "RANGE"}
        await self.dynamodb(
            "CreateTable",
            TableName=STATISTICS,
            KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys.items()],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in keys],
            BillingMode="PAY_PER_REQUEST",
        )

    async def rows(self, table: str) -> int:
        """Return how many rows a table has; the embedded world counts at once, AWS every six hours."""
        answer = await self.dynamodb("DescribeTable", TableName=table)
        return int(answer["Table"]["ItemCount"])

    async def workers(self, consumer: Consumer) -> tuple[list[Member], list[ShardRow]]:
        """Return the heartbeat rows and the shard rows of the checkpoint table."""
        call = await self._aws.call("dynamodb")
        source = KinesisSource(
            await self._aws.call("kinesis"),
            stream=STREAM,
            clock=SystemClock(),
            chance=SystemChance(),
            report=lambda _: None,
        )
        layout = await TableRegistry(call, consumer.table).layout(await source.identify())
        return list(await TableMembers(call, layout).members()), list(await TableLeases(call, layout).rows())


@asynccontextmanager
async def stage() -> AsyncGenerator[Stage]:
    """Start the embedded world and lead the SDK of this process and its children there."""
    faults = Faults(of={"PutRecords": Fault(lost=_LOST)})
    async with Endpoint(faults=faults, seed=_SEED) as endpoint:
        _lead(endpoint.environment)
        settings = AwsSettings(answer_seconds=60.0, lease_answer_seconds=60.0)
        async with Aws(settings=settings, report=lambda _: None) as aws:
            yield Stage(endpoint.url, aws)


def _lead(environment: Mapping[str, str]) -> None:
    """Replace every setting that could lead elsewhere, or make workers other than the demo's."""
    for name in [name for name in os.environ if name.startswith(_FOREIGN)]:
        del os.environ[name]
    os.environ.update({**environment, **_NOBODYS})


def is_of(member: Member, pid: int) -> bool:
    """Say whether a heartbeat row is a process's: workers are named by host and process."""
    return member.worker.startswith(f"{socket.gethostname()}-{pid}-")
