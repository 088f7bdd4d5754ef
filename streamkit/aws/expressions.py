"""DynamoDB's update and condition expressions, built from plain items.

Every attribute is named by a placeholder, because many good names are reserved words there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from streamkit.aws.attributes import Item

MISSING_ROW = "attribute_not_exists(pk)"


class Expression(msgspec.Struct, frozen=True):
    """A piece of an expression and the placeholders it needs."""

    text: str
    names: dict[str, str]
    values: Item


def assign(item: Item, owned: Iterable[str]) -> Expression:
    """Set the owned attributes that are in `item`, remove the others; what is not owned stays as it is."""
    present = [name for name in owned if name in item]
    absent = [name for name in owned if name not in item]
    text = "SET " + ", ".join(f"#{name} = :{name}" for name in present)
    if absent:
        text += " REMOVE " + ", ".join(f"#{name}" for name in absent)
    return _expression(text, [*present, *absent], {f":{name}": item[name] for name in present})


def appended(update: Expression, name: str, entries: list[Any]) -> Expression:
    """Return an update that only sets, with these added to a list as well, which it makes if there is none."""
    return Expression(
        f"{update.text}, #{name} = list_append(if_not_exists(#{name}, :no_{name}), :more_{name})",
        {**update.names, f"#{name}": name},
        {**update.values, f":no_{name}": {"L": []}, f":more_{name}": {"L": entries}},
    )


def fill(item: Item) -> Expression:
    """Set each attribute that is not there yet: makes a row, or changes nothing."""
    text = "SET " + ", ".join(f"#{name} = if_not_exists(#{name}, :{name})" for name in item)
    return _expression(text, item, {f":{name}": value for name, value in item.items()})


def matches(item: Item, names: Iterable[str]) -> Expression:
    """Hold if each named attribute is as in `item`: equal, or missing in both."""
    names = list(names)
    tests = [f"#{name} = :was_{name}" if name in item else f"attribute_not_exists(#{name})" for name in names]
    return _expression(" AND ".join(tests), names, {f":was_{name}": item[name] for name in names if name in item})


def conditional(update: Expression, condition: Expression) -> dict[str, Any]:
    """Return the parameters of an update that is made on a condition, and shows the row where it is not."""
    return {
        **unconditional(update),
        "ConditionExpression": condition.text,
        "ExpressionAttributeNames": update.names | condition.names,
        "ExpressionAttributeValues": update.values | condition.values,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def unconditional(update: Expression) -> dict[str, Any]:
    """Return the parameters of an update that is made in any case."""
    return {
        "UpdateExpression": update.text,
        "ExpressionAttributeNames": update.names,
        "ExpressionAttributeValues": update.values,
    }


def _expression(text: str, names: Iterable[str], values: Item) -> Expression:
    return Expression(text, {f"#{name}": name for name in names}, values)
