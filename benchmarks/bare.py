"""Loops that read to the end and only iterate: no order, no checkpoint, nothing done twice or lost on purpose.

    python -m benchmarks.bare boto3 | aioboto3 | raw | boto3-polls | boto3-changes | async-kinesis | aws_kinesis_agg

The last two run in an environment of their own. `boto3-polls` asks quiet shards in turn.
"""

import asyncio
import http.client
import importlib
import json
import logging
import os
import sys
from typing import Any
from urllib.parse import urlsplit

from benchmarks.load import AGGREGATED, STREAM, aggregate
from benchmarks.meter import EXPECTED, Meter

PAGE = 10_000


def boto3_loop(meter: Meter) -> None:
    """Read shard after shard with boto3."""
    kinesis: Any = importlib.import_module("boto3").client("kinesis")
    for shard in kinesis.list_shards(StreamName=STREAM)["Shards"]:
        place = {"ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
        token = kinesis.get_shard_iterator(StreamName=STREAM, **place)["ShardIterator"]
        while True:
            answer = kinesis.get_records(ShardIterator=token, Limit=PAGE)
            meter.begin()
            for _ in answer["Records"]:
                meter.seen += 1
            token = answer["NextShardIterator"]
            if not answer["MillisBehindLatest"]:
                break


async def aioboto3_loop(meter: Meter) -> None:
    """Read shard after shard with aioboto3."""
    aioboto3: Any = importlib.import_module("aioboto3")
    async with aioboto3.Session().client("kinesis") as kinesis:
        for shard in (await kinesis.list_shards(StreamName=STREAM))["Shards"]:
            place = {"ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
            token = (await kinesis.get_shard_iterator(StreamName=STREAM, **place))["ShardIterator"]
            while True:
                answer = await kinesis.get_records(ShardIterator=token, Limit=PAGE)
                meter.begin()
                for _ in answer["Records"]:
                    meter.seen += 1
                token = answer["NextShardIterator"]
                if not answer["MillisBehindLatest"]:
                    break


def raw_loop(meter: Meter) -> None:
    """Fetch the answers of the first shard and decode nothing: what the load server can do."""
    server = urlsplit(os.environ["AWS_ENDPOINT_URL_KINESIS"])
    connection = http.client.HTTPConnection(server.hostname or "", server.port)
    place = 0
    while meter.seen < EXPECTED:
        body = json.dumps({"ShardIterator": f"shardId-{0:020d}/{place}"})
        connection.request("POST", "/", body, {"X-Amz-Target": "Kinesis_20131202.GetRecords"})
        answer = connection.getresponse().read()
        meter.begin()
        meter.seen += answer.count(b'"SequenceNumber"')
        place += 1


async def async_kinesis_loop(meter: Meter) -> None:
    """Iterate over the consumer of async-kinesis, with its checkpoints in memory."""
    kinesis: Any = importlib.import_module("kinesis")
    logging.disable(logging.CRITICAL)
    settings: dict[str, Any] = {
        "endpoint_url": os.environ["AWS_ENDPOINT_URL_KINESIS"],
        "region_name": os.environ["AWS_DEFAULT_REGION"],
        "checkpointer": kinesis.MemoryCheckPointer(),
        "processor": kinesis.StringProcessor(),
        "shard_fetch_rate": 1_000,
        "record_limit": PAGE,
        "max_queue_size": 10 * PAGE,
    }
    async with kinesis.Consumer(STREAM, **settings) as records:
        async for _ in records:
            meter.begin()
            meter.seen += 1
            if meter.seen == EXPECTED:
                meter.end()
                break


def boto3_polls(meter: Meter) -> None:
    """Ask every shard of a quiet stream in turn."""
    kinesis: Any = importlib.import_module("boto3").client("kinesis")
    shards = [shard["ShardId"] for shard in kinesis.list_shards(StreamName=STREAM)["Shards"]]
    tokens = {
        shard: kinesis.get_shard_iterator(StreamName=STREAM, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
        for shard in shards
    }
    iterators = {shard: answer["ShardIterator"] for shard, answer in tokens.items()}
    meter.begin()
    for _ in range(EXPECTED // len(shards)):
        for shard in shards:
            iterators[shard] = kinesis.get_records(ShardIterator=iterators[shard], Limit=PAGE)["NextShardIterator"]
            meter.seen += 1


def boto3_changes(meter: Meter) -> None:
    """Read the changes of a table, and both images of each as Python values."""
    streams: Any = importlib.import_module("boto3").client("dynamodbstreams")
    types: Any = importlib.import_module("boto3.dynamodb.types")
    deserialize = types.TypeDeserializer().deserialize
    arn = streams.list_streams(TableName=STREAM)["Streams"][0]["StreamArn"]
    (shard,) = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
    place = {"ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
    token = streams.get_shard_iterator(StreamArn=arn, **place)["ShardIterator"]
    while meter.seen < EXPECTED:
        answer = streams.get_records(ShardIterator=token)
        meter.begin()
        for record in answer["Records"]:
            for image in ("OldImage", "NewImage"):
                _ = {name: deserialize(value) for name, value in record["dynamodb"][image].items()}
            meter.seen += 1
        token = answer["NextShardIterator"]


def deaggregate(meter: Meter) -> None:
    """Take aggregates apart with aws_kinesis_agg."""
    deaggregator: Any = importlib.import_module("aws_kinesis_agg.deaggregator")
    data = aggregate()
    records = [
        {"Data": data, "PartitionKey": "a", "SequenceNumber": str(n), "ApproximateArrivalTimestamp": 0.0}
        for n in range(EXPECTED // AGGREGATED)
    ]
    meter.begin()
    for _ in deaggregator.iter_deaggregate_records(records, "Boto3"):
        meter.seen += 1


def main(name: str) -> None:
    """Run one loop and tell what it took."""
    meter = Meter()
    match name:
        case "boto3":
            boto3_loop(meter)
        case "aioboto3":
            asyncio.run(aioboto3_loop(meter))
        case "boto3-polls":
            boto3_polls(meter)
        case "boto3-changes":
            boto3_changes(meter)
        case "aws_kinesis_agg":
            deaggregate(meter)
        case "async-kinesis":
            asyncio.run(async_kinesis_loop(meter))
        case _:
            raw_loop(meter)
    meter.tell()


if __name__ == "__main__":
    main(sys.argv[1])
