"""Create what the LocalStack tier works on: a stream, a table with a stream, a queue and a bucket.

The container runs this once it is ready (compose.yaml), `localstack/host.py` runs it against the endpoints in
its environment. It may run again: what is there already stays as it is. Emulators only: it always signs with
dummy credentials.
"""

import os
import sys
from contextlib import suppress
from typing import Any

import boto3
from botocore.config import Config

SHARDS = 4
CONTAINER_URL = "http://127.0.0.1:4566"
QUICKLY = {"Delay": 1, "MaxAttempts": 30}
PATIENT = Config(connect_timeout=5, read_timeout=60, retries={"total_max_attempts": 3})


def client(service: str) -> Any:
    """Connect to a service where the SDK's own variables say, or else inside the container."""
    variable = "AWS_ENDPOINT_URL_" + service.upper()
    return boto3.client(  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - the same
        service,
        endpoint_url=os.environ.get(variable) or os.environ.get("AWS_ENDPOINT_URL") or CONTAINER_URL,
        region_name=os.environ.get("AWS_REGION", "us-east-1"),
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 - an emulator asks for some text, not for a secret
        config=PATIENT,
    )


def create_stream(name: str) -> None:
    """Create a Kinesis stream of `SHARDS` shards and wait until it serves."""
    kinesis = client("kinesis")
    with suppress(kinesis.exceptions.ResourceInUseException):
        kinesis.create_stream(StreamName=name, ShardCount=SHARDS)
    kinesis.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig=QUICKLY)


def create_table(name: str) -> None:
    """Create a DynamoDB table, keyed by the text `id`, whose stream carries old and new images."""
    dynamodb = client("dynamodb")
    with suppress(dynamodb.exceptions.ResourceInUseException):
        dynamodb.create_table(
            TableName=name,
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )
    dynamodb.get_waiter("table_exists").wait(TableName=name, WaiterConfig=QUICKLY)


create_stream("flights")
create_table("flights")
client("sqs").create_queue(QueueName="flights-dlq")
client("s3").create_bucket(Bucket="flights-spill")
sys.stdout.write("created: stream flights, table flights, queue flights-dlq, bucket flights-spill\n")
