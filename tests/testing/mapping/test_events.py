"""Events and on-failure documents of both services, to the letter."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from streamkit.core.lineage import Shard, Stream
from streamkit.core.positions import Place, Position
from streamkit.core.records import Origin, Record
from streamkit.ports import Read
from streamkit.testing import World
from streamkit.testing.mapping import (
    ChangeFeed,
    Context,
    EventSourceMapping,
    KinesisFeed,
    LambdaFunction,
    Terms,
    document_with_payload,
    run_mapped,
)

TABLE_STREAM = "arn:aws:dynamodb:us-east-1:123456789012:table/orders/stream/2013-01-01T00:00:00.000"
SHARD = "shardId-00000001356998400000-0123abcd"
CHANGE: dict[str, Any] = {
    "eventID": "c81e728d9d4c2f636f067f89cc14862c",
    "eventName": "INSERT",
    "eventVersion": "1.1",
    "eventSource": "aws:dynamodb",
    "awsRegion": "us-east-1",
    "dynamodb": {
        "ApproximateCreationDateTime": 1356998400.0,
        "Keys": {"id": {"S": "a"}},
        "NewImage": {"id": {"S": "a"}, "blob": {"B": base64.b64encode(b"\x00\xff").decode()}},
        "SequenceNumber": "100000000000000000000000001",
        "SizeBytes": 14,
        "StreamViewType": "NEW_IMAGE",
    },
}


class OneChange:
    """A source with one change of one item."""

    async def identify(self) -> Stream:
        """Return the stream of a table."""
        return Stream("orders", TABLE_STREAM, "label", timedelta(hours=24))

    async def shards(self) -> Sequence[Shard]:
        """Return one."""
        return [Shard(SHARD)]

    def reader(self, shard: Shard, place: Place) -> OneChange:
        """Return itself."""
        self.place = place
        return self

    async def read(self) -> Read:
        """Return the change, once, at the end of its shard."""
        origin = Origin("orders", SHARD)
        number = CHANGE["dynamodb"]["SequenceNumber"]
        record = Record(json.dumps(CHANGE).encode(), "a", number, origin, 1356998400.0)
        records = [] if isinstance(self.place, Position) else [record]
        self.place = Position(number)
        return Read(records=records, behind=None, ended=True)

    def close(self) -> None:
        """Have nothing to let go of."""


def test_a_kinesis_event_is_lambdas_to_the_letter() -> None:
    """The shard id stands in the event id only; the data is base64."""
    events: list[dict[str, Any]] = []

    async def main() -> Record:
        world = World()
        put = world.stream.put("k", b"\x00\xff")
        function = LambdaFunction.of(lambda event, _context: events.append(event))
        async with EventSourceMapping(KinesisFeed(world.stream), function) as mapping:
            await mapping.settled()
        return put

    record = run_mapped(main)
    assert events == [
        {
            "Records": [
                {
                    "kinesis": {
                        "kinesisSchemaVersion": "1.0",
                        "partitionKey": "k",
                        "sequenceNumber": record.sequence_number,
                        "data": "AP8=",
                        "approximateArrivalTimestamp": 1356998400.0,
                    },
                    "eventSource": "aws:kinesis",
                    "eventVersion": "1.0",
                    "eventID": f"shardId-000000000000:{record.sequence_number}",
                    "eventName": "aws:kinesis:record",
                    "invokeIdentityArn": "arn:aws:iam::123456789012:role/lambda",
                    "awsRegion": "us-east-1",
                    "eventSourceARN": "arn:aws:kinesis:us-east-1:123456789012:stream/stream",
                }
            ]
        }
    ]


def test_a_dynamodb_event_names_no_shard_and_its_document_does() -> None:
    """The change as it stands in the stream, and the stream's ARN; the document knows whole seconds only."""
    events: list[dict[str, Any]] = []

    def handler(event: dict[str, Any], _context: Context) -> None:
        events.append(event)
        raise RuntimeError("no")

    async def main() -> EventSourceMapping:
        terms = Terms(maximum_retry_attempts=0)
        async with EventSourceMapping(ChangeFeed(OneChange()), LambdaFunction.of(handler), terms) as mapping:
            await mapping.settled()
        return mapping

    mapping = run_mapped(main)
    assert events == [{"Records": [CHANGE | {"eventSourceARN": TABLE_STREAM}]}]
    (document,) = mapping.discards
    assert document["DDBStreamBatchInfo"] == {
        "shardId": SHARD,
        "startSequenceNumber": "100000000000000000000000001",
        "endSequenceNumber": "100000000000000000000000001",
        "approximateArrivalOfFirstRecord": "2013-01-01T00:00:00Z",
        "approximateArrivalOfLastRecord": "2013-01-01T00:00:00Z",
        "batchSize": 1,
        "streamArn": TABLE_STREAM,
    }
    with_payload = document_with_payload(
        document, mapping.given_up[0], ChangeFeed(OneChange()), stream_arn=TABLE_STREAM
    )
    assert with_payload["payload"] == {"Records": [CHANGE | {"eventSourceARN": TABLE_STREAM}]}
