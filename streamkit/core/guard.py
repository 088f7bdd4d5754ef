"""Position checks at the sink: a write takes effect only if its record is newer than the last one written there.

Suppresses repeats and zombies where the effect is: one DynamoDB item keeps the position of the record that wrote it
last, and a write is conditional on that (`last < :position`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from streamkit.core.records import Record

_MAX_ATTRIBUTE = 255
"""Bytes: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html."""


class Guard(msgspec.Struct, frozen=True):
    """What makes a DynamoDB write of one record conditional on its position, for items that one key of records writes.

    `Guard.of(record)` gives `condition` and `assignment` for ConditionExpression and the SET of an UpdateExpression,
    `names` and `values` for their placeholders, and `item` for a whole item that is put. A write that is refused has
    been made before, or a newer one has: that is a success.

    Positions of one key ascend in a shard and from a parent to its children; they say nothing of two streams, or of
    two keys on two shards.
    """

    position: str
    """A text that sorts as the record stands in its stream: numbers of 56 digits are too long for DynamoDB's own."""
    attribute: str = "streamkit_position"
    """Where the item keeps the position of its last write."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.attribute.encode()) <= _MAX_ATTRIBUTE:
            msg = f"attribute: expected the name of an attribute, 1 to {_MAX_ATTRIBUTE} bytes, got {self.attribute!r}"
            raise ValueError(msg)

    @classmethod
    def of(cls, record: Record, *, attribute: str = "streamkit_position") -> Guard:
        """Return the guard of this record's writes. Raises `ValueError` for what is no attribute's name."""
        number = str(record.sequence)
        return cls(f"{len(number):03d}:{number}:{record.subsequence:06d}", attribute)

    @property
    def condition(self) -> str:
        """The record is newer than the last one written; or nothing was, with a guard."""
        return "(attribute_not_exists(#streamkit_position) OR #streamkit_position < :streamkit_position)"

    @property
    def assignment(self) -> str:
        """Keep the position with the write: a part of what follows SET in an update."""
        return "#streamkit_position = :streamkit_position"

    @property
    def names(self) -> dict[str, str]:
        """What the placeholders of attributes stand for."""
        return {"#streamkit_position": self.attribute}

    @property
    def values(self) -> dict[str, str]:
        """What the placeholders of values stand for. A low-level client wants each as `{"S": value}`."""
        return {":streamkit_position": self.position}

    @property
    def item(self) -> dict[str, str]:
        """The attributes that an item has to have if it is put as a whole."""
        return {self.attribute: self.position}
