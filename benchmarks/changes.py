"""CPU a change: ours, lazily and with one image read, beside boto3's parser and deserialiser. No network.

python -m benchmarks.changes
"""

from __future__ import annotations

import json
import sys
import timeit
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

from streamkit.aws.decode import decode_changes
from streamkit.core.changes import Change, change
from streamkit.core.records import Origin
from streamkit.testing.dynamodb_streams.values import item

CHANGES = 1_000
ROUNDS = 10
ORIGIN = Origin("flights", "shardId-1")


def image(number: int) -> dict[str, Any]:
    """An item of ten scalars, a list, a map and its key."""
    scalars = {f"a{at}": f"some text value {at}" if at % 2 else number * 1_000 + at for at in range(10)}
    return item({"id": f"item-{number}", **scalars, "list": ["x", 1], "map": {"text": "z", "yes": True}})


def encode_changes(numbers: Iterable[int]) -> bytes:
    """Return changes as the JSON they come in."""
    records = [
        {
            "eventID": f"{number:032x}",
            "eventName": "MODIFY",
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": "us-east-1",
            "dynamodb": {
                "ApproximateCreationDateTime": 1_700_000_000,
                "Keys": item({"id": f"item-{number}"}),
                "NewImage": image(number),
                "OldImage": image(number - 1),
                "SequenceNumber": str(10**20 + number),
                "SizeBytes": 400,
                "StreamViewType": "NEW_AND_OLD_IMAGES",
            },
        }
        for number in numbers
    ]
    return json.dumps(records, separators=(",", ":")).encode()


def body() -> bytes:
    """An answer of GetRecords."""
    return b'{"Records":' + encode_changes(range(CHANGES)) + b',"NextShardIterator":"next"}'


def ours(answer: bytes) -> list[Change]:
    """Decode as the adapter does."""
    taken: dict[str, Any] = {}
    decode_changes({"status_code": 200, "body": answer}, taken)
    return [it for each in taken["Records"] if isinstance(it := change(each, ORIGIN), Change)]


def theirs(answer: bytes) -> list[dict[str, Any]]:
    """Parse as botocore does."""
    sdk: Any = import_module("botocore.session")
    model = sdk.get_session().get_service_model("dynamodbstreams")
    shape = model.operation_model("GetRecords").output_shape
    parsers: Any = import_module("botocore.parsers")
    parsed = parsers.create_parser("json").parse({"status_code": 200, "headers": {}, "body": answer}, shape)
    found: list[dict[str, Any]] = parsed["Records"]
    return found


def microseconds(run: Callable[[], object]) -> float:
    """Return the least of several rounds, a change."""
    return min(timeit.repeat(run, number=1, repeat=ROUNDS)) / CHANGES * 1e6


def main() -> None:
    """Measure and tell."""
    types: Any = import_module("boto3.dynamodb.types")
    answer, deserialize = body(), types.TypeDeserializer().deserialize
    parsed = theirs(answer)
    figures = {
        "ours, images not asked for": microseconds(lambda: ours(answer)),
        "ours, one image": microseconds(lambda: [each.new for each in ours(answer)]),
        "botocore's parser": microseconds(lambda: theirs(answer)),
        "boto3's TypeDeserializer, one image": microseconds(
            lambda: [{k: deserialize(v) for k, v in each["dynamodb"]["NewImage"].items()} for each in parsed]
        ),
    }
    for what, figure in figures.items():
        sys.stdout.write(f"{figure:7.1f} us a change of {len(answer) // CHANGES} bytes: {what}\n")


if __name__ == "__main__":
    main()
