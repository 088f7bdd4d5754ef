"""What goes in and out of the world: values that encode as AWS's JSON as they are.

Field names are AWS's in snake case. `None` and defaults are left out of the JSON.
"""

from __future__ import annotations

from typing import Literal

import msgspec

FilterType = Literal[
    "AFTER_SHARD_ID", "AT_TRIM_HORIZON", "FROM_TRIM_HORIZON", "AT_LATEST", "AT_TIMESTAMP", "FROM_TIMESTAMP"
]
IteratorType = Literal["AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER", "TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"]
Status = Literal["CREATING", "DELETING", "ACTIVE", "UPDATING"]
Mode = Literal["PROVISIONED", "ON_DEMAND"]


def aws_name(field: str) -> str:
    """Spell a field as AWS does: `stream_arn` is StreamARN, `max_record_size_in_kib` MaxRecordSizeInKiB."""
    odd = {"arn": "ARN", "kib": "KiB"}
    return "".join(odd.get(word, word.capitalize()) for word in field.split("_"))


class Value(msgspec.Struct, frozen=True, omit_defaults=True, rename=aws_name):
    """Base: immutable, named as AWS names it."""


class Entry(Value, frozen=True):
    """One record to put."""

    data: bytes
    partition_key: str
    explicit_hash_key: str | None = None


class Put(Value, frozen=True):
    """Where a record went, or, in PutRecords only, why it did not."""

    shard_id: str | None = None
    sequence_number: str | None = None
    error_code: str | None = None
    error_message: str | None = None


class Puts(Value, frozen=True):
    """The answer of PutRecords: one `Put` an entry, in their order."""

    records: list[Put]
    failed_record_count: int


class Stored(Value, frozen=True, gc=False):
    """A record as read. `approximate_arrival_timestamp` in epoch seconds, to the millisecond."""

    sequence_number: str
    approximate_arrival_timestamp: float
    data: bytes
    partition_key: str


class HashKeyRange(Value, frozen=True):
    """Both ends included; decimal, because they have 128 bits."""

    starting_hash_key: str
    ending_hash_key: str


class ChildShard(Value, frozen=True):
    """Where a closed shard's keys go on."""

    shard_id: str
    parent_shards: list[str]
    hash_key_range: HashKeyRange


class Records(Value, frozen=True):
    """The answer of GetRecords. Without `next_shard_iterator` the shard has ended and its children go on."""

    records: list[Stored]
    millis_behind_latest: int
    next_shard_iterator: str | None = None
    child_shards: list[ChildShard] | None = None


class StartingPosition(Value, frozen=True):
    """Where a subscription begins. `timestamp` in epoch seconds."""

    type: IteratorType
    sequence_number: str | None = None
    timestamp: float | None = None


class Push(Value, frozen=True):
    """One SubscribeToShardEvent. Without a continuation the shard has ended and its children go on."""

    records: list[Stored]
    millis_behind_latest: int
    continuation_sequence_number: str | None = None
    child_shards: list[ChildShard] | None = None


class StreamConsumer(Value, frozen=True):
    """A registration for enhanced fan-out. `consumer_creation_timestamp` in epoch seconds."""

    consumer_name: str
    consumer_arn: str
    consumer_status: Literal["CREATING", "DELETING", "ACTIVE"]
    consumer_creation_timestamp: float
    stream_arn: str | None = None


class StreamConsumers(Value, frozen=True):
    """The answer of ListStreamConsumers, all in one page."""

    consumers: list[StreamConsumer]


class SequenceNumberRange(Value, frozen=True):
    """The end is there only once the shard is closed, and lies beyond its last record."""

    starting_sequence_number: str
    ending_sequence_number: str | None = None


class ShardDescription(Value, frozen=True):
    """One shard of a listing."""

    shard_id: str
    hash_key_range: HashKeyRange
    sequence_number_range: SequenceNumberRange
    parent_shard_id: str | None = None
    adjacent_parent_shard_id: str | None = None


class Shards(Value, frozen=True):
    """One page of ListShards."""

    shards: list[ShardDescription]
    next_token: str | None = None


class ShardFilter(Value, frozen=True):
    """Which shards to list. `timestamp` in epoch seconds."""

    type: FilterType
    shard_id: str | None = None
    timestamp: float | None = None


class StreamModeDetails(Value, frozen=True):
    """Who provides the shards."""

    stream_mode: Mode


class StreamDescription(Value, frozen=True, kw_only=True):
    """What DescribeStream says. `stream_creation_timestamp` in epoch seconds."""

    stream_name: str
    stream_arn: str
    stream_status: Status
    stream_mode_details: StreamModeDetails
    retention_period_hours: int
    stream_creation_timestamp: float
    enhanced_monitoring: list[dict[str, list[str]]]
    encryption_type: Literal["NONE"]
    shards: list[ShardDescription]
    has_more_shards: bool


class StreamSummary(Value, frozen=True, kw_only=True):
    """What DescribeStreamSummary says. `stream_creation_timestamp` in epoch seconds."""

    stream_name: str
    stream_arn: str
    stream_status: Status
    stream_mode_details: StreamModeDetails
    retention_period_hours: int
    stream_creation_timestamp: float
    enhanced_monitoring: list[dict[str, list[str]]]
    encryption_type: Literal["NONE"]
    open_shard_count: int
    consumer_count: int
    max_record_size_in_kib: int


class ListedStream(Value, frozen=True):
    """One stream of a listing."""

    stream_name: str
    stream_arn: str
    stream_status: Status
    stream_mode_details: StreamModeDetails
    stream_creation_timestamp: float


class Streams(Value, frozen=True, kw_only=True):
    """One page of ListStreams."""

    stream_names: list[str]
    has_more_streams: bool
    next_token: str | None = None
    stream_summaries: list[ListedStream]


class ShardCounts(Value, frozen=True):
    """The answer of UpdateShardCount."""

    stream_name: str
    stream_arn: str
    current_shard_count: int
    target_shard_count: int


class Tag(Value, frozen=True):
    """A label of a stream."""

    key: str
    value: str


class Tags(Value, frozen=True):
    """The answer of ListTagsForStream."""

    tags: list[Tag]
    has_more_tags: bool
