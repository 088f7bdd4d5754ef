"""Poll one shard of a Kinesis stream: no record skipped, none repeated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from streamkit.aws.decode import RawRecord
from streamkit.aws.polling import Poller
from streamkit.aws.shapes import child_shard, epoch
from streamkit.aws.track import Track
from streamkit.core.lineage import Shard
from streamkit.core.positions import Place, Position, Since
from streamkit.core.records import Origin, Record

if TYPE_CHECKING:
    from streamkit.aws.kinesis import KinesisSource

SKEW_SECONDS = 30.0
"""The service refuses a moment in its future: so much earlier is asked for, lest a clock be ahead."""


class KinesisReader(Poller):
    """Reads one shard onwards from the place of its track, within the quotas of the shard."""

    named = "stream"

    def __init__(self, source: KinesisSource, track: Track) -> None:
        super().__init__(source, track)
        self._source = source

    async def _address(self, place: Place) -> dict[str, Any]:
        """Return the parameters that open an iterator at a place."""
        kind, number, moment = opening(place, now=self._source.clock.now().timestamp())
        parameters = {"ShardIteratorType": kind, "StartingSequenceNumber": number, "Timestamp": moment}
        return {**self._source.address, **{name: value for name, value in parameters.items() if value is not None}}

    def _records(self, raw: Sequence[Any]) -> list[Record]:
        """Decode an answer."""
        return records_of(raw, self._track.origin)

    def _behind(self, answer: dict[str, Any], records: Sequence[Record]) -> timedelta | None:  # noqa: ARG002 - it says
        """Return what the service says."""
        return behind(answer)

    def _children(self, answer: dict[str, Any]) -> tuple[Shard, ...]:
        """Return what the service says."""
        return tuple(map(child_shard, answer.get("ChildShards") or ()))


def track_of(origin: Origin, place: Place) -> Track:
    """Return the track of a shard whose records are dated to the millisecond."""
    return Track(origin, place, since=place.epoch if isinstance(place, Since) else None)


def opening(place: Place, *, now: float) -> tuple[str, str | None, Any]:
    """Return how a shard is opened at a place: kind of the position, sequence number, moment."""
    if isinstance(place, Since):
        return "AT_TIMESTAMP", None, Since(max(min(place.epoch, now) - SKEW_SECONDS, 0.0)).at
    if isinstance(place, Position):
        kind = "AFTER_SEQUENCE_NUMBER" if place.subsequence is None else "AT_SEQUENCE_NUMBER"
        return kind, place.sequence_number, None
    return place, None, None


def behind(answer: Mapping[str, Any]) -> timedelta | None:
    """Return how far an answer or event is behind the tip, if it says so."""
    millis = answer.get("MillisBehindLatest")
    return None if millis is None else timedelta(milliseconds=millis)


def records_of(raw: Sequence[Any], origin: Origin) -> list[Record]:
    """Make records: one loop, nothing else in it."""
    if raw and not isinstance(raw[0], RawRecord):
        return [_record(each, origin) for each in raw]
    return [
        Record(each.Data, each.PartitionKey, each.SequenceNumber, origin, each.ApproximateArrivalTimestamp)
        for each in raw
    ]


def _record(raw: Mapping[str, Any], origin: Origin) -> Record:
    """Make a record of what the SDK's own parser returned."""
    arrived = epoch(raw["ApproximateArrivalTimestamp"])
    return Record(raw["Data"], raw["PartitionKey"], raw["SequenceNumber"], origin, arrived)
