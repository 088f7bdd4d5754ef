"""What the LocalStack tier stands on: where the rest of it leans on the services, they behave like AWS."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.localstack.conftest import Connect

pytestmark = pytest.mark.localstack

RESOURCES = Path(__file__).parents[2] / "localstack" / "init" / "ready.d" / "resources.py"
CALLS = 50  # bounds every read loop
QUICKLY = {"Delay": 1, "MaxAttempts": 30}


@pytest.fixture
def stream(connect: Connect, name: str) -> Iterator[str]:
    """Create a stream with one shard."""
    kinesis = connect("kinesis")
    kinesis.create_stream(StreamName=name, ShardCount=1)
    kinesis.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig=QUICKLY)
    yield name
    kinesis.delete_stream(StreamName=name)


@pytest.fixture
def table(connect: Connect, name: str) -> Iterator[str]:
    """Create a table, keyed by the text `id`, whose stream carries old and new images."""
    dynamodb = connect("dynamodb")
    dynamodb.create_table(
        TableName=name,
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    dynamodb.get_waiter("table_exists").wait(TableName=name, WaiterConfig=QUICKLY)
    yield name
    dynamodb.delete_table(TableName=name)


@pytest.fixture(params=["standard", "fifo"])
def queue(request: pytest.FixtureRequest, connect: Connect, name: str) -> Iterator[str]:
    """Create a queue of each kind; gives its URL."""
    sqs = connect("sqs")
    fifo = request.param == "fifo"
    attributes = {"FifoQueue": "true"} if fifo else {}
    url: str = sqs.create_queue(QueueName=f"{name}.fifo" if fifo else name, Attributes=attributes)["QueueUrl"]
    yield url
    sqs.delete_queue(QueueUrl=url)


def test_the_init_script_has_made_its_resources_and_may_run_again(connect: Connect) -> None:
    """The stream, table, queue and bucket are there; making them again changes nothing and is no error."""
    subprocess.run([sys.executable, str(RESOURCES)], check=True, timeout=60)

    summary = connect("kinesis").describe_stream_summary(StreamName="flights")["StreamDescriptionSummary"]
    table = connect("dynamodb").describe_table(TableName="flights")["Table"]

    assert (summary["StreamStatus"], summary["OpenShardCount"]) == ("ACTIVE", 4)
    assert table["StreamSpecification"] == {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    assert connect("sqs").get_queue_url(QueueName="flights-dlq")["QueueUrl"].endswith("/flights-dlq")
    connect("s3").head_bucket(Bucket="flights-spill")


def test_records_come_back_once_in_order_with_rising_numbers(connect: Connect, stream: str) -> None:
    """A shard gives what was put, byte for byte; its sequence numbers are integers that rise."""
    put(connect, stream, range(20))

    records, _ = drain(connect, stream, shards(connect, stream)[0]["ShardId"], enough=20)

    numbers = [int(record["SequenceNumber"]) for record in records]
    assert [record["Data"] for record in records] == [b"%d" % n for n in range(20)]
    assert all(record["PartitionKey"] == "key" for record in records)
    assert numbers == sorted(set(numbers))


def test_a_split_shard_ends_and_names_its_children(connect: Connect, stream: str) -> None:
    """A closed shard's last answer has no next iterator and lists its two children, where new ones go."""
    (parent,) = shards(connect, stream)
    put(connect, stream, range(3))
    middle = str(int(parent["HashKeyRange"]["EndingHashKey"]) // 2)
    kinesis = connect("kinesis")
    kinesis.split_shard(StreamName=stream, ShardToSplit=parent["ShardId"], NewStartingHashKey=middle)
    kinesis.get_waiter("stream_exists").wait(StreamName=stream, WaiterConfig=QUICKLY)
    put(connect, stream, range(3, 6))

    before, children = drain(connect, stream, parent["ShardId"])
    after = [r for child in children for r in drain(connect, stream, child["ShardId"], enough=3)[0]]

    assert [record["Data"] for record in before] == [b"0", b"1", b"2"]
    assert [record["Data"] for record in after] == [b"3", b"4", b"5"]
    assert len(children) == 2
    assert all(child["ParentShards"] == [parent["ShardId"]] for child in children)


def test_a_conditional_write_is_refused_when_its_condition_fails(connect: Connect, table: str) -> None:
    """The first claim stands, the second is refused and shown who holds it; the holder may go on."""
    dynamodb = connect("dynamodb")
    dynamodb.put_item(**claim(table, "worker-a"))

    with pytest.raises(dynamodb.exceptions.ConditionalCheckFailedException) as refused:
        dynamodb.put_item(**claim(table, "worker-b"), ReturnValuesOnConditionCheckFailure="ALL_OLD")

    assert refused.value.response["Item"]["owner"] == {"S": "worker-a"}
    dynamodb.put_item(**claim(table, "worker-a"))


def test_a_batch_to_a_queue_fails_in_part(connect: Connect, queue: str) -> None:
    """An illegal message is refused alone; the others of its batch are in the queue, of either kind.

    AWS adds SenderFault=true; LocalStack says false, so the code is what to go by.
    """
    bodies = ["first", "not XML-legal: \x0b", "second"]

    answer = connect("sqs").send_message_batch(QueueUrl=queue, Entries=entries(queue, bodies))

    assert [sent["Id"] for sent in answer["Successful"]] == ["0", "2"]
    assert [(refused["Id"], refused["Code"]) for refused in answer["Failed"]] == [("1", "InvalidMessageContents")]
    assert received(connect, queue, enough=2) == {"first", "second"}


def test_a_tables_stream_carries_each_change_with_both_images(connect: Connect, table: str) -> None:
    """An insert, a change and a removal of one item come in order, with the images before and after."""
    dynamodb, key = connect("dynamodb"), {"id": {"S": "a"}}
    dynamodb.put_item(TableName=table, Item={**key, "delay": {"N": "1"}})
    dynamodb.put_item(TableName=table, Item={**key, "delay": {"N": "2"}})
    dynamodb.delete_item(TableName=table, Key=key)

    changes = drain_table(connect, table, enough=3)

    assert [change["eventName"] for change in changes] == ["INSERT", "MODIFY", "REMOVE"]
    assert [delay(change, "OldImage") for change in changes] == [None, "1", "2"]
    assert [delay(change, "NewImage") for change in changes] == ["1", "2", None]


# ------------------------------------------------------------------------------------------------ how to read


def put(connect: Connect, stream: str, numbers: range) -> None:
    """Put numbers one after the other, so that their order is certain."""
    for n in numbers:
        connect("kinesis").put_record(StreamName=stream, Data=b"%d" % n, PartitionKey="key")


def shards(connect: Connect, stream: str) -> list[Any]:
    """List a stream's shards."""
    listed: list[Any] = connect("kinesis").list_shards(StreamName=stream)["Shards"]
    return listed


def drain(connect: Connect, stream: str, shard: str, *, enough: int | None = None) -> tuple[list[Any], list[Any]]:
    """Read a shard to its end, or until it gave enough; answers the records, and the children at its end."""
    kinesis = connect("kinesis")
    found = kinesis.get_shard_iterator(StreamName=stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
    iterator, records = found["ShardIterator"], []
    for _ in range(CALLS):
        answer = kinesis.get_records(ShardIterator=iterator)
        records += answer["Records"]
        iterator = answer.get("NextShardIterator")
        if iterator is None or (enough is not None and len(records) >= enough):
            return records, answer.get("ChildShards", [])
    if enough is None:
        pytest.fail(f"expected {shard} to end within {CALLS} calls, got {len(records)} records and no end")
    return records, []


def drain_table(connect: Connect, table: str, *, enough: int) -> list[Any]:
    """Read the shards of a table's stream in turn until they gave enough changes."""
    streams = connect("dynamodbstreams")
    arn = connect("dynamodb").describe_table(TableName=table)["Table"]["LatestStreamArn"]
    iterators = [
        streams.get_shard_iterator(StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON")[
            "ShardIterator"
        ]
        for shard in streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
    ]
    changes: list[Any] = []
    for _ in range(CALLS):
        answers = [streams.get_records(ShardIterator=iterator) for iterator in iterators]
        changes += [change for answer in answers for change in answer["Records"]]
        iterators = [each for answer in answers if (each := answer.get("NextShardIterator"))]
        if len(changes) >= enough or not iterators:
            break
    return changes


def delay(change: Any, image: str) -> str | None:
    """Pick the figure out of an image, where there is that image."""
    found = change["dynamodb"].get(image)
    return str(found["delay"]["N"]) if found else None


def claim(table: str, owner: str) -> dict[str, Any]:
    """Write a put that succeeds on a free row, or on the owner's own."""
    return {
        "TableName": table,
        "Item": {"id": {"S": "shard-0"}, "owner": {"S": owner}},
        "ConditionExpression": "attribute_not_exists(id) OR #owner = :owner",
        "ExpressionAttributeNames": {"#owner": "owner"},
        "ExpressionAttributeValues": {":owner": {"S": owner}},
    }


def entries(queue: str, bodies: list[str]) -> list[dict[str, str]]:
    """Write a batch for a queue of either kind."""
    batch = [{"Id": str(at), "MessageBody": body} for at, body in enumerate(bodies)]
    if not queue.endswith(".fifo"):
        return batch
    return [{**entry, "MessageGroupId": "group", "MessageDeduplicationId": entry["Id"]} for entry in batch]


def received(connect: Connect, queue: str, *, enough: int) -> set[str]:
    """Receive until there are enough bodies."""
    bodies: set[str] = set()
    for _ in range(CALLS):
        answer = connect("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=1)
        bodies |= {message["Body"] for message in answer.get("Messages", [])}
        if len(bodies) >= enough:
            break
    return bodies
