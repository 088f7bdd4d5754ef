"""Builders: records as they would be read, from as little as a test cares to say.

Payloads are bytes, or Python values that become JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from streamkit.core import changes
from streamkit.core.letters import Condemned, Letter
from streamkit.core.records import Origin, Record
from streamkit.testing import kpl
from streamkit.testing.dynamodb_streams.values import item
from streamkit.testing.dynamodb_streams.written import Written

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from streamkit.core.letters import Condition

STREAM = "stream"
SHARD = "shardId-000000000000"
ARN = f"arn:aws:kinesis:us-east-1:123456789012:stream/{STREAM}"
ARRIVED = 1_356_998_400.0
"""2013-01-01T00:00:00Z, when a built record arrived unless told otherwise."""


def payload(value: object) -> bytes:
    """Return bytes as they are, and anything else as JSON."""
    return value if isinstance(value, bytes) else msgspec.json.encode(value)


def record(
    data: object = b"",
    *,
    key: str = "k",
    sequence: int = 1,
    shard: str = SHARD,
    stream: str = STREAM,
    arrived: float = ARRIVED,
) -> Record:
    """Build one record; what else it has is set by `msgspec.structs.replace`."""
    return Record(
        data=payload(data),
        key=key,
        sequence_number=str(sequence),
        origin=Origin(stream, shard),
        arrived=arrived,
    )


def change(  # noqa: PLR0913 - what a test may care to say
    keys: Mapping[str, object],
    *,
    old: Mapping[str, object] | None = None,
    new: Mapping[str, object] | None = None,
    sequence: int = 1,
    shard: str = SHARD,
    table: str = STREAM,
    changed: float = ARRIVED,
    expired: bool = False,
) -> changes.Change:
    """Build one change of an item from plain values: inserted, modified or removed, by the images there are.

    Raises `ValueError` for what is no change, `TypeError` for what no attribute can be.
    """
    before, after = (None if image is None else item(image) for image in (old, new))
    written = Written(item(keys), before, after, expired=expired)
    data = written.json(
        number=sequence, changed=changed, view="NEW_AND_OLD_IMAGES", event_id=f"{sequence:032x}", region="us-east-1"
    )
    made = changes.change(data, Origin(table, shard))
    if not isinstance(made, changes.Change):
        raise ValueError(f"expected a change of DynamoDB, got {made.defect}")  # noqa: TRY004 - it is about values
    return made


def records(
    n: int, *, keys: Sequence[str] = ("k",), first: int = 1, shard: str = SHARD, stream: str = STREAM
) -> list[Record]:
    """Build `n` records numbered from `first`, keys taken in turn, each with its number as payload."""
    return [
        record(sequence, key=keys[index % len(keys)], sequence=sequence, shard=shard, stream=stream)
        for index, sequence in enumerate(range(first, first + n))
    ]


def letter(
    of: Record, *, reason: str = "no arrival delay", condition: Condition = "Poison", attempts: int = 1
) -> Letter:
    """Build the dead letter of a record."""
    verdict = Condemned(record=of, condition=condition, reason=reason, attempts=attempts)
    return Letter(verdict=verdict, consumer="consumer", code_version="1", stream_arn=ARN, condemned=of.arrived + 60)


def aggregate(parts: Iterable[tuple[str, object]]) -> bytes:
    """Return (key, payload) pairs as one KPL aggregate, the data of a single physical record."""
    return kpl.aggregate(kpl.UserRecord(key, payload(data)) for key, data in parts)
