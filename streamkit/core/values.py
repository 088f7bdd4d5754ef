"""DynamoDB's attribute values as plain Python values, exactly.

The service writes a value as a JSON object that names its type: `{"S": "x"}`, `{"N": "1.5"}`, `{"M": {...}}`
(https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeValue.html). The types are checked while
the JSON is decoded; what is left to do in Python is to take the value out. Numbers become int where they are whole and
Decimal where they are not, never float: `1`, `1.0` and `1E0` are one number to DynamoDB and one value here.
"""

from __future__ import annotations

import re
from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation, Overflow, Subnormal
from typing import Final

import msgspec

from streamkit.signals import Undecodable

Plain = (
    str | int | Decimal | bytes | bool | None  # a scalar
    | list["Plain"] | dict[str, "Plain"]
    | set[str] | set[int | Decimal] | set[bytes]
)  # fmt: skip
"""What an attribute can be."""

MAX_DEPTH: Final = 40
"""Levels of maps and lists; DynamoDB takes 32."""
_MAX_NUMBER: Final = 200
"""Characters of a number; 38 digits between 1E-130 and 1E126 take 170 when they are written out."""
_FAST_DIGITS: Final = 18

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
_EXACT = Context(prec=38, Emin=-130, Emax=125, traps=[Inexact, InvalidOperation, Overflow, Subnormal])
"""What a DynamoDB number can be: anything else is refused rather than rounded."""


class Attribute(msgspec.Struct, gc=False, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One attribute value as it is written. One of the fields is set."""

    S: str | None = None
    N: str | None = None
    M: dict[str, Attribute] | None = None
    BOOL: bool | None = None
    L: list[Attribute] | None = None
    NULL: bool | None = None
    B: bytes | None = None
    SS: list[str] | None = None
    NS: list[str] | None = None
    BS: list[bytes] | None = None


class KeyAttribute(msgspec.Struct, gc=False, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The value of a key attribute: a string, a number or bytes."""

    S: str | None = None
    N: str | None = None
    B: bytes | None = None


Image = dict[str, Attribute]
Key = dict[str, KeyAttribute]

_sorted = msgspec.json.Encoder(order="sorted")


def plain(image: Image, depth: int = 0) -> dict[str, Plain]:
    """Return the attributes as plain values. Raises `Undecodable`."""
    return {
        name: text
        if (text := value.S) is not None
        else number(digits)
        if (digits := value.N) is not None
        else _other(value, depth)
        for name, value in image.items()
    }


def _other(value: Attribute, depth: int) -> Plain:  # noqa: PLR0911, C901 - one type, one line
    """Return what is no string."""
    if value.N is not None:
        return number(value.N)
    if value.BOOL is not None:
        return value.BOOL
    if value.NULL is not None:
        return None
    if depth >= MAX_DEPTH:
        raise Undecodable(f"expected an item of at most {MAX_DEPTH} levels, got more")
    if value.M is not None:
        return plain(value.M, depth + 1)
    if value.L is not None:
        return [text if (text := each.S) is not None else _other(each, depth + 1) for each in value.L]
    if value.B is not None:
        return value.B
    if value.SS is not None:
        return set(value.SS)
    if value.NS is not None:
        return set(map(number, value.NS))
    if value.BS is not None:
        return set(value.BS)
    raise Undecodable("expected an attribute value with its type, got one without")


def number(text: str) -> int | Decimal:
    """Return the number: int if it is whole, else Decimal. Raises `Undecodable` for what DynamoDB cannot hold."""
    if len(text) <= _FAST_DIGITS and text.isascii() and text.isdigit():
        return int(text)
    if len(text) > _MAX_NUMBER or not _NUMBER.fullmatch(text):
        raise Undecodable(f"expected a DynamoDB number, got {len(text)} characters of something else")
    try:
        exact = _EXACT.create_decimal(text).normalize(_EXACT)
    except DecimalException:
        raise Undecodable("expected a number of at most 38 digits between 1E-130 and 1E126, got another") from None
    return int(exact) if exact.as_tuple().exponent >= 0 else exact  # type: ignore[operator]  # it is finite


def plain_key(key: Key) -> dict[str, str | int | Decimal | bytes]:
    """Return the key attributes as plain values. Raises `Undecodable`."""
    return {name: _part(value) for name, value in key.items()}


def _part(value: KeyAttribute) -> str | int | Decimal | bytes:
    if value.S is not None:
        return value.S
    if value.N is not None:
        return number(value.N)
    if value.B is not None:
        return value.B
    raise Undecodable("expected a key attribute with its type, got one without")


def canonical(key: Key) -> str:
    """Return one string for one key, however it is written: DynamoDB's own JSON of it, in order of the names.

    Equal for equal keys only: numbers in one spelling, bytes in one base64. Raises `Undecodable`.
    """
    for name, value in key.items():
        if value.S is None:
            text = None if value.N is None else format(Decimal(number(value.N)), "f")
            if text is None and value.B is None:
                raise Undecodable("expected a key attribute with its type, got one without")
            key = {**key, name: KeyAttribute(N=text, B=value.B)}
    return _sorted.encode(key).decode()
