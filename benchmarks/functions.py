"""Batches of a Kinesis event source mapping, in Lambda: Powertools' BatchProcessor beside streamkit.

    python -m benchmarks.functions powertools | lambda

Both read each record's data and remember nothing between batches but what they are for: streamkit which records it has
handled, in DynamoDB; Powertools nothing (its idempotency would be two requests a record).
"""

import base64
import importlib
import os
import sys
import uuid
from collections.abc import Callable
from typing import Any

from benchmarks.load import FIRST, STREAM
from benchmarks.meter import EXPECTED, Meter
from streamkit import Kinesis, Record, consumer

BATCH = 1_000
Function = Callable[[dict[str, Any]], object]


class Context:
    """Plenty of time."""

    def get_remaining_time_in_millis(self) -> int:
        """Return what is left."""
        return 60_000


def event(batch: int) -> dict[str, Any]:
    """Return the n-th batch of 1 KB records, as Lambda hands it over."""
    data = base64.b64encode(b"x" * 1_000).decode()
    arn = f"arn:aws:kinesis:us-east-1:123456789012:stream/{STREAM}"
    numbers = [str(FIRST + 16 * (batch * BATCH + n)) for n in range(BATCH)]
    return {
        "Records": [
            {
                "kinesis": {
                    "kinesisSchemaVersion": "1.0",
                    "partitionKey": f"key-{n}",
                    "sequenceNumber": number,
                    "data": data,
                    "approximateArrivalTimestamp": 1_700_000_000.0,
                },
                "eventSource": "aws:kinesis",
                "eventVersion": "1.0",
                "eventID": f"shardId-000000000000:{number}",
                "eventName": "aws:kinesis:record",
                "invokeIdentityArn": "arn:aws:iam::123456789012:role/bench",
                "awsRegion": "us-east-1",
                "eventSourceARN": arn,
            }
            for n, number in enumerate(numbers)
        ]
    }


def powertools(meter: Meter) -> Function:
    """Return a function with Powertools' BatchProcessor."""
    batch: Any = importlib.import_module("aws_lambda_powertools.utilities.batch")
    processor = batch.BatchProcessor(event_type=batch.EventType.KinesisDataStreams)

    def handle(record: Any) -> None:
        meter.seen += bool(record.kinesis.data_as_bytes())

    return lambda event: batch.process_partial_response(
        event=event, record_handler=handle, processor=processor, context=Context()
    )


def streamkit(meter: Meter) -> Function:
    """Return a consumer's function, which drops what it has handled before."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    dynamodb: Any = importlib.import_module("boto3").client("dynamodb")
    dynamodb.create_table(
        TableName=f"streamkit-{name}",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("pk", "sk")],
        BillingMode="PAY_PER_REQUEST",
    )
    os.environ["STREAMKIT_PARTIAL_RESPONSES"] = "true"

    @consumer(name, source=Kinesis(STREAM), parallelization_factor=1)
    async def handle(record: Record) -> None:
        meter.seen += bool(record.data)

    return lambda event: handle.lambda_handler(event, Context())


def main(kind: str) -> None:
    """Handle one batch to warm up, then so many as are expected, and tell what they took."""
    meter = Meter()
    function = (powertools if kind == "powertools" else streamkit)(meter)
    first, *events = [event(n) for n in range(EXPECTED // BATCH + 1)]
    function(first)
    meter.seen = 0
    meter.begin()
    for each in events:
        function(each)
    meter.end()
    meter.tell()


if __name__ == "__main__":
    main(sys.argv[1])
