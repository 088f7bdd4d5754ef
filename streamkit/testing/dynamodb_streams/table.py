"""A table in memory whose writes make changes: the writers' side of a `DynamoDBStream`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from streamkit.core.values import Image, Key, Plain, canonical, plain
from streamkit.testing.dynamodb_streams.streams import ACCOUNT, ChangeStreams
from streamkit.testing.dynamodb_streams.values import Json, item
from streamkit.testing.dynamodb_streams.written import Written

if TYPE_CHECKING:
    from streamkit.ports import Clock
    from streamkit.testing.dynamodb_streams.written import View


class ChangingTable:
    """A table with a stream. Items are plain values; `key` names the attributes that are an item's key."""

    def __init__(
        self,
        streams: ChangeStreams,
        clock: Clock,
        *,
        name: str = "table",
        key: Sequence[str] = ("id",),
        shards: int = 1,
        view: View = "NEW_AND_OLD_IMAGES",
    ) -> None:
        self.streams = streams
        self.name = name
        self._clock = clock
        self._key = tuple(key)
        self._view: View = view
        self._items: dict[str, Json] = {}
        self.create(shards)

    def __repr__(self) -> str:
        return f"<ChangingTable {self.name} of {len(self._items)} items>"

    @property
    def arn(self) -> str:
        """The table's ARN."""
        return f"arn:aws:dynamodb:{self.streams.region}:{ACCOUNT}:table/{self.name}"

    @property
    def items(self) -> dict[str, dict[str, Plain]]:
        """What is in the table, by the canonical key."""
        return {key: plain(msgspec.convert(attributes, Image)) for key, attributes in self._items.items()}

    def create(self, shards: int = 1) -> None:
        """Make the table, with a stream. After `delete` it is another table of the same name."""
        self._created: float | None = self._clock.now().timestamp()
        self.enable(shards)

    def delete(self) -> None:
        """Delete the table; its stream stays readable for a day."""
        self._items.clear()
        self._created = None
        self.disable()

    def enable(self, shards: int = 1) -> str:
        """Give it a stream, of a new label."""
        return self.streams.enable(self.name, view=self._view, shards=shards)

    def disable(self) -> None:
        """Take the stream away."""
        self.streams.disable(self.name)

    def put(self, attributes: Mapping[str, object]) -> None:
        """Insert an item, or replace the one of its key."""
        new = item(attributes)
        key = {name: new[name] for name in self._key}
        self._write(key, new)

    def remove(self, key: Mapping[str, object], *, expired: bool = False) -> None:
        """Delete an item; or let it expire, as the service does when its time to live is over."""
        self._write(item(key), None, expired=expired)

    def described(self) -> dict[str, Any]:
        """Return the table as DescribeTable has it, or nothing if there is none."""
        if self._created is None:
            return {}
        stream = self.streams.enabled(self.name)
        latest = {} if stream is None else {"LatestStreamArn": stream.arn, "LatestStreamLabel": stream.label}
        return {"TableName": self.name, "TableArn": self.arn, "CreationDateTime": self._created, **latest}

    def _write(self, key: Json, new: Json | None, *, expired: bool = False) -> None:
        name = canonical(msgspec.convert(key, Key))
        old = self._items.pop(name, None)
        if new is not None:
            self._items[name] = new
        self.streams.append(self.name, Written(key, old, new, expired=expired))
