"""The control plane: streams and their shards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from streamkit.testing.kinesis import errors
from streamkit.testing.kinesis.account import Account, operation, shard_of, within
from streamkit.testing.kinesis.data import hash_key_from
from streamkit.testing.kinesis.listing import about, select
from streamkit.testing.kinesis.seals import ITERATOR_SECONDS, Broken, Page
from streamkit.testing.kinesis.streams import DAY_HOURS, Stream
from streamkit.testing.kinesis.values import (
    ListedStream,
    ShardCounts,
    ShardFilter,
    Shards,
    StreamDescription,
    StreamModeDetails,
    Streams,
    StreamSummary,
    Tag,
    Tags,
)

if TYPE_CHECKING:
    from streamkit.testing.kinesis.values import Status

_LONGEST_RETENTION_HOURS = 365 * DAY_HOURS
_MOST_SHARDS_LISTED = 10_000
_SHARDS_LISTED = 1_000
_SHARDS_DESCRIBED = 100
_STREAMS_LISTED = 100
_ON_DEMAND_SHARDS = 4
_MOST_TAGS = 50
_KIB = 1024


class ControlPlane(Account):
    """Everything about streams but their records."""

    @operation
    def create_stream(
        self,
        *,
        stream_name: str,
        shard_count: int | None = None,
        stream_mode_details: StreamModeDetails | None = None,
        tags: Mapping[str, str] | None = None,
        max_record_size_in_kib: int = _KIB,
    ) -> None:
        """Start making a stream; on demand without a count of shards it has four."""
        name = self._named(stream_name, None)
        mode = stream_mode_details.stream_mode if stream_mode_details else "PROVISIONED"
        count = shard_count if shard_count is not None else _ON_DEMAND_SHARDS if mode == "ON_DEMAND" else 1
        within(count, 1, _MOST_SHARDS_LISTED, "shardCount")
        within(max_record_size_in_kib, _KIB, 10 * _KIB, "maxRecordSizeInKiB")
        if name in self._streams:
            raise errors.stream_exists(name)
        self._reserve(count)
        now = self._now()
        era = max(int(now), self._eras.get(name, -1) + 1)
        created_at = max(now, float(era))
        stream = Stream(name, arn=self.arn(name), mode=mode, created_at=created_at, era=era)
        stream.max_record_bytes = max_record_size_in_kib * _KIB
        stream.tags.update(tags or {})
        self._streams[name] = stream
        self._change(stream, "CREATING", lambda at: stream.populate(count, now=at))

    @operation
    def delete_stream(
        self,
        *,
        stream_name: str | None = None,
        stream_arn: str | None = None,
        enforce_consumer_deletion: bool = False,  # there are no consumers yet
    ) -> None:
        """Start deleting a stream, whatever it is doing."""
        stream = self._stream(stream_name, stream_arn)

        def gone(_: float) -> None:
            del self._streams[stream.name]
            self._eras[stream.name] = stream.era

        self._change(stream, "DELETING", gone)

    @operation
    def describe_stream(
        self,
        *,
        stream_name: str | None = None,
        stream_arn: str | None = None,
        limit: int = _SHARDS_DESCRIBED,
        exclusive_start_shard_id: str | None = None,
    ) -> StreamDescription:
        """Describe a stream with a page of its shards."""
        within(limit, 1, _MOST_SHARDS_LISTED, "limit")
        stream = self._stream(stream_name, stream_arn)
        after = exclusive_start_shard_id or ""
        shards = [shard.description for shard in stream.shards.values() if shard.id > after]
        return StreamDescription(
            **about(stream),
            retention_period_hours=stream.retention_hours,
            enhanced_monitoring=[{"ShardLevelMetrics": []}],
            encryption_type="NONE",
            shards=shards[: min(limit, _SHARDS_DESCRIBED)],
            has_more_shards=len(shards) > min(limit, _SHARDS_DESCRIBED),
        )

    @operation
    def describe_stream_summary(
        self, *, stream_name: str | None = None, stream_arn: str | None = None
    ) -> StreamSummary:
        """Describe a stream without its shards."""
        stream = self._stream(stream_name, stream_arn)
        return StreamSummary(
            **about(stream),
            retention_period_hours=stream.retention_hours,
            enhanced_monitoring=[{"ShardLevelMetrics": []}],
            encryption_type="NONE",
            open_shard_count=len(stream.open),
            consumer_count=0,
            max_record_size_in_kib=stream.max_record_bytes // _KIB,
        )

    @operation
    def list_streams(
        self,
        *,
        limit: int = _STREAMS_LISTED,
        exclusive_start_stream_name: str | None = None,
        next_token: str | None = None,
    ) -> Streams:
        """List streams by name. The token is the last name."""
        within(limit, 1, _MOST_SHARDS_LISTED, "limit")
        for stream in list(self._streams.values()):
            stream.advance(self._now())
        after = next_token or exclusive_start_stream_name or ""
        names = sorted(name for name in self._streams if name > after)
        page, more = names[:limit], len(names) > limit
        return Streams(
            stream_names=page,
            has_more_streams=more,
            next_token=page[-1] if more else None,
            stream_summaries=[ListedStream(**about(self._streams[name])) for name in page],
        )

    @operation
    def list_shards(  # noqa: PLR0913 - the arguments are AWS's
        self,
        *,
        stream_name: str | None = None,
        stream_arn: str | None = None,
        next_token: str | None = None,
        exclusive_start_shard_id: str | None = None,
        max_results: int = _SHARDS_LISTED,
        stream_creation_timestamp: float | None = None,
        shard_filter: ShardFilter | None = None,
    ) -> Shards:
        """List shards in the order of their making, in pages. Times in epoch seconds."""
        within(max_results, 1, _MOST_SHARDS_LISTED, "maxResults")
        if next_token is None and stream_name is None and stream_arn is None:
            raise errors.invalid("Either NextToken or StreamName should be provided.")
        after = exclusive_start_shard_id or ""
        if next_token is not None:
            alone = (stream_name, exclusive_start_shard_id, stream_creation_timestamp, shard_filter)
            if any(given is not None for given in alone):
                raise errors.invalid("NextToken and StreamName cannot be provided together.")
            page = self._page(next_token)
            stream, after = self._stream(page.stream, None), page.after
            stream_creation_timestamp = page.created
            shard_filter = ShardFilter(*page.filter) if page.filter else None  # type: ignore[arg-type] # sealed by us
        else:
            stream = self._stream(stream_name, stream_arn, status=("ACTIVE", "UPDATING"))
        if stream_creation_timestamp is not None and int(stream.created_at) != int(stream_creation_timestamp):
            raise errors.missing_stream(stream.name)
        found = [shard for shard in select(stream, shard_filter, now=self._now()) if shard.id > after]
        rest = found[max_results:]
        token = self._token(stream, found[max_results - 1].id, shard_filter) if rest else None
        return Shards([shard.description for shard in found[:max_results]], token)

    @operation
    def split_shard(
        self,
        *,
        shard_to_split: str,
        new_starting_hash_key: str,
        stream_name: str | None = None,
        stream_arn: str | None = None,
    ) -> None:
        """Start replacing a shard by two."""
        stream = self._stream(stream_name, stream_arn)
        shard = shard_of(stream, shard_to_split)
        at = hash_key_from(new_starting_hash_key, "NewStartingHashKey")
        stream.splittable(shard, at)
        self._idle(stream)
        self._reserve(1)
        self._change(stream, "UPDATING", lambda now: stream.split(shard, at, now=now))

    @operation
    def merge_shards(
        self,
        *,
        shard_to_merge: str,
        adjacent_shard_to_merge: str,
        stream_name: str | None = None,
        stream_arn: str | None = None,
    ) -> None:
        """Start replacing two neighbours by one."""
        stream = self._stream(stream_name, stream_arn)
        shard, adjacent = shard_of(stream, shard_to_merge), shard_of(stream, adjacent_shard_to_merge)
        stream.mergeable(shard, adjacent)
        self._idle(stream)
        self._change(stream, "UPDATING", lambda now: stream.merge(shard, adjacent, now=now))

    @operation
    def update_shard_count(
        self,
        *,
        target_shard_count: int,
        scaling_type: str = "UNIFORM_SCALING",
        stream_name: str | None = None,
        stream_arn: str | None = None,
    ) -> ShardCounts:
        """Start splitting and merging to `target_shard_count`: half to twice the shards open now."""
        if scaling_type != "UNIFORM_SCALING":
            kinds = "Member must satisfy enum value set: [UNIFORM_SCALING]"
            raise errors.malformed(scaling_type, "scalingType", kinds)
        within(target_shard_count, 1, _MOST_SHARDS_LISTED, "targetShardCount")
        stream = self._stream(stream_name, stream_arn)
        self._idle(stream)
        current = len(stream.open)
        if not current <= 2 * target_shard_count <= 4 * current:
            raise errors.limit_exceeded(
                "UpdateShardCount cannot scale below half or above double the current open shard count: "
                f"it is {current}, the target {target_shard_count}"
            )
        self._reserve(max(0, target_shard_count - current))
        self._change(stream, "UPDATING", lambda now: stream.reshape(target_shard_count, now=now))
        return ShardCounts(stream.name, stream.arn, current, target_shard_count)

    @operation
    def increase_stream_retention_period(
        self, *, retention_period_hours: int, stream_name: str | None = None, stream_arn: str | None = None
    ) -> None:
        """Keep records longer."""
        stream = self._retaining(retention_period_hours, stream_name, stream_arn)
        if retention_period_hours < stream.retention_hours:
            raise errors.invalid(
                f"Requested retention period ({retention_period_hours} hours) for stream {stream.name} can not be "
                f"shorter than existing retention period ({stream.retention_hours} hours). "
                "Use DecreaseRetentionPeriod API."
            )
        stream.retention_hours = retention_period_hours

    @operation
    def decrease_stream_retention_period(
        self, *, retention_period_hours: int, stream_name: str | None = None, stream_arn: str | None = None
    ) -> None:
        """Keep records for a shorter time; older ones are gone at once."""
        stream = self._retaining(retention_period_hours, stream_name, stream_arn)
        if retention_period_hours > stream.retention_hours:
            raise errors.invalid(
                f"Requested retention period ({retention_period_hours} hours) for stream {stream.name} can not be "
                f"longer than existing retention period ({stream.retention_hours} hours). "
                "Use IncreaseRetentionPeriod API."
            )
        stream.retention_hours = retention_period_hours

    @operation
    def update_max_record_size(self, *, max_record_size_in_kib: int, stream_arn: str | None = None) -> None:
        """Allow records of up to 10 MiB."""
        stream = self._stream(None, stream_arn)
        self._idle(stream)
        stream.max_record_bytes = within(max_record_size_in_kib, _KIB, 10 * _KIB, "maxRecordSizeInKiB") * _KIB

    @operation
    def add_tags_to_stream(
        self, *, tags: Mapping[str, str], stream_name: str | None = None, stream_arn: str | None = None
    ) -> None:
        """Label a stream."""
        stream = self._stream(stream_name, stream_arn)
        if len({*stream.tags, *tags}) > _MOST_TAGS:
            raise errors.invalid(f"Failed to add tags to stream {stream.name}: more than {_MOST_TAGS} tags.")
        stream.tags.update(tags)

    @operation
    def remove_tags_from_stream(
        self, *, tag_keys: Sequence[str], stream_name: str | None = None, stream_arn: str | None = None
    ) -> None:
        """Take labels off, those it does not have included."""
        stream = self._stream(stream_name, stream_arn)
        for key in tag_keys:
            stream.tags.pop(key, None)

    @operation
    def list_tags_for_stream(self, *, stream_name: str | None = None, stream_arn: str | None = None) -> Tags:
        """List the labels by key, all in one page."""
        stream = self._stream(stream_name, stream_arn)
        return Tags([Tag(key, value) for key, value in sorted(stream.tags.items())], has_more_tags=False)

    def _change(self, stream: Stream, status: Status, effect: Callable[[float], object]) -> None:
        now = self._now()
        stream.begin(status, effect, at=now + self._transition_seconds)
        stream.advance(now)

    def _idle(self, stream: Stream) -> None:
        if stream.status != "ACTIVE":
            raise errors.stream_busy(stream.name, stream.status)

    def _reserve(self, more: int) -> None:
        """Refuse to pass the bound of open shards."""
        total = sum(len(stream.open) for stream in self._streams.values())
        if total + more > self.limits.shards:
            raise errors.limit_exceeded(
                f"This request would exceed the shard limit for the account {errors.ACCOUNT} in {self.region}. "
                f"Current shard count for the account: {total}. Limit: {self.limits.shards}. "
                f"Number of additional shards that would have resulted from this request: {more}."
            )

    def _retaining(self, hours: int, name: str | None, arn: str | None) -> Stream:
        if hours < DAY_HOURS:
            raise errors.invalid(
                f"Minimum allowed retention period is {DAY_HOURS} hours. "
                f"Requested retention period ({hours} hours) is too short."
            )
        if hours > _LONGEST_RETENTION_HOURS:
            raise errors.invalid(
                f"Maximum allowed retention period is {_LONGEST_RETENTION_HOURS} hours. "
                f"Requested retention period ({hours} hours) is too long."
            )
        stream = self._stream(name, arn)
        self._idle(stream)
        return stream

    def _token(self, stream: Stream, after: str, shard_filter: ShardFilter | None) -> str:
        kept = (shard_filter.type, shard_filter.shard_id, shard_filter.timestamp) if shard_filter else None
        return self._seal.close(Page(stream.name, stream.created_at, after, kept, self._now()))

    def _page(self, token: str) -> Page:
        try:
            page = self._seal.open(token, Page)
        except Broken as broken:
            raise errors.invalid("Invalid NextToken.") from broken
        if self._now() - page.issued > ITERATOR_SECONDS:
            raise errors.KinesisError("ExpiredNextTokenException", "The pagination token passed has expired.")
        return page
