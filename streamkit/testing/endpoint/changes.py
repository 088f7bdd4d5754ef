"""DynamoDB Streams of moto's tables, served by our own world: shards that roll, quotas, one change a write.

moto keeps a table's changes in one shard that never ends, and shows an update that makes an item as two of them. Here
its tables only say what was written; after each request that is appended to `streamkit.testing.dynamodb_streams`.
Items whose time to live is over go too, within a second of it; AWS takes up to days.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from streamkit.core.values import Key, canonical
from streamkit.testing.dynamodb_streams import ChangeStreams, Written, service
from streamkit.testing.dynamodb_streams.shards import ROLL_SECONDS
from streamkit.testing.endpoint.wsgi import Answered

if TYPE_CHECKING:
    from moto.dynamodb.models.dynamo_type import Item
    from moto.dynamodb.models.table import StreamShard, Table

SHARDS: Final = 2
"""Of a new stream."""
_REAP_SECONDS: Final = 1.0


class _Noted(NamedTuple):
    """One write, as moto's table saw it."""

    keys: dict[str, Any]
    old: dict[str, Any] | None
    new: dict[str, Any] | None
    expired: bool


class TableChanges:
    """The streams of all tables, by region. Everything here runs on the one thread of DynamoDB."""

    def __init__(self, clock: Callable[[], float], *, roll_seconds: float = ROLL_SECONDS) -> None:
        self._clock = clock
        self._roll_seconds = roll_seconds
        self._regions: dict[str, ChangeStreams] = {}
        self._dirty: dict[int, StreamShard] = {}
        """What was written to in this request."""
        self._reaped = 0.0
        self._expiring = False

    def of(self, region: str) -> ChangeStreams:
        """Return the streams of a region."""
        if region not in self._regions:
            self._regions[region] = ChangeStreams(
                clock=self._clock, chance=random.Random(region), region=region, roll_seconds=self._roll_seconds
            )
        return self._regions[region]

    def answer(self, region: str, operation: str, body: bytes) -> Answered:
        """Answer a request of DynamoDB Streams."""
        self.note()
        status, answered = service.answer(self.of(region), operation, body)
        return Answered(status, [("Content-Type", service.JSON)], answered)

    def note(self) -> None:
        """Append what the last request wrote, one change an item."""
        self._reap()
        for shard in self._dirty.values():
            table, noted = shard.table, shard.items
            for written in _once_an_item(noted):  # type: ignore[arg-type]  # `installed` keeps what is noted there
                self.of(table.region_name).append(table.name, written)
            noted.clear()
        self._dirty.clear()

    @contextmanager
    def installed(self) -> Generator[None]:
        """Let moto's tables tell of their writes, and of their streams' beginnings and ends."""
        from moto.dynamodb.models import DynamoDBBackend
        from moto.dynamodb.models.table import StreamShard, Table

        add, specify, delete = StreamShard.add, Table.set_stream_specification, DynamoDBBackend.delete_table
        StreamShard.add = self._adding()  # type: ignore[method-assign,assignment]
        Table.set_stream_specification = self._specifying(specify)  # type: ignore[method-assign,assignment]
        DynamoDBBackend.delete_table = self._deleting(delete)  # type: ignore[method-assign]
        try:
            yield
        finally:
            StreamShard.add = add  # type: ignore[method-assign]
            Table.set_stream_specification = specify  # type: ignore[method-assign]
            DynamoDBBackend.delete_table = delete  # type: ignore[method-assign]

    def _adding(self) -> Callable[[StreamShard, Item | None, Item | None], None]:
        def add(shard: StreamShard, old: Item | None, new: Item | None) -> None:
            table = shard.table
            before, after = (None if each is None else each.to_json()["Attributes"] for each in (old, new))
            whole: dict[str, Any] = before or after or {}
            keys = {name: whole[name] for name in (table.hash_key_attr, table.range_key_attr) if name}
            shard.items.append(_Noted(keys, before, after, self._expiring))  # type: ignore[arg-type]  # it is ours now
            self._dirty[id(shard)] = shard

        return add

    def _specifying(self, original: Callable[..., None]) -> Callable[[Table, dict[str, Any] | None], None]:
        def specify(table: Table, streams: dict[str, Any] | None) -> None:
            self.note()
            original(table, streams)
            ours, enabled = self.of(table.region_name), (table.stream_specification or {}).get("StreamEnabled")
            ours.disable(table.name)
            if enabled:
                view = (table.stream_specification or {})["StreamViewType"]
                ours.enable(table.name, view=view, shards=SHARDS, label=table.latest_stream_label)
            else:
                table.latest_stream_label = table.stream_shard = None  # moto would refuse to enable it again

        return specify

    def _deleting(self, original: Callable[..., Table]) -> Callable[..., Table]:
        def delete(backend: Any, name: str) -> Table:  # noqa: ANN401 - moto's
            self.note()
            table = original(backend, name)
            self.of(table.region_name).disable(table.name)
            return table

        return delete

    def _reap(self) -> None:
        """Delete the items whose time to live is over, of tables that have a stream."""
        now = self._clock()
        if now - self._reaped < _REAP_SECONDS:
            return
        self._reaped, self._expiring = now, True
        try:
            for table in _mortal_tables():
                for item in [each for each in table.all_items() if _is_over(each, table.ttl["AttributeName"], now)]:
                    table.delete_item(item.hash_key, item.range_key)
        finally:
            self._expiring = False


def _once_an_item(noted: list[_Noted]) -> Iterator[Written]:
    """Join what one request did to one item in steps."""
    joined: dict[str, _Noted] = {}
    for each in noted:
        key = canonical(msgspec.convert(each.keys, Key))
        before = joined.get(key)
        joined[key] = each if before is None else each._replace(old=before.old)
    for each in joined.values():
        yield Written(each.keys, each.old, each.new, expired=each.expired)


def _mortal_tables() -> Iterator[Table]:
    from moto.dynamodb.models import dynamodb_backends

    for account in dynamodb_backends.values():
        for backend in account.values():
            for table in backend.tables.values():
                if table.stream_shard is not None and table.ttl.get("TimeToLiveStatus") == "ENABLED":
                    yield table


def _is_over(item: Item, attribute: str, now: float) -> bool:
    """Say whether the attribute is a number and a moment that has passed."""
    value = item.attrs.get(attribute)
    return value is not None and value.type == "N" and float(value.value) < now
