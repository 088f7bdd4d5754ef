"""What a mapping polls, and how its records look in an event and in an on-failure document.

A feed is a `Source` (`streamkit.ports`) with the shapes of its service around it, so that any stream can be mapped that
streamkit can read.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from streamkit.testing.memory import MemorySource

if TYPE_CHECKING:
    from streamkit.core.lineage import Stream
    from streamkit.core.records import Record
    from streamkit.ports import Source
    from streamkit.testing.memory import MemoryStream

Entry = dict[str, Any]
"""One record of an event, as JSON holds it."""

_ROLE = "arn:aws:iam::123456789012:role/lambda"


class Feed(Protocol):
    """One stream of one service."""

    @property
    def source(self) -> Source:
        """Where the records come from."""
        ...

    @property
    def batch_info(self) -> Literal["KinesisBatchInfo", "DDBStreamBatchInfo"]:
        """What the on-failure document calls its description of the batch."""
        ...

    def arn(self, stream: Stream) -> str:
        """Return the ARN that events and documents give for the stream."""
        ...

    def entry(self, record: Record, arn: str) -> Entry:
        """Return the record as it stands in an event."""
        ...

    def moment(self, epoch: float) -> str:
        """Return a time of arrival as the on-failure document writes it."""
        ...


class KinesisFeed:
    """A Kinesis stream. Lambda reads each shard once a second at most."""

    batch_info: Literal["KinesisBatchInfo"] = "KinesisBatchInfo"

    def __init__(self, stream: MemoryStream) -> None:
        self.source = MemorySource(stream, idle=timedelta(seconds=1))

    def arn(self, stream: Stream) -> str:
        """Return the stream's own."""
        return stream.arn

    def entry(self, record: Record, arn: str) -> Entry:
        """Return the record with its shard id, which stands in `eventID` only."""
        return {
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": record.key,
                "sequenceNumber": record.sequence_number,
                "data": base64.b64encode(record.data).decode(),
                "approximateArrivalTimestamp": record.arrived,
            },
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": f"{record.shard}:{record.sequence_number}",
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": _ROLE,
            "awsRegion": _region(arn),
            "eventSourceARN": arn,
        }

    def moment(self, epoch: float) -> str:
        """Return it to the millisecond."""
        return iso(epoch)


class ChangeFeed:
    """A stream of DynamoDB changes. Their `data` is the change's own JSON, to which Lambda adds the stream's ARN."""

    batch_info: Literal["DDBStreamBatchInfo"] = "DDBStreamBatchInfo"

    def __init__(self, source: Source, *, label: str = "2013-01-01T00:00:00.000") -> None:
        """`label` is the stream's: a source that stands for a table knows that one's ARN only."""
        self.source = source
        self._label = label

    def arn(self, stream: Stream) -> str:
        """Return that of the table's stream."""
        return stream.arn if "/stream/" in stream.arn else f"{stream.arn}/stream/{self._label}"

    def entry(self, record: Record, arn: str) -> Entry:
        """Return the change. It does not say which shard it is from."""
        change: Entry = msgspec.json.decode(record.data)
        return change | {"eventSourceARN": arn}

    def moment(self, epoch: float) -> str:
        """Return whole seconds, for the service knows no more."""
        return datetime.fromtimestamp(int(epoch), UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def iso(epoch: float) -> str:
    """Write a moment as AWS does: UTC, to the millisecond."""
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _region(arn: str) -> str:
    return arn.split(":")[3]
