"""The record: one thing a producer put, exactly as it was put.

Sequence numbers are decimal strings of up to 129 digits whose order is numeric, never lexicographic
(https://docs.aws.amazon.com/kinesis/latest/APIReference/API_Record.html). Records that a KPL producer aggregated
share one; a subsequence number tells them apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, Literal, Self, TypeVar, overload

import msgspec

from streamkit.core import codec
from streamkit.core.positions import Position

T = TypeVar("T")

Compression = Literal["gzip", "zlib", "zstd", "auto"]


class Origin(msgspec.Struct, frozen=True, gc=False):
    """Where records come from: one value shared by all records of one shard."""

    stream: str
    shard: str
    compression: Compression | None = None


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record of one shard. Values only: copy with changes by `msgspec.structs.replace`."""

    data: bytes
    """The payload exactly as it was put."""
    key: str
    """The partition key; records of one key are handled in stream order."""
    sequence_number: str
    """The service's own text of the sequence number."""
    origin: Origin
    arrived: float
    """When the service took it: seconds since the epoch, by the service's clock."""
    subsequence: int = 0
    """Place among the user records of one aggregate; 0 outside of aggregates."""
    last: bool = True
    """Whether no later user record shares the sequence number."""
    defect: str | None = None
    """Why this record cannot be handed to any handler (corrupt aggregate, over a size limit), or None."""
    attempt: int = 1
    """1 on the first run of the handler, growing by one with every retry."""
    redriven: bool = False
    replayed: bool = False
    foreign: bool = False
    """Whether another shard delivers it (a reshard met a KPL producer): settled here, never handled."""

    @property
    def sequence(self) -> int:
        """The sequence number as the integer it is."""
        return int(self.sequence_number)

    @property
    def position(self) -> Position:
        """The place in the shard just after this record."""
        return Position(self.sequence_number, None if self.last else self.subsequence)

    @property
    def stream(self) -> str:
        """Name of the stream."""
        return self.origin.stream

    @property
    def shard(self) -> str:
        """Id of the shard."""
        return self.origin.shard

    @property
    def arrived_at(self) -> datetime:
        """When the service took it, in UTC."""
        return datetime.fromtimestamp(self.arrived, UTC)

    @property
    def id(self) -> str:
        """The same for every delivery of this record: use it as the idempotency token of calls elsewhere."""
        return f"{self.origin.stream}:{self.origin.shard}:{self.sequence_number}:{self.subsequence}"

    @property
    def body(self) -> bytes:
        """The payload, decompressed if the source was declared with a compression. Raises `Undecodable`."""
        compression = self.origin.compression
        return self.data if compression is None else codec.decompress(self.data, compression)

    def text(self) -> str:
        """Return the body as UTF-8 text. Raises `Undecodable`."""
        return codec.text(self.body)

    @overload
    def json(self, type: None = None) -> Any: ...  # noqa: ANN401 - JSON can be anything
    @overload
    def json(self, type: type[T]) -> T: ...
    def json(self, type: Any = None) -> Any:  # noqa: A002 - the public name; JSON can be anything
        """Return the body decoded from JSON and validated as `type`: msgspec struct, dataclass, pydantic model ...

        Raises `Undecodable` if it is not valid JSON or not a `type`; the message never quotes the payload.
        """
        return codec.json(self.body, Any if type is None else type)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}, {len(self.data)} bytes, attempt {self.attempt}>"


class Batch(tuple[Record, ...]):
    """A non-empty sequence of records of one shard, in stream order."""

    __slots__ = ()

    def __new__(cls, records: Iterable[Record]) -> Self:
        """Raise `ValueError` if there are no records or they are of several shards."""
        self = super().__new__(cls, records)
        if not self:
            msg = "expected at least one record, got an empty batch"
            raise ValueError(msg)
        origins = [*map(attrgetter("origin"), self)]
        if origins.count(origins[0]) < len(origins):  # by identity first, as all records of one shard share theirs
            msg = "expected records of one shard, got several"
            raise ValueError(msg)
        return self

    @property
    def shard(self) -> str:
        """Id of the shard the records are of."""
        return self[0].shard
