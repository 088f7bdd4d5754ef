"""What the credentials of a consumer have to be allowed, from what it declares: and nothing more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from streamkit.consumer import DynamoDBStream
from streamkit.core.kept import folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamkit.consumer import Consumer, Kinesis, Source

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
REMEMBER = tuple(action for action in KEEP_CHECKPOINTS if action != "dynamodb:DescribeTable")
KEEP_PAYLOADS = ("s3:PutObject",)
SEND = ("sqs:GetQueueUrl", "sqs:GetQueueAttributes", "sqs:SendMessage")
MAP_STREAM = (
    "kinesis:DescribeStream",
    "kinesis:DescribeStreamSummary",
    "kinesis:GetRecords",
    "kinesis:GetShardIterator",
    "kinesis:ListShards",
)
WRITE_LOGS = ("logs:CreateLogStream", "logs:PutLogEvents")


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
    yield from _sending(consumer, place)


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


def _sending(consumer: Consumer, place: Place) -> Iterator[Statement]:
    if consumer.dead_letters is not None:
        yield _allowed("SendDeadLetters", SEND, queue_arn(consumer.dead_letters.queue, place))
        if consumer.dead_letters.bucket is not None:
            objects = f"arn:{place.partition}:s3:::{consumer.dead_letters.bucket}/{folder(consumer.name)}*"
            yield _allowed("KeepLargePayloads", KEEP_PAYLOADS, objects)
    if consumer.on_success is not None:
        yield _allowed("TellSuccesses", SEND, queue_arn(consumer.on_success.queue, place))


def _allowed(sid: str, actions: tuple[str, ...], *resources: str) -> Statement:
    [first, *others] = resources
    return Statement(sid=sid, action=actions, resource=resources if others else first)


def queue_arn(queue: str, place: Place) -> str:
    """Return the ARN of a queue that is named by ARN, URL or name."""
    if queue.startswith("arn:"):
        return queue
    if not queue.startswith(("https://", "http://")):
        return place.arn("sqs", queue)
    host, account, name = queue.partition("://")[2].rsplit("/", 2)
    labels = host.split(".")
    region = labels[1] if labels[0] == "sqs" and len(labels) > 1 else place.region
    return Place(region, account, place.partition).arn("sqs", name)


# --------------------------------------------------------------------------------------------- as a function


def function_policy(consumer: Consumer, place: Place, *, function: str) -> Policy:
    """Return what the role of a function of this consumer is to be allowed: its mapping reads in the role's name.

    https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html,
    https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html
    """
    return Policy(statement=tuple(_of_a_function(consumer, place, function)))


def _of_a_function(consumer: Consumer, place: Place, function: str) -> Iterator[Statement]:
    yield _allowed("RememberDeliveries", REMEMBER, place.arn("dynamodb", f"table/{consumer.table}"))
    yield from _sending(consumer, place)
    yield from _mapped(consumer.source, place)
    yield _allowed("WriteLogs", WRITE_LOGS, place.arn("logs", f"log-group:/aws/lambda/{function}:*"))


def _mapped(source: Source, place: Place) -> Iterator[Statement]:
    name, named = source.stream, source.stream.startswith("arn:")
    if isinstance(source, DynamoDBStream):
        table = name if named else place.arn("dynamodb", f"table/{name}")
        yield _allowed("LetTheMappingRead", READ_CHANGES, f"{table}/stream/*")
        yield _allowed("LetItFindThem", FIND_STREAMS, f"{table}/stream/*")
        return
    yield _allowed("LetTheMappingRead", MAP_STREAM, name if named else place.arn("kinesis", f"stream/{name}"))
