"""Reads the lease table of a Kinesis Client Library application, version 1 to 3. Nothing is ever written to it.

The attributes are those of KCL's DynamoDBLeaseSerializer. Its other tables (worker metrics, coordinator state, since
KCL 3) hold nothing of positions. Rows of other kinds have an `entityType` other than LEASE.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamkit.aws.errors import Rejected
from streamkit.core.kcl import Lease, checkpoint_of
from streamkit.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamkit.aws.call import Call
    from streamkit.core.lineage import Stream

_MAX_PAGES = 10_000
_PARTS = 4
"""Of the lease key of an application that reads several streams: account:stream:creation:shard."""


async def leases(call: Call, table: str, stream: Stream) -> Sequence[Lease]:
    """Return the leases on a stream, read consistently. Raises `ConfigurationError` if this is no such table."""
    keys = (await call("DescribeTable", TableName=table))["Table"]["KeySchema"]
    if [each["AttributeName"] for each in keys] != ["leaseKey"]:
        got = ", ".join(each["AttributeName"] for each in keys)
        raise ConfigurationError(f"table {table}: expected a lease table of the KCL, whose key is leaseKey, got {got}")
    items = await _items(call, table)
    found = [lease for item in items if (lease := read(table, item, stream)) is not None]
    if not found:
        raise ConfigurationError(
            f"table {table}: expected leases on stream {stream.name}, got none in {len(items)} rows"
        )
    return sorted(found, key=lambda lease: lease.shard)


def read(table: str, item: Mapping[str, Any], stream: Stream) -> Lease | None:
    """Read one row; None if it is no lease on this stream. Raises `ConfigurationError` for what cannot be read."""
    if _text(item, "entityType") not in (None, "LEASE"):
        return None
    shard = _shard(_text(item, "leaseKey") or "", stream)
    if shard is None:
        return None
    try:
        checkpoint = checkpoint_of(_text(item, "checkpoint") or "", _whole(item, "checkpointSubSequenceNumber"))
        return Lease(
            shard=shard,
            checkpoint=checkpoint,
            counter=_whole(item, "leaseCounter"),
            owner=_text(item, "leaseOwner"),
            parents=tuple(sorted(_shard(each, stream) or each for each in item.get("parentShardId", {}).get("SS", ()))),
            hash_range=_range(item),
            pending=_text(item, "pendingCheckpoint"),
        )
    except ValueError as wrong:
        raise ConfigurationError(f"table {table}, lease {shard}: {wrong}") from wrong


def _shard(key: str, stream: Stream) -> str | None:
    """Return the shard of a lease key, if it is one of this stream."""
    parts = key.split(":")
    if len(parts) != _PARTS:
        return key
    _, name, created, shard = parts
    return shard if name == stream.name and _is_of(created, stream.incarnation) else None


def _is_of(created: str, incarnation: str) -> bool:
    """Say whether a creation in seconds is that of the stream, whose own is in milliseconds."""
    return created.isdigit() and incarnation.isdigit() and int(incarnation) // 1000 == int(created)


def _text(item: Mapping[str, Any], name: str) -> str | None:
    value = item.get(name, {}).get("S")
    return None if value is None else str(value)


def _whole(item: Mapping[str, Any], name: str) -> int:
    return int(item.get(name, {}).get("N", "0"))


def _range(item: Mapping[str, Any]) -> tuple[int, int] | None:
    first, last = _text(item, "startingHashKey"), _text(item, "endingHashKey")
    return None if first is None or last is None else (int(first), int(last))


async def _items(call: Call, table: str) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    start: dict[str, Any] = {}
    for _ in range(_MAX_PAGES):
        answer = await call("Scan", TableName=table, ConsistentRead=True, **start)
        found += answer["Items"]
        if not answer.get("LastEvaluatedKey"):
            return found
        start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}
    raise Rejected(f"expected at most {_MAX_PAGES} pages of table {table}, got more")
