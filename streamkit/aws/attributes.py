"""Read one item of the checkpoint table attribute by attribute; nothing unexpected passes.

An attribute is a value with its type's letter, as in DynamoDB's API: {"S": "open"}, {"N": "7"}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from math import isfinite
from typing import Any, Literal, NoReturn, TypeVar

from streamkit.errors import ConfigurationError, CorruptRow

T = TypeVar("T")
Item = dict[str, Any]
Kind = Literal["S", "N", "B", "L", "BOOL"]

VERSION = 1
"""Of the layout of all rows; one of a later layout is refused."""
MAX_DIGITS = 18
"""Of a whole number in a row: none of them gets anywhere near."""
_WORDS = {"S": "a string", "N": "a number", "B": "binary", "L": "a list", "BOOL": "true or false"}


class Attributes:
    """One item of a table. Every method raises `CorruptRow` for what is not as it should be."""

    def __init__(self, table: str, item: Mapping[str, Any]) -> None:
        self._table = table
        self._item = item

    def __contains__(self, name: str) -> bool:
        return name in self._item

    def holds(self, name: str, kind: Kind) -> bool:
        """Say whether there is such an attribute of the given type."""
        return kind in self._item.get(name, {})

    def text(self, name: str) -> str:
        """Return a string."""
        return str(self._typed(name, "S"))

    def text_or_none(self, name: str) -> str | None:
        """Return a string, or None if there is no such attribute."""
        return self.text(name) if name in self else None

    def whole(self, name: str) -> int:
        """Return a whole number, not negative."""
        digits = self._typed(name, "N")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= MAX_DIGITS):
            self.refuse(name, "a whole number, not negative", digits)
        return int(digits)

    def real(self, name: str) -> float:
        """Return a number."""
        return self.read(name, "N", _finite, expected="a number")

    def real_or_none(self, name: str) -> float | None:
        """Return a number, or None if there is no such attribute."""
        return self.real(name) if name in self else None

    def binary(self, name: str) -> bytes:
        """Return bytes."""
        return bytes(self._typed(name, "B"))

    def truth(self, name: str) -> bool:
        """Return true or false."""
        return bool(self._typed(name, "BOOL"))

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of strings, empty if there is no such attribute."""
        if name not in self:
            return ()
        entries = self._typed(name, "L")
        if not all(isinstance(entry, dict) and entry.keys() == {"S"} for entry in entries):
            self.refuse(name, "a list of strings", entries)
        return tuple(entry["S"] for entry in entries)

    def read(self, name: str, kind: Kind, parse: Callable[[Any], T], *, expected: str) -> T:
        """Return what `parse` makes of the value; its `ValueError` is taken to mean that it is none."""
        value = self._typed(name, kind)
        try:
            return parse(value)
        except ValueError:
            self.refuse(name, expected, value)

    def refuse(self, name: str, expected: str, got: object) -> NoReturn:
        """Raise `CorruptRow` over one attribute."""
        key = "/".join(str(next(iter(self._item.get(part, {"S": "?"}).values()))) for part in ("pk", "sk"))
        raise CorruptRow(f"table {self._table}, row {key}, attribute {name}: expected {expected}, got {repr(got)[:80]}")

    def _typed(self, name: str, kind: Kind) -> Any:
        """Return the value of an attribute of the given type."""
        attribute = self._item.get(name)
        if attribute is None:
            self.refuse(name, _WORDS[kind], "nothing")
        if not (isinstance(attribute, dict) and attribute.keys() == {kind}):
            self.refuse(name, _WORDS[kind], attribute)
        return attribute[kind]


def of_this_version(table: str, item: Item) -> Attributes:
    """Open an item, if it is not of a later layout."""
    found = Attributes(table, item)
    version = found.whole("v")
    if version > VERSION:
        raise ConfigurationError(
            f"table {table}: expected rows of layout {VERSION}, got {version}: a newer streamkit wrote it"
        )
    if version != VERSION:
        found.refuse("v", str(VERSION), version)
    return found


def digest_of(text: str) -> str:
    """Return 64 hexadecimal digits that stand for a text."""
    return sha256(text.encode()).hexdigest()


def _finite(digits: str) -> float:
    value = float(digits)
    if not isfinite(value):
        raise ValueError(digits)
    return value
