"""Streams and shards as the service describes them, and what their lineage tells.

The shards that are not finished cover every hash key: a split or merge hands the keys of parents to their children,
and parents are finished in the very transaction that makes their children's rows (rule 12). A hole among them is no
lineage but an accident: a row that was deleted, a child that was never found.
"""

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


HashRange = tuple[int, int]
"""First and last hash key, inclusive."""

HASH_KEYS = 2**128
"""A partition key is mapped to one of so many, by MD5 (Kinesis API reference, HashKeyRange)."""


def holes(leaves: Iterable[Shard]) -> tuple[HashRange, ...]:
    """Return the ranges of hash keys that none of these shards has, in order; overlaps are none of its business.

    None where a shard has no hash keys (DynamoDB), and among no shards at all: a stream that nobody has looked at yet.
    """
    ranges = [leaf.hash_range for leaf in leaves]
    if not ranges or None in ranges:
        return ()
    found: list[HashRange] = []
    covered = 0
    for first, last in sorted(each for each in ranges if each is not None):
        if first > covered:
            found.append((covered, first - 1))
        covered = max(covered, last + 1)
    if covered < HASH_KEYS:
        found.append((covered, HASH_KEYS - 1))
    return tuple(found)


def overlap(one: HashRange | None, other: HashRange | None) -> bool:
    """Say whether two ranges have a hash key in common."""
    return one is not None and other is not None and one[0] <= other[1] and other[0] <= one[1]


def eldest_first(shards: Iterable[Shard]) -> Sequence[Shard]:
    """Return the shards so that every one follows its parents, and those equally deep by their ids."""
    left = {shard.id: shard for shard in sorted(shards, key=lambda shard: shard.id)}
    ordered: list[Shard] = []
    while left:
        ready = [shard for shard in left.values() if not left.keys() & set(shard.parents)] or list(left.values())
        ordered += [left.pop(shard.id) for shard in ready]
    return ordered


def ancestors(shards: Iterable[Shard], among: Iterable[Shard]) -> frozenset[str]:
    """Return the ids of all that these shards go on from, as far as `among` tells of parents of parents."""
    parents = {shard.id: shard.parents for shard in among}
    found: set[str] = set()
    waiting = [parent for shard in shards for parent in shard.parents]
    while waiting:
        each = waiting.pop()
        if each not in found:
            found.add(each)
            waiting += parents.get(each, ())
    return frozenset(found)


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
