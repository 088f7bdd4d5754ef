"""What the credentials of a consumer have to be allowed, from what it declares: and nothing more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from streamkit.consumer import DynamoDBStream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamkit.consumer import Consumer, Kinesis

READ_STREAM = (
    "kinesis:DescribeStreamSummary",
    "kinesis:ListShards",
    "kinesis:GetShardIterator",
    "kinesis:GetRecords",
)
BE_PUSHED = (
    "kinesis:DescribeStreamConsumer",
    "kinesis:RegisterStreamConsumer",
    "kinesis:SubscribeToShard",
)
KNOW_TABLE = ("dynamodb:DescribeTable",)
READ_CHANGES = ("dynamodb:DescribeStream", "dynamodb:GetShardIterator", "dynamodb:GetRecords")
FIND_STREAMS = ("dynamodb:ListStreams",)
KEEP_CHECKPOINTS = (
    "dynamodb:DescribeTable",
    "dynamodb:GetItem",
    "dynamodb:Query",
    "dynamodb:PutItem",
    "dynamodb:UpdateItem",
    "dynamodb:DeleteItem",
)
SEND = ("sqs:GetQueueUrl", "sqs:GetQueueAttributes", "sqs:SendMessage")


class Place(msgspec.Struct, frozen=True):
    """Where what a consumer names without an ARN is."""

    region: str
    account: str
    partition: str = "aws"

    def arn(self, service: str, name: str) -> str:
        """Return the ARN of something of a service."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{name}"


class Statement(msgspec.Struct, frozen=True, rename="pascal", kw_only=True):
    """Something that is allowed."""

    sid: str
    effect: str = "Allow"
    action: tuple[str, ...]
    resource: str | tuple[str, ...]


class Policy(msgspec.Struct, frozen=True, rename="pascal", kw_only=True):
    """An IAM policy: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html."""

    version: str = "2012-10-17"
    statement: tuple[Statement, ...]


def policy(consumer: Consumer, place: Place) -> Policy:
    """Return what the role of a worker of this consumer is to be allowed."""
    return Policy(statement=tuple(_statements(consumer, place)))


def _statements(consumer: Consumer, place: Place) -> Iterator[Statement]:
    if consumer.source.role is not None:
        yield _allowed("AssumeTheRole", ("sts:AssumeRole",), consumer.source.role)
    else:
        yield from reading(consumer, place)
    table = place.arn("dynamodb", f"table/{consumer.table}")
    yield _allowed("KeepCheckpoints", KEEP_CHECKPOINTS, table)
    if consumer.dead_letters is not None:
        yield _allowed("SendDeadLetters", SEND, _queue(consumer.dead_letters.queue, place))
    if consumer.on_success is not None:
        yield _allowed("TellSuccesses", SEND, _queue(consumer.on_success.queue, place))


def reading(consumer: Consumer, place: Place) -> Iterator[Statement]:
    """Give what reading its source takes: of the consumer's own role, or of the one that it assumes."""
    if isinstance(consumer.source, DynamoDBStream):
        yield from _reading_changes(consumer.source, place)
    else:
        yield from _reading_records(consumer.source, consumer.name, place)


def _reading_records(source: Kinesis, consumer: str, place: Place) -> Iterator[Statement]:
    stream = source.stream if source.stream.startswith("arn:") else place.arn("kinesis", f"stream/{source.stream}")
    yield _allowed("ReadTheStream", READ_STREAM, stream)
    if source.fan_out:
        yield _allowed("HaveRecordsPushed", BE_PUSHED, stream, f"{stream}/consumer/{source.pushed_as(consumer)}:*")


def _reading_changes(source: DynamoDBStream, place: Place) -> Iterator[Statement]:
    table = source.table if source.table.startswith("arn:") else place.arn("dynamodb", f"table/{source.table}")
    yield _allowed("KnowTheTable", KNOW_TABLE, table)
    yield _allowed("ReadItsStreams", READ_CHANGES, f"{table}/stream/*")
    yield _allowed("FindThem", FIND_STREAMS, f"{table}/stream/*")


def _allowed(sid: str, actions: tuple[str, ...], *resources: str) -> Statement:
    return Statement(sid=sid, action=actions, resource=resources if len(resources) > 1 else resources[0])


def _queue(queue: str, place: Place) -> str:
    """Return the ARN of a queue that is named by ARN, URL or name."""
    if queue.startswith("arn:"):
        return queue
    if not queue.startswith(("https://", "http://")):
        return place.arn("sqs", queue)
    host, account, name = queue.partition("://")[2].rsplit("/", 2)
    labels = host.split(".")
    region = labels[1] if labels[0] == "sqs" and len(labels) > 1 else place.region
    return Place(region, account, place.partition).arn("sqs", name)
