"""Kinesis over the wire, as boto3 and aioboto3 see it."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import aioboto3
import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError

from streamkit.clock import SystemClock
from streamkit.testing.endpoint import Endpoint
from streamkit.testing.kinesis import AS_AWS, Fault, Faults

HALF = str(1 << 127)
Client = Any  # boto3 has no types
NO_RETRIES = Config(retries={"total_max_attempts": 1})


def read_all(kinesis: Client, stream: str, shard: str, **start: object) -> tuple[list[Any], dict[str, Any]]:
    """Read a shard up to its end or its tip; return the records and the last answer."""
    kind = {"ShardIteratorType": "TRIM_HORIZON", **start}
    at = kinesis.get_shard_iterator(StreamName=stream, ShardId=shard, **kind)["ShardIterator"]
    records, answer = [], {"MillisBehindLatest": 1}
    while at and answer["MillisBehindLatest"]:
        answer = kinesis.get_records(ShardIterator=at, Limit=7)
        records += answer["Records"]
        at = answer.get("NextShardIterator")
    return records, answer


def test_a_stream_lives_through_boto3(client: Callable[..., Any]) -> None:
    """Create, wait, put, list, read, split, read to the end, merge, delete."""
    kinesis = client("kinesis")
    kinesis.create_stream(StreamName="life", ShardCount=1, Tags={"a": "b"})
    kinesis.get_waiter("stream_exists").wait(StreamName="life")
    before = SystemClock().now()
    one = kinesis.put_record(StreamName="life", Data=b"\x00\xff", PartitionKey="ключ")
    many = [{"Data": str(n).encode(), "PartitionKey": "k"} for n in range(20)]
    assert kinesis.put_records(StreamName="life", Records=many)["FailedRecordCount"] == 0
    records, answer = read_all(kinesis, "life", one["ShardId"])
    assert [record["Data"] for record in records] == [b"\x00\xff", *(str(n).encode() for n in range(20))]
    assert records[0]["PartitionKey"] == "ключ"
    assert records[0]["SequenceNumber"] == one["SequenceNumber"]
    assert abs((records[0]["ApproximateArrivalTimestamp"] - before).total_seconds()) < 60
    assert answer["NextShardIterator"]
    kinesis.split_shard(StreamName="life", ShardToSplit=one["ShardId"], NewStartingHashKey=HALF)
    _, answer = read_all(kinesis, "life", one["ShardId"])
    assert "NextShardIterator" not in answer
    children = [child["ShardId"] for child in answer["ChildShards"]]
    kinesis.merge_shards(StreamName="life", ShardToMerge=children[0], AdjacentShardToMerge=children[1])
    page = kinesis.list_shards(StreamName="life", MaxResults=3)
    listed = page["Shards"] + kinesis.list_shards(NextToken=page["NextToken"])["Shards"]
    assert [(shard.get("ParentShardId"), shard.get("AdjacentParentShardId")) for shard in listed] == [
        (None, None),
        (one["ShardId"], None),
        (one["ShardId"], None),
        (children[0], children[1]),
    ]
    arn = kinesis.describe_stream(StreamName="life")["StreamDescription"]["StreamARN"]
    assert kinesis.describe_stream_summary(StreamARN=arn)["StreamDescriptionSummary"]["OpenShardCount"] == 1
    assert kinesis.list_tags_for_stream(StreamName="life")["Tags"] == [{"Key": "a", "Value": "b"}]
    kinesis.delete_stream(StreamName="life")
    kinesis.get_waiter("stream_not_exists").wait(StreamName="life")


def test_timestamps_go_over_the_wire(client: Callable[..., Any]) -> None:
    """AT_TIMESTAMP, StreamCreationTimestamp and the filters of ListShards take datetimes."""
    kinesis = client("kinesis")
    kinesis.create_stream(StreamName="time", ShardCount=1)
    put = kinesis.put_record(StreamName="time", Data=b"a", PartitionKey="k")
    created = kinesis.describe_stream(StreamName="time")["StreamDescription"]["StreamCreationTimestamp"]
    assert kinesis.list_shards(StreamName="time", StreamCreationTimestamp=created)["Shards"]
    chosen = {"Type": "FROM_TIMESTAMP", "Timestamp": created}
    assert kinesis.list_shards(StreamName="time", ShardFilter=chosen)["Shards"]
    start = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": datetime(2020, 1, 1, tzinfo=UTC)}
    assert len(read_all(kinesis, "time", put["ShardId"], **start)[0]) == 1


@pytest.mark.parametrize(
    ("operation", "arguments", "code"),
    [
        ("describe_stream", {"StreamName": "none"}, "ResourceNotFoundException"),
        ("create_stream", {"StreamName": "a b"}, "ValidationException"),
        ("create_stream", {"StreamName": "many", "ShardCount": 10_001}, "ValidationException"),
        ("get_records", {"ShardIterator": "AAAA"}, "InvalidArgumentException"),
        ("describe_limits", {}, "UnknownOperationException"),
        (
            "get_shard_iterator",
            {"StreamName": "none", "ShardId": "s", "ShardIteratorType": "SOMETIME"},
            "ValidationException",
        ),
    ],
)
def test_refusals_have_the_names_of_aws(
    client: Callable[..., Any], operation: str, arguments: dict[str, Any], code: str
) -> None:
    """So that code written for AWS catches them."""
    with pytest.raises(ClientError) as refused:
        getattr(client("kinesis"), operation)(**arguments)
    assert refused.value.response["Error"]["Code"] == code


def test_records_are_pushed_to_boto3(client: Callable[..., Any]) -> None:
    """An event stream as its own parser reads it."""
    kinesis = client("kinesis")
    kinesis.create_stream(StreamName="pushed", ShardCount=1)
    arn = kinesis.describe_stream_summary(StreamName="pushed")["StreamDescriptionSummary"]["StreamARN"]
    made = kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="readers")["Consumer"]
    put = kinesis.put_record(StreamName="pushed", Data=b"data", PartitionKey="k")
    start = {"Type": "AT_TIMESTAMP", "Timestamp": SystemClock().now() - timedelta(hours=1)}
    answer = kinesis.subscribe_to_shard(ConsumerARN=made["ConsumerARN"], ShardId=put["ShardId"], StartingPosition=start)
    event = next(iter(answer["EventStream"]))["SubscribeToShardEvent"]
    assert [(each["Data"], each["SequenceNumber"]) for each in event["Records"]] == [(b"data", put["SequenceNumber"])]
    assert event["MillisBehindLatest"] == 0
    answer["EventStream"].close()


def test_regions_are_apart(client: Callable[..., Any]) -> None:
    """Also regions nobody has heard of."""
    client("kinesis", "eu-central-1").create_stream(StreamName="here", ShardCount=1)
    assert client("kinesis", "mars-north-1").list_streams()["StreamNames"] == []
    summary = client("kinesis", "eu-central-1").describe_stream_summary(StreamName="here")
    assert ":eu-central-1:" in summary["StreamDescriptionSummary"]["StreamARN"]


async def test_aioboto3_reads_and_writes_in_the_loop_of_the_endpoint() -> None:
    """One process, one loop, no thread of Kinesis's own."""
    keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any", "region_name": "us-east-1"}
    session: Client = aioboto3.Session(**keys)
    async with (
        Endpoint(moto=False) as endpoint,
        session.client("kinesis", endpoint_url=endpoint.url) as kinesis,
    ):
        await kinesis.create_stream(StreamName="s", ShardCount=4)
        entries = [[{"Data": f"{w}:{n}".encode(), "PartitionKey": f"{w}"} for n in range(100)] for w in range(8)]
        async with asyncio.TaskGroup() as group:
            for entry in entries:
                group.create_task(kinesis.put_records(StreamName="s", Records=entry))
        found = []
        for shard in (await kinesis.list_shards(StreamName="s"))["Shards"]:
            at = await kinesis.get_shard_iterator(
                StreamName="s", ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )
            found += (await kinesis.get_records(ShardIterator=at["ShardIterator"]))["Records"]
        assert len({record["SequenceNumber"] for record in found}) == len(found) == 800
        assert {record["Data"] for record in found} == {each["Data"] for group in entries for each in group}
        assert endpoint.kinesis().describe_stream_summary(stream_name="s").open_shard_count == 4


async def test_limits_and_faults_reach_the_wire() -> None:
    """Throttling is an error of AWS's name; a lost answer is a broken connection, after the effect."""
    faults = Faults(of={"PutRecord": Fault(lost=1.0, latency_seconds=(0.01, 0.02))})
    async with Endpoint(moto=False, limits=AS_AWS, faults=faults) as endpoint:
        endpoint.kinesis().create_stream(stream_name="s")

        def provoke() -> tuple[str, int]:
            session = boto3.Session(aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1")
            kinesis = session.client("kinesis", endpoint_url=endpoint.url, config=NO_RETRIES)
            with pytest.raises(HTTPClientError):
                kinesis.put_record(StreamName="s", Data=b"a", PartitionKey="k")
            at = kinesis.get_shard_iterator(
                StreamName="s", ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON"
            )["ShardIterator"]
            found = 0
            try:
                for _ in range(200):
                    found = len(kinesis.get_records(ShardIterator=at)["Records"])
            except ClientError as refused:
                return refused.response["Error"]["Code"], found
            finally:
                kinesis.close()
            return "", found

        assert await asyncio.to_thread(provoke) == ("ProvisionedThroughputExceededException", 1)
