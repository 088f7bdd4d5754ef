"""Streams and shards as the service describes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

import msgspec
from msgspec.structs import replace


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


CROSSING = "stream-"
"""How the id of a crossing begins; no service's shard ids do."""


def chained(streams: Iterable[tuple[str, Sequence[Shard]]]) -> list[Shard]:
    """Return the shards of streams that followed each other, by label and oldest first, as one lineage.

    A table's stream that was disabled and enabled again is two. Between them stands a crossing: a shard of our own
    without records, which goes on from all last shards of one stream and is the parent of all first shards of the
    next. So the older is settled to its end before the younger begins, by nothing more than rule 11.
    """
    found: list[Shard] = []
    last: tuple[str, ...] = ()
    for label, shards in streams:
        if not shards:
            continue
        crossing = Shard(CROSSING + label, last)
        if last:
            found.append(crossing)
        found += [replace(each, parents=(crossing.id,)) if last and not each.parents else each for each in shards]
        parents = {parent for each in shards for parent in each.parents}
        last = tuple(sorted(each.id for each in shards if each.id not in parents))
    return found
