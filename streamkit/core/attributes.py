"""Plain Python values as DynamoDB's attribute values, exactly: the way there, as `core.values` is the way back.

One spelling for one value, so that what is equal to DynamoDB is equal here: numbers are normalized, sets are sorted.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import TYPE_CHECKING, cast

import msgspec

from streamkit.core.values import MAX_DEPTH, Attribute, number
from streamkit.signals import Undecodable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamkit.core.values import Image

_ENTRY_BYTES = 3
"""What DynamoDB counts for a list or map, and about what it counts for each entry."""
_encoder = msgspec.json.Encoder(order="sorted")


def image(item: Mapping[str, object]) -> Image:
    """Return the attributes of an item. Raises `TypeError`, `ValueError` for what DynamoDB cannot hold."""
    return {_name(name): attribute(value) for name, value in item.items()}


def attribute(value: object, depth: int = 0) -> Attribute:  # noqa: PLR0911 - one type, one line
    """Return one value. Raises `TypeError`, `ValueError` for what DynamoDB cannot hold."""
    if depth > MAX_DEPTH:
        raise ValueError(f"expected an item of at most {MAX_DEPTH} levels, got more")
    match value:
        case str():
            return Attribute(S=str.__str__(value))  # also of what is a str and more, such as a member of an enumeration
        case bool():
            return Attribute(BOOL=value)
        case int() | Decimal():
            return Attribute(N=spelled(value))
        case None:
            return Attribute(NULL=True)
        case bytes() | bytearray():
            return Attribute(B=bytes(value))
        case Mapping():
            entries = cast("Mapping[str, object]", value)
            return Attribute(M={_name(name): attribute(each, depth + 1) for name, each in entries.items()})
        case list() | tuple():
            return Attribute(L=[attribute(each, depth + 1) for each in cast("Sequence[object]", value)])
        case AbstractSet():
            return _set(cast("AbstractSet[object]", value))
        case _:
            expected = "a str, bytes, int, Decimal, bool, None, list, dict, or set of str, bytes or numbers"
            raise TypeError(f"expected {expected}, got {type(value).__name__}")


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"expected a str as the name of an attribute, got {type(name).__name__}")
    return str.__str__(name)


def spelled(value: int | Decimal) -> str:
    """Return a number in its one spelling. Raises `ValueError` for what DynamoDB cannot hold."""
    try:
        return str(number(str(value)))
    except Undecodable as refused:
        raise ValueError(refused.reason) from None


def canonical(key: Image) -> str:
    """Return one string for one key."""
    return _encoder.encode(key).decode()


def size(item: Image) -> int:
    """Return about how many bytes DynamoDB counts for an item, and never fewer."""
    return sum(len(name.encode()) + _size(value) for name, value in item.items())


def _size(value: Attribute) -> int:
    if value.L is not None:
        return _ENTRY_BYTES + sum(_ENTRY_BYTES + _size(each) for each in value.L)
    if value.M is not None:
        return _ENTRY_BYTES + size(value.M) + _ENTRY_BYTES * len(value.M)
    if value.B is not None:
        return len(value.B)
    if value.BS is not None:
        return sum(map(len, value.BS))
    texts = [value.S or "", value.N or "", *(value.SS or ()), *(value.NS or ())]
    return 1 + sum(len(text.encode()) for text in texts)


def _set(members: AbstractSet[object]) -> Attribute:
    kinds = {bool if isinstance(each, bool) else int if isinstance(each, Decimal) else type(each) for each in members}
    match sorted(kind.__name__ for kind in kinds):
        case ["str"]:
            return Attribute(SS=sorted(cast("AbstractSet[str]", members)))
        case ["bytes"]:
            return Attribute(BS=sorted(cast("AbstractSet[bytes]", members)))
        case ["int"]:
            return Attribute(NS=[spelled(each) for each in sorted(cast("AbstractSet[int]", members))])
        case got:
            raise TypeError(f"expected a set of str, of bytes or of numbers, got one of {got or 'nothing'}")
