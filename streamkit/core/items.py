"""Tables in memory, as transactions change them: for tests of consumers, here and by whoever writes one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.core import attributes, expressions
from streamkit.core.values import plain

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from streamkit.core.transactions import Write
    from streamkit.core.values import Image, Plain

CONDITION = "ConditionalCheckFailed"
INVALID = "ValidationError"


class Items:
    """Items by table and key. A table is there once its key is known: named, or met in an operation that has one."""

    def __init__(self, keys: Mapping[str, Sequence[str]] | None = None) -> None:
        """`keys` names the key attributes of tables: needed where items are put before any is read or changed."""
        self._keys = {table: tuple(names) for table, names in (keys or {}).items()}
        self._tables: dict[str, dict[str, Image]] = {}

    def __repr__(self) -> str:
        return f"<Items of {sorted(self._tables)}>"

    def __getitem__(self, table: str) -> list[dict[str, Plain]]:
        """Return all items of a table as plain values, in no order that matters."""
        return [plain(item) for item in self._tables.get(table, {}).values()]

    def seed(self, table: str, *items: Mapping[str, object]) -> None:
        """Put items in. Raises `ValueError` where the table's key is not known."""
        for item in items:
            whole = attributes.image(item)
            key = {name: whole[name] for name in self.key_names(table)}
            self._tables.setdefault(table, {})[attributes.canonical(key)] = whole

    def key_names(self, table: str) -> Sequence[str]:
        """Return the names of a table's key attributes. Raises `ValueError` where they are not known."""
        if table not in self._keys:
            raise ValueError(f"expected the key of table {table!r} to be known, got none: Items({{{table!r}: ['id']}})")
        return self._keys[table]

    def read(self, table: str, key: Image, names: Collection[str] | None) -> Image | None:
        """Return an item, or its key and these attributes of it."""
        self._keys.setdefault(table, tuple(key))
        found = self._tables.get(table, {}).get(attributes.canonical(key))
        if found is None or names is None:
            return found
        return {name: value for name, value in found.items() if name in names or name in key}

    def objections(self, writes: Iterable[Write]) -> dict[int, str]:
        """Return why writes cannot take effect, by their place; nothing if all can."""
        found = ((place, self._objection(write)) for place, write in enumerate(writes))
        return {place: why for place, why in found if why is not None}

    def apply(self, writes: Iterable[Write]) -> None:
        """Let writes take effect that nothing speaks against."""
        for write in writes:
            self._keys.setdefault(write.table, tuple(write.key))
            table, place = self._tables.setdefault(write.table, {}), attributes.canonical(write.key)
            after = self._after(write)
            if after is None:
                table.pop(place, None)
            else:
                table[place] = after

    def _objection(self, write: Write) -> str | None:
        stated, item = write.condition, self.read(write.table, write.key, None) or {}
        try:
            if not expressions.holds(stated.text, item, names=stated.names, values=stated.values):
                return CONDITION
            self._after(write)
        except expressions.ExpressionError as wrong:
            return f"{INVALID}: {wrong}"
        return None

    def _after(self, write: Write) -> Image | None:
        """Return the item as the write leaves it, None if it leaves none."""
        before = self.read(write.table, write.key, None)
        match write.kind:
            case "put":
                return write.item
            case "update":
                names, values = write.condition.names, write.condition.values
                return expressions.updated(write.update, before or write.key, names=names, values=values)
            case "delete":
                return None
            case "check":
                return before
