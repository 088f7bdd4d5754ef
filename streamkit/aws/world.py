"""The real world: AWS, or any endpoint that speaks like it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from msgspec.structs import replace

from streamkit.aws import schema
from streamkit.aws.clients import Aws, AwsSettings
from streamkit.aws.kinesis import KinesisSettings, KinesisSource
from streamkit.aws.ledger import TableLedger
from streamkit.aws.pace import Pacing
from streamkit.aws.rows import Layout
from streamkit.aws.shapes import arn_region
from streamkit.aws.sqs import SqsDeadLetters
from streamkit.aws.table import TableLeases, TableMembers, TableRegistry
from streamkit.ports import Ports, Rows

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from streamkit.consumer import Consumer
    from streamkit.ports import Chance, Clock, Registration, Report

_KEEP_CLAIMS_AT_LEAST = timedelta(days=1)


class AwsWorld:
    """Opens a consumer's stream, table and queue (`streamkit.runtimes.world.World`)."""

    threaded = True
    """Heartbeats get a thread and clients of their own: a handler that computes must not look dead."""

    def __init__(self, *, clock: Clock, chance: Chance, settings: AwsSettings | None = None) -> None:
        self._clock = clock
        self._chance = chance
        self._settings = settings or AwsSettings()

    @asynccontextmanager
    async def open(self, consumer: Consumer, report: Report) -> AsyncGenerator[Ports]:
        """Open source, table and queue, having seen that table and queue are there and of the right shape."""
        async with Aws(settings=self._settings, report=report) as aws:
            dynamodb = await aws.call("dynamodb")
            await schema.check(dynamodb, consumer.table)
            letters = await self._letters(consumer, aws, report)
            yield Ports(
                source=await self._source(consumer, aws, report),
                registry=TableRegistry(dynamodb, consumer.table),
                dead_letters=letters,
            )

    @asynccontextmanager
    async def rows(self, consumer: Consumer, registration: Registration) -> AsyncGenerator[Rows]:
        """Open the rows the registration names. What there is to report of the endpoint, `open` has reported."""
        async with Aws(settings=self._settings, report=lambda _: None) as aws:
            dynamodb = await aws.call("dynamodb")
            layout = Layout.of(consumer.table, registration.stream, buckets=registration.buckets)
            keep = max(registration.stream.retention, _KEEP_CLAIMS_AT_LEAST)
            yield Rows(
                leases=TableLeases(dynamodb, layout),
                members=TableMembers(dynamodb, layout),
                ledger=TableLedger(dynamodb, consumer.table, clock=self._clock, keep=keep),
            )

    async def _source(self, consumer: Consumer, aws: Aws, report: Report) -> KinesisSource:
        source = consumer.source
        idle = source.poll.total_seconds()
        pacing = replace(Pacing(), idle_seconds=idle, idle_limit_seconds=2 * idle)
        return KinesisSource(
            await aws.call("kinesis", role=source.role, region=arn_region(source.stream)),
            stream=source.stream,
            clock=self._clock,
            chance=self._chance,
            report=report,
            compression=source.compression,
            settings=KinesisSettings(pacing=pacing, max_record_bytes=consumer.max_record_bytes),
        )

    async def _letters(self, consumer: Consumer, aws: Aws, report: Report) -> SqsDeadLetters | None:
        if consumer.dead_letters is None:
            return None
        letters = SqsDeadLetters(
            await aws.call("sqs", region=arn_region(consumer.dead_letters.queue)),
            queue=consumer.dead_letters.queue,
            chance=self._chance,
            report=report,
        )
        await letters.open()
        return letters
