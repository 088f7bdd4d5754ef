"""The service's shapes of streams and shards, read into values."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from streamkit.core.lineage import Shard
from streamkit.errors import ConfigurationError

ARN_REGION = 3
"""Which part of an ARN, counted from 0."""


def stream_name(stream: str) -> str:
    """Return the name in an ARN of a stream, or the name as it is. Raises `ConfigurationError`."""
    if not stream.startswith("arn:"):
        return stream
    service, _, name = stream.partition(":stream/")
    if ":kinesis:" not in service or not name or "/" in name:
        raise ConfigurationError(
            f"expected a stream like 'arn:aws:kinesis:us-east-1:123456789012:stream/flights', got {stream!r}"
        )
    return name


def arn_region(name: str) -> str | None:
    """Return the region in an ARN, or None for a plain name: where the resource is, whatever region is in force."""
    parts = name.split(":")
    return parts[3] or None if name.startswith("arn:") and len(parts) > ARN_REGION else None


def listed_shard(entry: Mapping[str, Any]) -> Shard:
    """Read one shard of ListShards."""
    parents = (entry.get("ParentShardId"), entry.get("AdjacentParentShardId"))
    return Shard(entry["ShardId"], tuple(parent for parent in parents if parent), _hash_range(entry))


def child_shard(entry: Mapping[str, Any]) -> Shard:
    """Read one of the ChildShards of GetRecords."""
    return Shard(entry["ShardId"], tuple(entry["ParentShards"]), _hash_range(entry))


def _hash_range(entry: Mapping[str, Any]) -> tuple[int, int]:
    keys = entry["HashKeyRange"]
    return int(keys["StartingHashKey"]), int(keys["EndingHashKey"])


def epoch(moment: datetime | float) -> float:
    """Return seconds since the epoch, whichever way the SDK gave the moment."""
    return moment.timestamp() if isinstance(moment, datetime) else float(moment)
