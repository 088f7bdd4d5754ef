"""Which shards a filter means, and what every description of a stream begins with.

Source: https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ShardFilter.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, TypeVar

from streamkit.testing.kinesis import errors
from streamkit.testing.kinesis.values import ShardFilter, Status, StreamModeDetails

if TYPE_CHECKING:
    from streamkit.testing.kinesis.shards import Shard
    from streamkit.testing.kinesis.streams import Stream

T = TypeVar("T")


class About(TypedDict):
    """The fields that all descriptions share."""

    stream_name: str
    stream_arn: str
    stream_status: Status
    stream_mode_details: StreamModeDetails
    stream_creation_timestamp: float


def about(stream: Stream) -> About:
    """Return the fields that all descriptions share."""
    return About(
        stream_name=stream.name,
        stream_arn=stream.arn,
        stream_status=stream.status,
        stream_mode_details=StreamModeDetails(stream.mode),
        stream_creation_timestamp=stream.created_at,
    )


def select(stream: Stream, wanted: ShardFilter | None, *, now: float) -> list[Shard]:
    """Return the shards that are still kept and that the filter means, in the order of their making."""
    shards = list(stream.shards.values())
    if wanted is None:
        return shards
    if wanted.type == "AFTER_SHARD_ID":
        after = _given(wanted.shard_id, "ShardId", wanted)
        return [shard for shard in shards if shard.id > after]
    if wanted.type == "AT_LATEST":
        return [shard for shard in shards if shard.closed_at is None]
    if wanted.type == "FROM_TRIM_HORIZON":
        return shards
    horizon = max(stream.horizon(now), min((shard.opened_at for shard in shards), default=now))
    moment = horizon
    if wanted.type != "AT_TRIM_HORIZON":
        moment = max(horizon, _given(wanted.timestamp, "Timestamp", wanted))
    living = [shard for shard in shards if shard.closed_at is None or shard.closed_at >= moment]
    if wanted.type == "FROM_TIMESTAMP":
        return living
    return [shard for shard in living if shard.opened_at <= moment]


def _given(value: T | None, name: str, wanted: ShardFilter) -> T:
    if value is None:
        raise errors.invalid(f"{name} must be specified for the shard filter type {wanted.type}.")
    return value
