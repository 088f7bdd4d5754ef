"""Streams and shards as the service describes them."""

from __future__ import annotations

from datetime import timedelta

import msgspec


class Stream(msgspec.Struct, frozen=True):
    """The identity of a stream. Created again under the same name, it is a different stream (rule 13)."""

    name: str
    arn: str
    incarnation: str
    """Creation time or label: what tells it from an earlier stream of the same ARN."""
    retention: timedelta


class Shard(msgspec.Struct, frozen=True):
    """One shard of a stream, as listed by the service."""

    id: str
    parents: tuple[str, ...] = ()
    hash_range: tuple[int, int] | None = None
    """First and last hash key, inclusive; None where the service has none (DynamoDB)."""
