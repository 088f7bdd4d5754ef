"""The real world: AWS, or any endpoint that speaks like it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from msgspec.structs import replace

from streamkit.aws import schema
from streamkit.aws.change_source import ChangeSettings, ChangeSource
from streamkit.aws.clients import Aws, AwsSettings
from streamkit.aws.kinesis import KinesisSettings, KinesisSource
from streamkit.aws.ledger import TableLedger
from streamkit.aws.pace import Pacing
from streamkit.aws.payloads import payloads_of
from streamkit.aws.rows import Layout
from streamkit.aws.shapes import arn_region
from streamkit.aws.sqs import SqsDeadLetters, SqsSuccesses
from streamkit.aws.table import TableLeases, TableMembers, TableRegistry
from streamkit.aws.transaction import DynamoDBTables
from streamkit.consumer import DynamoDBStream, Kinesis
from streamkit.ports import Ports, Rows

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from streamkit.consumer import Consumer
    from streamkit.ports import Chance, Clock, Registration, Report, Source

_KEEP_CLAIMS_AT_LEAST = timedelta(days=1)


class AwsWorld:
    """Opens a consumer's stream, table and queue (`streamkit.runtimes.world.World`)."""

    threaded = True
    """Heartbeats get a thread and clients of their own: a handler that computes must not look dead."""

    def __init__(
        self, *, clock: Clock, chance: Chance, settings: AwsSettings | None = None, share: float | None = None
    ) -> None:
        """`share` is the part of a shard's reads that may be used where others read it too; None is all there is."""
        self._share = share
        self._clock = clock
        self._chance = chance
        self._settings = settings or AwsSettings()

    @asynccontextmanager
    async def open(self, consumer: Consumer, report: Report) -> AsyncGenerator[Ports]:
        """Open source, table and queue, having seen that table and queues are there and of the right shape."""
        async with Aws(settings=self._settings, report=report, clock=self._clock) as aws:
            dynamodb = await aws.call("dynamodb")
            await schema.check(dynamodb, consumer.table)
            letters = await self._letters(consumer, aws, report)
            yield Ports(
                source=await self.source(consumer, aws, report),
                registry=TableRegistry(dynamodb, consumer.table),
                dead_letters=letters,
                successes=await self._successes(consumer, aws),
            )

    @asynccontextmanager
    async def rows(self, consumer: Consumer, registration: Registration) -> AsyncGenerator[Rows]:
        """Open the rows the registration names. What there is to report of the endpoint, `open` has reported."""
        async with Aws(settings=self._settings, report=lambda _: None) as aws:
            dynamodb = await aws.call("dynamodb")
            layout = Layout.of(
                consumer.table, registration.stream, buckets=registration.buckets, replay=registration.replay
            )
            keep = max(registration.stream.retention, _KEEP_CLAIMS_AT_LEAST)
            yield Rows(
                leases=TableLeases(dynamodb, layout),
                members=TableMembers(dynamodb, layout),
                ledger=TableLedger(dynamodb, consumer.table, clock=self._clock, chance=self._chance, keep=keep),
                tables=DynamoDBTables(dynamodb, layout, chance=self._chance),
            )

    async def source(self, consumer: Consumer, aws: Aws, report: Report) -> Source:
        """Open what the consumer reads."""
        source = consumer.source
        if isinstance(source, DynamoDBStream):
            return await self._changes(source, consumer.max_record_bytes, aws, report)
        source = replace(source, fan_out=source.pushed_as(consumer.name) or False)
        return await self._records(source, consumer.max_record_bytes, aws, report)

    async def _changes(self, source: DynamoDBStream, max_record_bytes: int, aws: Aws, report: Report) -> ChangeSource:
        region = arn_region(source.table)
        settings = ChangeSettings(max_record_bytes=max_record_bytes)
        return ChangeSource(
            await aws.call("dynamodb", role=source.role, region=region),
            await aws.call("dynamodbstreams", role=source.role, region=region),
            table=source.table,
            clock=self._clock,
            chance=self._chance,
            report=report,
            settings=replace(settings, pacing=self._pacing(settings.pacing, source.poll)),
        )

    async def _records(self, source: Kinesis, max_record_bytes: int, aws: Aws, report: Report) -> KinesisSource:
        pacing = self._pacing(Pacing(), source.poll)
        return KinesisSource(
            await aws.call("kinesis", role=source.role, region=arn_region(source.stream)),
            stream=source.stream,
            clock=self._clock,
            chance=self._chance,
            report=report,
            compression=source.compression,
            # A consumer is pushed each shard once: what reads beside the live one polls.
            fan_out=str(source.fan_out) if source.fan_out and self._share is None else None,
            settings=KinesisSettings(
                pacing=pacing,
                max_record_bytes=max_record_bytes,
                answer_bytes=None if self._share is None else pacing.bytes_per_second / pacing.calls_per_second,
            ),
        )

    async def _letters(self, consumer: Consumer, aws: Aws, report: Report) -> SqsDeadLetters | None:
        if consumer.dead_letters is None:
            return None
        letters = SqsDeadLetters(
            await aws.call("sqs", region=arn_region(consumer.dead_letters.queue)),
            queue=consumer.dead_letters.queue,
            chance=self._chance,
            report=report,
            payloads=payloads_of(consumer.dead_letters, aws, chance=self._chance),
        )
        await letters.open()
        return letters

    async def _successes(self, consumer: Consumer, aws: Aws) -> SqsSuccesses | None:
        if consumer.on_success is None:
            return None
        queue = consumer.on_success.queue
        successes = SqsSuccesses(await aws.call("sqs", region=arn_region(queue)), queue=queue, chance=self._chance)
        await successes.open()
        return successes

    def _pacing(self, pacing: Pacing, poll: timedelta) -> Pacing:
        idle, share = poll.total_seconds(), self._share or 1.0
        return replace(
            pacing,
            calls_per_second=pacing.calls_per_second * share,
            bytes_per_second=pacing.bytes_per_second * share,
            idle_seconds=idle,
            idle_limit_seconds=2 * idle,
        )
