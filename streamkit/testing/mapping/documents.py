"""What a mapping writes to its on-failure destination, to the letter.

https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html; the shapes are AWS's as recorded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamkit.testing.mapping.feeds import iso

if TYPE_CHECKING:
    from streamkit.testing.mapping.course import Discard
    from streamkit.testing.mapping.feeds import Entry, Feed


def document(discard: Discard, feed: Feed, *, stream_arn: str, function_arn: str, request_id: str, at: float) -> Entry:
    """Return the body of the SQS or SNS message. It carries no payload and no word of the exception."""
    context = {
        "requestContext": {
            "requestId": request_id,
            "functionArn": function_arn,
            "condition": discard.condition,
            "approximateInvokeCount": discard.invocations,
        }
    }
    return context | _response(discard) | {"version": "1.0", "timestamp": iso(at), **_batch(discard, feed, stream_arn)}


def document_with_payload(plain: Entry, discard: Discard, feed: Feed, *, stream_arn: str) -> Entry:
    """Return what goes to an S3 destination instead: the same, and the records."""
    return plain | {"payload": {"Records": [feed.entry(record, stream_arn) for record in discard.records]}}


def _response(discard: Discard) -> dict[str, Any]:
    if discard.condition == "RecordAgeExceeded":
        return {}
    return {"responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": discard.error}}


def _batch(discard: Discard, feed: Feed, stream_arn: str) -> dict[str, Any]:
    first, last = discard.records[0], discard.records[-1]
    return {
        feed.batch_info: {
            "shardId": first.shard,
            "startSequenceNumber": first.sequence_number,
            "endSequenceNumber": last.sequence_number,
            "approximateArrivalOfFirstRecord": feed.moment(first.arrived),
            "approximateArrivalOfLastRecord": feed.moment(last.arrived),
            "batchSize": len(discard.records),
            "streamArn": stream_arn,
        }
    }
