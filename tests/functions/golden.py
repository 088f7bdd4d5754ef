"""Events as AWS documents them: one of every shape that a mapping on a stream sends.

https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html, .../with-ddb.html, .../services-kinesis-windows.html,
.../services-ddb-windows.html, `sam local generate-event kinesis get-records | dynamodb update` (the console's samples),
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/time-to-live-ttl-streams.html,
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/kds_using-shards-and-metrics.html,
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/SubscriptionFilters.html
"""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import dataclass
from typing import Any

from streamkit import DynamoDBStream, Kinesis
from streamkit.testing import aggregate

STREAM = "arn:aws:kinesis:us-east-2:123456789012:stream/lambda-stream"
TABLE = "arn:aws:dynamodb:us-west-2:account-id:table/ExampleTableWithStream/stream/2015-06-27T00:48:05.899"
NUMBER = 49590338271490256608559692538361571095921575989136588898
WINDOW: dict[str, Any] = {
    "window": {"start": "2020-07-30T17:00:00Z", "end": "2020-07-30T17:05:00Z"},
    "state": {"1": "state1"},
    "shardId": "shard123456789",
    "eventSourceARN": STREAM,
    "isFinalInvokeForWindow": False,
    "isWindowTerminatedEarly": False,
}


@dataclass(frozen=True, slots=True)
class Golden:
    """A documented event, who consumes it, and what its handler is to see."""

    source: Kinesis | DynamoDBStream
    event: dict[str, Any]
    seen: list[object]
    """Of records their bodies, as text or JSON; of changes the event, the old item and the new one."""


def record(data: bytes, index: int = 0, **fields: Any) -> dict[str, Any]:
    """Return an entry as the page on Kinesis shows it."""
    number = str(NUMBER + index)
    return {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": "1",
            "sequenceNumber": number,
            "data": base64.b64encode(data).decode(),
            "approximateArrivalTimestamp": 1545084650.987 + index,
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"shardId-000000000006:{number}",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": "arn:aws:iam::123456789012:role/lambda-role",
        "awsRegion": "us-east-2",
        "eventSourceARN": STREAM,
        **fields,
    }


def change(event: str, number: int, body: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return an entry as the page on DynamoDB shows it: it names no moment."""
    return {
        "eventID": str(number // 111),
        "eventVersion": "1.0",
        "dynamodb": {
            "Keys": {"Id": {"N": "101"}},
            "StreamViewType": "NEW_AND_OLD_IMAGES",
            "SequenceNumber": str(number),
            "SizeBytes": 26,
            **body,
        },
        "awsRegion": "us-west-2",
        "eventName": event,
        "eventSourceARN": TABLE,
        "eventSource": "aws:dynamodb",
        **fields,
    }


def events(*entries: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return an event of these entries."""
    return {"Records": list(entries), **fields}


HELLO, AGAIN = b"Hello, this is a test.", b"This is only a test."
ITEM = {"Message": {"S": "New item!"}, "Id": {"N": "101"}}
CHANGED = {"Message": {"S": "This item has changed"}, "Id": {"N": "101"}}
PLAIN_ITEM, PLAIN_CHANGED = {"Message": "New item!", "Id": 101}, {"Message": "This item has changed", "Id": 101}
TYPES = {
    "Id": {"N": "101"},
    "S": {"S": "text"},
    "N": {"N": "1.5"},
    "B": {"B": "AAEqQQ=="},
    "SS": {"SS": ["a", "b"]},
    "NS": {"NS": ["1", "2"]},
    "BS": {"BS": ["AQ==", "Ag=="]},
    "L": {"L": [{"S": "x"}, {"N": "3"}]},
    "M": {"M": {"a": {"BOOL": False}}},
    "NULL": {"NULL": True},
    "BOOL": {"BOOL": True},
}
REAPER = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
LOGS = {
    "messageType": "DATA_MESSAGE",
    "owner": "111111111111",
    "logGroup": "CloudTrail/logs",
    "logStream": "111111111111_CloudTrail/logs_us-east-1",
    "subscriptionFilters": ["Destination"],
    "logEvents": [
        {"id": "3195310660696698337880902507980421114328961542429", "timestamp": 1432826855000, "message": "{}"}
    ],
}
IN_KINESIS = {
    "awsRegion": "us-east-1",
    "eventID": "68fd03a2-6b3a-4b3c-9b0e-9d1c4f3b2a11",
    "eventName": "MODIFY",
    "userIdentity": None,
    "recordFormat": "application/json",
    "tableName": "Example",
    "dynamodb": {
        "ApproximateCreationDateTime": 1693997155123,
        "ApproximateCreationDateTimePrecision": "MILLISECOND",
        "Keys": {"Id": {"N": "101"}},
        "NewImage": CHANGED,
        "OldImage": ITEM,
        "SizeBytes": 59,
    },
    "eventSource": "aws:dynamodb",
}
RECORDS, CHANGES = Kinesis("lambda-stream"), DynamoDBStream("ExampleTableWithStream")

GOLDEN: dict[str, Golden] = {
    "kinesis": Golden(RECORDS, events(record(HELLO), record(AGAIN, 1)), [HELLO.decode(), AGAIN.decode()]),
    "kinesis, the console's sample": Golden(
        RECORDS,
        events(record(HELLO, eventSourceARN="arn:aws:kinesis:EXAMPLE", invokeIdentityArn="arn:aws:iam::EXAMPLE")),
        [HELLO.decode()],
    ),
    "kinesis, enhanced fan-out": Golden(
        RECORDS, events(record(HELLO, eventSourceARN=f"{STREAM}/consumer/readers:1545084711")), [HELLO.decode()]
    ),
    "kinesis, of the KPL": Golden(RECORDS, events(record(aggregate([("a", 1), ("b", 2)]))), ["1", "2"]),
    "kinesis, logs of CloudWatch": Golden(
        Kinesis("logs", compression="gzip"),
        events(record(gzip.compress(json.dumps(LOGS).encode()))),
        [json.dumps(LOGS)],
    ),
    "kinesis, changes of a table": Golden(
        Kinesis("changes", changes=True),
        events(record(json.dumps(IN_KINESIS).encode())),
        [("MODIFY", PLAIN_ITEM, PLAIN_CHANGED)],
    ),
    "dynamodb": Golden(
        CHANGES,
        events(
            change("INSERT", 111, {"NewImage": ITEM}),
            change("MODIFY", 222, {"NewImage": CHANGED, "OldImage": ITEM}),
            change("REMOVE", 333, {"OldImage": CHANGED}),
        ),
        [("INSERT", None, PLAIN_ITEM), ("MODIFY", PLAIN_ITEM, PLAIN_CHANGED), ("REMOVE", PLAIN_CHANGED, None)],
    ),
    "dynamodb, with a moment": Golden(
        CHANGES,
        events(
            change("INSERT", 111, {"NewImage": ITEM, "ApproximateCreationDateTime": 1479499740}, eventVersion="1.1")
        ),
        [("INSERT", None, PLAIN_ITEM)],
    ),
    "dynamodb, expired": Golden(
        CHANGES,
        events(change("REMOVE", 111, {"OldImage": ITEM}, userIdentity=REAPER)),
        [("REMOVE", PLAIN_ITEM, None)],
    ),
    "dynamodb, keys only": Golden(
        CHANGES, events(change("MODIFY", 111, {"StreamViewType": "KEYS_ONLY"})), [("MODIFY", None, None)]
    ),
    "dynamodb, new images": Golden(
        CHANGES,
        events(change("MODIFY", 111, {"StreamViewType": "NEW_IMAGE", "NewImage": CHANGED})),
        [("MODIFY", None, PLAIN_CHANGED)],
    ),
    "dynamodb, old images": Golden(
        CHANGES,
        events(change("MODIFY", 111, {"StreamViewType": "OLD_IMAGE", "OldImage": ITEM})),
        [("MODIFY", PLAIN_ITEM, None)],
    ),
    "dynamodb, every type": Golden(
        CHANGES,
        events(change("INSERT", 111, {"NewImage": TYPES})),
        [
            (
                "INSERT",
                None,
                {
                    "Id": 101,
                    "S": "text",
                    "N": 1.5,
                    "B": b"\x00\x01*A",
                    "SS": {"a", "b"},
                    "NS": {1, 2},
                    "BS": {b"\x01", b"\x02"},
                    "L": ["x", 3],
                    "M": {"a": False},
                    "NULL": None,
                    "BOOL": True,
                },
            )
        ],
    ),
    "no records": Golden(RECORDS, events(), []),
}
WINDOWED: dict[str, tuple[Kinesis | DynamoDBStream, dict[str, Any]]] = {
    "kinesis": (RECORDS, events(record(HELLO), **WINDOW)),
    "kinesis, at the end of a window": (RECORDS, events(**{**WINDOW, "isFinalInvokeForWindow": True})),
    "dynamodb": (CHANGES, events(change("INSERT", 111, {"NewImage": ITEM}), **WINDOW)),
}
"""Refused: their answer would have to carry a state."""
