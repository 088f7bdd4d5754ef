"""Plain values as DynamoDB writes them: what `core.values` reads."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import Any, cast

Json = Mapping[str, Any]


def tagged(value: object) -> dict[str, Any]:  # noqa: PLR0911 - one type, one line
    """Return one value with its type. Raises `TypeError` for what no attribute can be, a float included."""
    match value:
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case str():
            return {"S": value}
        case int() | Decimal():
            return {"N": format(value, "f") if isinstance(value, Decimal) else str(value)}
        case bytes():
            return {"B": b64encode(value).decode()}
        case Mapping():
            return {"M": item(cast("Mapping[object, object]", value))}
        case list() | tuple():
            return {"L": [tagged(each) for each in cast("Sequence[object]", value)]}
        case AbstractSet() if value:
            return _set(cast("AbstractSet[object]", value))
        case _:
            raise TypeError(f"expected what an attribute of DynamoDB can be, got {type(value).__name__}")


def item(attributes: Mapping[Any, object]) -> dict[str, Any]:
    """Return an item, or its key, as DynamoDB writes it."""
    return {str(name): tagged(value) for name, value in attributes.items()}


def _set(values: AbstractSet[object]) -> dict[str, Any]:
    parts = [tagged(each) for each in values]
    [kind, *others] = {kind for part in parts for kind in part}
    if others or kind not in ("S", "N", "B"):
        raise TypeError("expected a set of strings, of numbers or of bytes, got another one")
    return {f"{kind}S": sorted(part[kind] for part in parts)}
