"""The AWS adapters keep every promise of the ports, on the embedded endpoint."""

# ruff: noqa: ANN401 - a fake takes whatever a request carries

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from streamkit.aws.backoff import Backoff
from streamkit.aws.call import Call
from streamkit.aws.clients import Aws
from streamkit.aws.kinesis import KinesisSettings, KinesisSource
from streamkit.aws.ledger import TableLedger
from streamkit.aws.pace import Pacing
from streamkit.aws.rows import Layout
from streamkit.aws.sqs import SqsDeadLetters
from streamkit.aws.table import TableLeases, TableMembers, TableRegistry
from streamkit.clock import SystemChance, SystemClock
from streamkit.core.envelope import read
from streamkit.testing import ManualClock, Recorder
from streamkit.testing.contracts import (
    DeadLettersContract,
    LeasesContract,
    LedgerContract,
    MembersContract,
    QueueDriver,
    RefusalsContract,
    RegistryContract,
    SourceContract,
)

HASTY = KinesisSettings(
    pacing=Pacing(calls_per_second=500, idle_seconds=0.002, idle_limit_seconds=0.01),
    backoff=Backoff(base_seconds=0.01, limit_seconds=0.05),
)


@pytest.fixture(params=[1, 3], ids=["one bucket", "three buckets"])
def layout(table: str, request: pytest.FixtureRequest) -> Layout:
    """Where rows lie."""
    return Layout(table, "0123456789ab", request.param)


class TestLeases(LeasesContract):
    """Leases on DynamoDB."""

    @pytest.fixture
    def leases(self, dynamodb: Call, layout: Layout) -> TableLeases:
        """A new table."""
        return TableLeases(dynamodb, layout)


class TestMembers(MembersContract):
    """Members on DynamoDB."""

    @pytest.fixture
    def members(self, dynamodb: Call, layout: Layout) -> TableMembers:
        """A new table."""
        return TableMembers(dynamodb, layout)


class TestRegistry(RegistryContract):
    """The registry on DynamoDB."""

    @pytest.fixture
    def registry(self, dynamodb: Call, table: str) -> TableRegistry:
        """A new table."""
        return TableRegistry(dynamodb, table)


class TestLedger(LedgerContract):
    """The ledger on DynamoDB."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        """A clock that the test moves."""
        return ManualClock()

    @pytest.fixture
    def ledger(self, dynamodb: Call, table: str, clock: ManualClock) -> TableLedger:
        """A ledger that keeps claims for an hour."""
        return TableLedger(dynamodb, table, clock=clock, keep=timedelta(hours=1))

    @pytest.fixture
    def expire(self, clock: ManualClock) -> Callable[[], None]:
        """Let the hour pass, and the seconds by which whole ones are rounded up."""
        return lambda: clock.advance(timedelta(hours=1, seconds=3))


class RefusingQueue:
    """Calls the real queue, which refuses some of the letters sent next, and shows what is in it."""

    def __init__(self, call: Call, url: str) -> None:
        self.call = call
        self.url = url
        self.refusing = 0
        self.seen: list[tuple[str, bytes]] = []

    async def __call__(self, operation: str, /, **parameters: Any) -> dict[str, Any]:
        """Send what is not to be refused."""
        if operation != "SendMessageBatch" or not self.refusing:
            return await self.call(operation, **parameters)
        entries: list[dict[str, Any]] = parameters["Entries"]
        refused, taken = entries[: self.refusing], entries[self.refusing :]
        self.refusing -= len(refused)
        answer = await self.call(operation, **{**parameters, "Entries": taken}) if taken else {}
        failed = [{"Id": each["Id"], "SenderFault": True, "Code": "Odd"} for each in refused]
        return {**answer, "Failed": failed}

    def refuse(self, letters: int) -> None:
        """Refuse so many of the next letters for good."""
        self.refusing += letters

    async def delivered(self) -> Sequence[tuple[str, bytes]]:
        """Take everything out of the queue; remember what came out before."""
        while messages := await self._receive():
            for message in messages:
                record = read(message["Body"]).record
                self.seen.append((record.id, record.data))
                await self.call("DeleteMessage", QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return self.seen

    async def _receive(self) -> list[dict[str, Any]]:
        answer = await self.call("ReceiveMessage", QueueUrl=self.url, MaxNumberOfMessages=10)
        return list(answer.get("Messages", []))


class TestStandardQueue(DeadLettersContract, RefusalsContract):
    """Dead letters on a standard queue."""

    @pytest.fixture
    async def queue(self, aws: Aws, name: str) -> RefusingQueue:
        """A new queue."""
        call = await aws.call("sqs")
        return RefusingQueue(call, (await call("CreateQueue", QueueName=name))["QueueUrl"])

    @pytest.fixture
    def dead_letters(self, queue: RefusingQueue, recorder: Recorder) -> SqsDeadLetters:
        """The port over it."""
        name = queue.url.rpartition("/")[2]
        return SqsDeadLetters(queue, queue=name, chance=SystemChance(), report=recorder)


class TestFifoQueue(DeadLettersContract):
    """Dead letters on a FIFO queue; what it does with refusals is in test_sqs.py: groups keep their order."""

    @pytest.fixture
    async def queue(self, aws: Aws, name: str) -> RefusingQueue:
        """A new queue."""
        call = await aws.call("sqs")
        made = await call("CreateQueue", QueueName=f"{name}.fifo", Attributes={"FifoQueue": "true"})
        return RefusingQueue(call, made["QueueUrl"])

    @pytest.fixture
    def dead_letters(self, queue: RefusingQueue, recorder: Recorder) -> SqsDeadLetters:
        """The port over it, by URL."""
        return SqsDeadLetters(queue, queue=queue.url, chance=SystemChance(), report=recorder)


class KinesisProducer:
    """Puts and reshards through the API."""

    def __init__(self, call: Call, name: str) -> None:
        self.call = call
        self.stream = {"StreamName": name}

    async def put(self, key: str, data: bytes) -> tuple[str, str]:
        """Put a little later than the last: arrivals differ."""
        await asyncio.sleep(0.002)
        answer = await self.call("PutRecord", **self.stream, PartitionKey=key, Data=data)
        return answer["ShardId"], answer["SequenceNumber"]

    async def split(self, shard: str) -> None:
        """Split in the middle."""
        first, last = (await self._ranges())[shard]
        middle = str((first + last) // 2 + 1)
        await self.call("SplitShard", **self.stream, ShardToSplit=shard, NewStartingHashKey=middle)
        await self._active()

    async def merge(self, shard: str, adjacent: str) -> None:
        """Merge."""
        await self.call("MergeShards", **self.stream, ShardToMerge=shard, AdjacentShardToMerge=adjacent)
        await self._active()

    async def delete(self) -> None:
        """Delete."""
        await self.call("DeleteStream", **self.stream)

    async def create(self) -> None:
        """Make it again, some time later."""
        await asyncio.sleep(0.01)
        await self.call("CreateStream", **self.stream, ShardCount=2)
        await self._active()

    async def _ranges(self) -> dict[str, tuple[int, int]]:
        shards = (await self.call("ListShards", **self.stream))["Shards"]
        keys = {shard["ShardId"]: shard["HashKeyRange"] for shard in shards}
        return {name: (int(k["StartingHashKey"]), int(k["EndingHashKey"])) for name, k in keys.items()}

    async def _active(self) -> None:
        for _ in range(200):
            answer = await self.call("DescribeStreamSummary", **self.stream)
            if answer["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE":
                return
            await asyncio.sleep(0.01)
        raise AssertionError("expected an active stream, waited in vain")


async def test_a_stream_given_by_its_arn_is_read_as_by_its_name(aws: Aws, name: str, recorder: Recorder) -> None:
    """Every request goes by the ARN then: another account's stream has no other name here."""
    kinesis = await aws.call("kinesis")
    producer = KinesisProducer(kinesis, name)
    await producer.create()
    shard_id, number = await producer.put("k", b"data")
    summary = await kinesis("DescribeStreamSummary", StreamName=name)
    source = KinesisSource(
        kinesis,
        stream=summary["StreamDescriptionSummary"]["StreamARN"],
        clock=SystemClock(),
        chance=SystemChance(),
        report=recorder,
        settings=HASTY,
    )
    assert (await source.identify()).name == name
    [shard] = [shard for shard in await source.shards() if shard.id == shard_id]
    [record] = (await source.reader(shard, "TRIM_HORIZON").read()).records
    assert (record.stream, record.sequence_number) == (name, number)


class TestSource(SourceContract):
    """Source and reader on Kinesis."""

    @pytest.fixture
    async def stream(self, aws: Aws, name: str) -> KinesisProducer:
        """A new stream."""
        producer = KinesisProducer(await aws.call("kinesis"), name)
        await producer.create()
        return producer

    @pytest.fixture
    async def source(self, aws: Aws, name: str, recorder: Recorder) -> KinesisSource:
        """The port over it, impatient."""
        return KinesisSource(
            await aws.call("kinesis"),
            stream=name,
            clock=SystemClock(),
            chance=SystemChance(),
            report=recorder,
            settings=HASTY,
        )


_: type[QueueDriver] = RefusingQueue
