"""DynamoDB, its streams, SQS and S3 behind the same address."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

TABLE = {
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
    "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
    "BillingMode": "PAY_PER_REQUEST",
}


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        ("put_item", {"Item": {"pk": {"S": "a"}}}),
        ("delete_item", {"Key": {"pk": {"S": "a"}}}),
        ("update_item", {"Key": {"pk": {"S": "a"}}, "UpdateExpression": "SET x = n"}),
    ],
)
def test_a_refused_write_returns_the_item_if_asked(
    client: Callable[..., Any], operation: str, arguments: dict[str, Any]
) -> None:
    """ReturnValuesOnConditionCheckFailure=ALL_OLD, which conditional checkpoints rest on."""
    dynamodb = client("dynamodb")
    table = f"old-{operation}"
    dynamodb.create_table(TableName=table, **TABLE)
    item = {"pk": {"S": "a"}, "n": {"N": "1"}, "b": {"B": b"\x00"}}
    dynamodb.put_item(TableName=table, Item=item)
    condition = {
        "ConditionExpression": "n = :other",
        "ExpressionAttributeValues": {":other": {"N": "2"}},
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    with pytest.raises(ClientError) as refused:
        getattr(dynamodb, operation)(TableName=table, **arguments, **condition)
    assert refused.value.response["Error"]["Code"] == "ConditionalCheckFailedException"
    assert refused.value.response["Item"] == item


def test_a_table_has_a_stream(client: Callable[..., Any]) -> None:
    """Its changes come through DynamoDB Streams."""
    dynamodb, streams = client("dynamodb"), client("dynamodbstreams")
    specification = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    dynamodb.create_table(TableName="streamed", StreamSpecification=specification, **TABLE)
    dynamodb.put_item(TableName="streamed", Item={"pk": {"S": "a"}})
    dynamodb.delete_item(TableName="streamed", Key={"pk": {"S": "a"}})
    (stream,) = streams.list_streams(TableName="streamed")["Streams"]
    shards = streams.describe_stream(StreamArn=stream["StreamArn"])["StreamDescription"]["Shards"]
    found: list[Any] = []
    for shard in shards:
        at = streams.get_shard_iterator(
            StreamArn=stream["StreamArn"], ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        found += streams.get_records(ShardIterator=at)["Records"]
    assert [record["eventName"] for record in found] == ["INSERT", "REMOVE"]


def test_many_long_polls_hold_up_nobody_and_see_what_arrives(client: Callable[..., Any]) -> None:
    """They wait for a message, and others are answered meanwhile."""
    sqs = client("sqs")
    empty, full = (sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("empty", "full"))
    with ThreadPoolExecutor(8) as pool:
        polls = [pool.submit(sqs.receive_message, QueueUrl=empty, WaitTimeSeconds=20) for _ in range(8)]
        sqs.send_message(QueueUrl=full, MessageBody="grüße")
        (message,) = sqs.receive_message(QueueUrl=full)["Messages"]
        assert message["Body"] == "grüße"
        assert not any(poll.done() for poll in polls)
        for _ in polls:
            sqs.send_message(QueueUrl=empty, MessageBody="wake up")
        assert {poll.result()["Messages"][0]["Body"] for poll in polls} == {"wake up"}


def test_objects_keep_their_names_and_lengths(client: Callable[..., Any]) -> None:
    """Paths are passed on as they came, and HEAD tells the length."""
    s3 = client("s3")
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="ä/x y+z", Body=b"123", ContentType="text/plain")
    head = s3.head_object(Bucket="bucket", Key="ä/x y+z")
    assert (head["ContentLength"], head["ContentType"]) == (3, "text/plain")
    assert s3.get_object(Bucket="bucket", Key="ä/x y+z")["Body"].read() == b"123"
    assert [found["Key"] for found in s3.list_objects_v2(Bucket="bucket")["Contents"]] == ["ä/x y+z"]
