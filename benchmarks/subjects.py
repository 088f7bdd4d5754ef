"""What is measured by `benchmarks.read_loop`: a consumer that only counts, and a bare loop that only iterates."""

import os
import sys
from typing import Any, cast

from streamkit import Kinesis, Record, consumer


@consumer("counter", source=Kinesis(os.environ.get("BENCH_STREAM", "bench")))
async def counter(record: Record) -> None:
    """Handle a record, with every guarantee on."""


def bare_loop(stream: str) -> None:
    """Read a one-shard stream to its tip with boto3, doing nothing with the records; print how many there were."""
    import boto3

    kinesis = cast("Any", boto3).client("kinesis")
    shard = kinesis.list_shards(StreamName=stream)["Shards"][0]["ShardId"]
    iterator = kinesis.get_shard_iterator(StreamName=stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
    token, count = iterator["ShardIterator"], 0
    while True:
        answer = kinesis.get_records(ShardIterator=token, Limit=10_000)
        for _ in answer["Records"]:
            count += 1
        if answer["MillisBehindLatest"] == 0:
            break
        token = answer["NextShardIterator"]
    sys.stdout.write(f"{count}\n")


if __name__ == "__main__":
    bare_loop(sys.argv[1])
