"""The contracts of the ports for the AWS adapters, on whatever the fixtures of the importing folder lead to."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest

from streamkit.aws.backoff import Backoff
from streamkit.aws.call import Call
from streamkit.aws.clients import Aws
from streamkit.aws.halts import TableHalts
from streamkit.aws.kinesis import KinesisSettings, KinesisSource
from streamkit.aws.ledger import TableLedger
from streamkit.aws.mailbox import SqsMailbox
from streamkit.aws.memory import TableMemory
from streamkit.aws.pace import Pacing
from streamkit.aws.payloads import S3Payloads
from streamkit.aws.redriven import TableRedriven
from streamkit.aws.rows import Layout
from streamkit.aws.sqs import SqsDeadLetters, SqsSuccesses
from streamkit.aws.table import TableLeases, TableMembers, TableRegistry
from streamkit.aws.transaction import DynamoDBTables
from streamkit.clock import SystemChance, SystemClock
from streamkit.core import successes
from streamkit.testing import ManualClock, Recorder
from streamkit.testing.contracts import (
    DeadLettersContract,
    HaltsContract,
    LeasesContract,
    LedgerContract,
    MailboxContract,
    MembersContract,
    MemoryContract,
    PayloadsContract,
    RedrivenContract,
    RefusalsContract,
    RegistryContract,
    RequestsContract,
    SourceContract,
    SuccessesContract,
    TransactionsContract,
)
from tests.aws.drivers import KinesisProducer, RefusingQueue

HASTY = KinesisSettings(
    pacing=Pacing(calls_per_second=500, idle_seconds=0.002, idle_limit_seconds=0.01),
    backoff=Backoff(base_seconds=0.01, limit_seconds=0.05),
)


class TestLeases(LeasesContract):
    """Leases on DynamoDB."""

    @pytest.fixture
    def leases(self, dynamodb: Call, layout: Layout) -> TableLeases:
        """A new table."""
        return TableLeases(dynamodb, layout)


class TestRequests(RequestsContract):
    """Requests of operators on DynamoDB."""

    @pytest.fixture
    def leases(self, dynamodb: Call, layout: Layout) -> TableLeases:
        """A new table."""
        return TableLeases(dynamodb, layout)


class TestTransactions(TransactionsContract):
    """Transactions on DynamoDB."""

    @pytest.fixture
    def leases(self, dynamodb: Call, layout: Layout) -> TableLeases:
        """A new table."""
        return TableLeases(dynamodb, layout)

    @pytest.fixture
    def transactions(self, dynamodb: Call, layout: Layout) -> DynamoDBTables:
        """Over the same table."""
        return DynamoDBTables(dynamodb, layout, chance=SystemChance())

    @pytest.fixture
    async def items(self, dynamodb: Call, name: str) -> str:
        """A table of the consumer's own."""
        await dynamodb(
            "CreateTable",
            TableName=f"{name}-items",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        return f"{name}-items"


class TestMembers(MembersContract):
    """Members on DynamoDB."""

    @pytest.fixture
    def members(self, dynamodb: Call, layout: Layout) -> TableMembers:
        """A new table."""
        return TableMembers(dynamodb, layout)


class TestMemory(MemoryContract):
    """The memory of functions on DynamoDB."""

    @pytest.fixture
    def memory(self, dynamodb: Call, table: str) -> TableMemory:
        """A new table."""
        return TableMemory(dynamodb, table, consumer="consumer", keep=timedelta(days=7))


class TestHalts(HaltsContract):
    """Where functions stand still, on DynamoDB."""

    @pytest.fixture
    def halts(self, dynamodb: Call, table: str) -> TableHalts:
        """A new table."""
        return TableHalts(dynamodb, table, consumer="consumer")


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
        return TableLedger(dynamodb, table, clock=clock, chance=SystemChance(), keep=timedelta(hours=1))

    @pytest.fixture
    def expire(self, clock: ManualClock) -> Callable[[], None]:
        """Let the hour pass, and the seconds by which whole ones are rounded up."""
        return lambda: clock.advance(timedelta(hours=1, seconds=3))


class TestRedriven(RedrivenContract):
    """The memory of redriven records on DynamoDB."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        """A clock that the test moves."""
        return ManualClock()

    @pytest.fixture
    def redriven(self, dynamodb: Call, table: str, clock: ManualClock) -> TableRedriven:
        """A new table."""
        return TableRedriven(dynamodb, table, clock=clock)

    @pytest.fixture
    def pass_by(self, clock: ManualClock) -> Callable[[float], None]:
        """Let time pass."""
        return lambda seconds: clock.advance(timedelta(seconds=seconds))


class TestPayloads(PayloadsContract):
    """Payloads on S3."""

    @pytest.fixture
    async def payloads(self, aws: Aws, name: str) -> S3Payloads:
        """A new bucket."""
        await (await aws.call("s3"))("CreateBucket", Bucket=name)
        return S3Payloads(lambda: aws.call("s3"), bucket=name, chance=SystemChance())


class TestMailbox(MailboxContract):
    """Letters taken out of a standard queue."""

    @pytest.fixture
    async def queue(self, aws: Aws, name: str) -> RefusingQueue:
        """A new queue."""
        call = await aws.call("sqs")
        return RefusingQueue(call, (await call("CreateQueue", QueueName=name))["QueueUrl"])

    @pytest.fixture
    def mailbox(self, queue: RefusingQueue) -> SqsMailbox:
        """The port over it."""
        return SqsMailbox(queue, queue.url, chance=SystemChance())

    @pytest.fixture
    def put(self, queue: RefusingQueue) -> Callable[[int], Awaitable[object]]:
        """Put in bodies that are all different."""

        async def put(number: int) -> None:
            for n in range(number):
                await queue.call("SendMessage", QueueUrl=queue.url, MessageBody=f"letter {n}")

        return put


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


class TestSuccesses(SuccessesContract):
    """Successes on a standard queue."""

    @pytest.fixture
    async def queue(self, aws: Aws, name: str) -> RefusingQueue:
        """A new queue."""
        call = await aws.call("sqs")
        return RefusingQueue(call, (await call("CreateQueue", QueueName=name))["QueueUrl"], read=successes.read)

    @pytest.fixture
    def successes(self, queue: RefusingQueue) -> SqsSuccesses:
        """The port over it."""
        return SqsSuccesses(queue, queue=queue.url.rpartition("/")[2], chance=SystemChance())


class TestSource(SourceContract):
    """Source and reader on Kinesis."""

    @pytest.fixture
    async def stream(self, aws: Aws, name: str) -> AsyncIterator[KinesisProducer]:
        """A new stream."""
        producer = KinesisProducer(await aws.call("kinesis"), name)
        await producer.create()
        yield producer
        await producer.discard()

    @pytest.fixture
    async def source(self, aws: Aws, name: str, recorder: Recorder) -> KinesisSource:
        """The port over it, impatient."""
        return a_source(await aws.call("kinesis"), name, recorder)

    async def test_a_stream_given_by_its_arn_is_read_as_by_its_name(
        self, aws: Aws, name: str, stream: KinesisProducer, recorder: Recorder
    ) -> None:
        """Every request goes by the ARN then: another account's stream has no other name here."""
        kinesis = await aws.call("kinesis")
        shard_id, number = await stream.put("k", b"data")
        summary = await kinesis("DescribeStreamSummary", StreamName=name)
        source = a_source(kinesis, summary["StreamDescriptionSummary"]["StreamARN"], recorder)
        assert (await source.identify()).name == name
        [shard] = [shard for shard in await source.shards() if shard.id == shard_id]
        [record] = (await source.reader(shard, "TRIM_HORIZON").read()).records
        assert (record.stream, record.sequence_number) == (name, number)


def a_source(call: Call, stream: str, recorder: Recorder) -> KinesisSource:
    """Return the port over a stream, impatient."""
    return KinesisSource(
        call, stream=stream, clock=SystemClock(), chance=SystemChance(), report=recorder, settings=HASTY
    )
