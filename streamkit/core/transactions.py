"""What a record's handler wants written, and which records' writes go into one transaction (rule 25).

    record a: [put x, update y]  --+
    record b: [update z]         --+-->  one transaction, with the shard's checkpoint
    record c: [update y]         --'     waits: two records must not touch one item in one transaction

Source of the limits: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from streamkit.core import attributes
from streamkit.core.values import Image
from streamkit.signals import Poison

MAX_WRITES = 99
"""Of one transaction: DynamoDB takes 100, and one is the shard's row."""
MAX_BYTES = 4 * 1024 * 1024 - 64 * 1024
"""Of one transaction: DynamoDB takes 4 MB, and the shard's row is among them."""
MAX_EXPRESSION_BYTES = 4096

Kind = Literal["put", "update", "delete", "check"]


class Expression(msgspec.Struct, frozen=True):
    """A condition or an update in DynamoDB's own words, with what its placeholders stand for."""

    text: str = ""
    names: Mapping[str, str] = {}
    values: Image = {}

    def __and__(self, other: Expression) -> Expression:
        """Return the condition that both hold."""
        if not self.text or not other.text:
            return self if self.text else other
        return Expression(f"({self.text}) AND {other.text}", {**self.names, **other.names}, self.values | other.values)


class Write(msgspec.Struct, frozen=True):
    """What a transaction does to one item, and on which condition."""

    kind: Kind
    table: str
    key: Image
    item: Image = {}
    """The whole new item, of a put."""
    update: str = ""
    """The update expression, of an update."""
    condition: Expression = Expression()
    """Names and values are those of the update too."""
    asked: bool = False
    """Whether the condition is the handler's own words, and not only what it read."""

    @property
    def target(self) -> tuple[str, str]:
        """The item, by table and key."""
        return self.table, attributes.canonical(self.key)

    @property
    def size(self) -> int:
        """About how many bytes it counts for."""
        parts = (self.key, self.item, self.condition.values)
        return len(self.update) + len(self.condition.text) + sum(map(attributes.size, parts))

    def __repr__(self) -> str:
        return f"<{self.kind} in {self.table}>"


def as_read(key: Image, found: Image | None, names: Iterable[str] | None, *, number: int) -> Expression:
    """Return the condition that an item still is what was read of it.

    It still is not there; or it is there, and each attribute read has the same value, or is missing as it was. Without
    `names` everything was read that the item had. `number` keeps the placeholders of several apart.
    """
    mark = f"streamkit{number}"
    first = next(iter(key))
    if found is None:
        return Expression(f"attribute_not_exists(#{mark})", {f"#{mark}": first})
    texts, places, values = [f"attribute_exists(#{mark})"], {f"#{mark}": first}, dict[str, msgspec.Struct]()
    for index, name in enumerate(found if names is None else names):
        if name in key:
            continue
        placeholder = f"{mark}x{index}"
        places[f"#{placeholder}"] = name
        if name in found:
            values[f":{placeholder}"] = found[name]
            texts.append(f"#{placeholder} = :{placeholder}")
        else:
            texts.append(f"attribute_not_exists(#{placeholder})")
    return Expression(" AND ".join(texts), places, values)  # type: ignore[arg-type] # they are attributes


def fitting(writes: Sequence[Write]) -> tuple[Write, ...]:
    """Return the writes of one record. Raises `Poison` for what no transaction can hold, `ValueError` for a slip."""
    targets: set[tuple[str, str]] = set()
    for write in writes:
        if write.target in targets:
            raise ValueError(f"expected one write an item, got two of one item in table {write.table}")
        targets.add(write.target)
        if len(write.condition.text) > MAX_EXPRESSION_BYTES:
            raise Poison(
                f"expected a condition of at most {MAX_EXPRESSION_BYTES} characters, got {len(write.condition.text)}: "
                "name the attributes that are read, with tx.get(..., attributes=...)"
            )
    if len(writes) > MAX_WRITES:
        raise Poison(f"expected at most {MAX_WRITES} items in one record's transaction, got {len(writes)}")
    if (total := sum(write.size for write in writes)) > MAX_BYTES:
        raise Poison(f"expected at most {MAX_BYTES} bytes in one record's transaction, got about {total}")
    return tuple(writes)


def together(waiting: Iterable[Sequence[Write]]) -> list[int]:
    """Return which of the records that wait go into the next transaction: greedily, the first always.

    Each is of another lane. None touches an item that another of them touches; all keep within the limits.
    """
    chosen: list[int] = []
    taken: set[tuple[str, str]] = set()
    count = total = 0
    for index, writes in enumerate(waiting):
        targets = {write.target for write in writes}
        more = sum(write.size for write in writes)
        if taken & targets or count + len(writes) > MAX_WRITES or total + more > MAX_BYTES:
            continue
        chosen.append(index)
        taken |= targets
        count, total = count + len(writes), total + more
        if count == MAX_WRITES:
            break
    return chosen
