"""What a handler of `mode="transactional"` is given: it collects the record's writes, and remembers what was read."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from msgspec.structs import replace

from streamkit.core import attributes
from streamkit.core.transactions import Expression, Write, as_read, fitting
from streamkit.core.values import plain
from streamkit.engine.handling import expect_nothing
from streamkit.errors import Throttled, Unanswered
from streamkit.signals import WorldDown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Generator, Mapping

    from streamkit.core.records import Record
    from streamkit.core.transactions import Kind
    from streamkit.core.values import Image, Plain
    from streamkit.ports import Tables


class Transaction:
    """What one record changes in DynamoDB: committed with its shard's checkpoint, all of it or nothing.

    Nothing is sent before the handler has returned; if it raises, nothing is sent at all. Conditions and updates are
    DynamoDB's expressions, `names` and `values` what their placeholders stand for. One write an item; a record may
    touch 99 items, and 4 MB. Numbers are int or Decimal.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._writes: list[Write] = []
        self._puts: list[int] = []
        """Which of the writes are puts, whose keys are not known yet."""
        self._reads: dict[tuple[str, str], Write] = {}
        self._open = True

    def put(
        self,
        table: str,
        item: Mapping[str, object],
        *,
        condition: str = "",
        names: Mapping[str, str] | None = None,
        values: Mapping[str, object] | None = None,
    ) -> None:
        """Put a whole item in place of whatever is there."""
        self._puts.append(len(self._writes))
        write = _write("put", table, {}, condition, names, values)
        self._add(replace(write, item=attributes.image(item)))

    def update(
        self,
        table: str,
        key: Mapping[str, object],
        update: str,
        *,
        condition: str = "",
        names: Mapping[str, str] | None = None,
        values: Mapping[str, object] | None = None,
    ) -> None:
        """Change an item, or make one: `tx.update("stats", {"route": "a"}, "ADD flights :one", values={":one": 1})`."""
        write = _write("update", table, key, condition, names, values)
        self._add(replace(write, update=_text(update, "an update")))

    def delete(
        self,
        table: str,
        key: Mapping[str, object],
        *,
        condition: str = "",
        names: Mapping[str, str] | None = None,
        values: Mapping[str, object] | None = None,
    ) -> None:
        """Delete an item, if there is one."""
        self._add(_write("delete", table, key, condition, names, values))

    def check(
        self,
        table: str,
        key: Mapping[str, object],
        condition: str,
        *,
        names: Mapping[str, str] | None = None,
        values: Mapping[str, object] | None = None,
    ) -> None:
        """Change nothing, on a condition all the same."""
        self._add(_write("check", table, key, condition, names, values))

    async def get(
        self, table: str, key: Mapping[str, object], *, attributes: Collection[str] | None = None
    ) -> dict[str, Plain] | None:
        """Return an item as it is, or None; what was read becomes a condition of the transaction.

        Without `attributes` everything the item has is read, and must not change; an attribute that somebody adds is
        not noticed. With them only these are read, and only these must stay as they are, present or missing. A record
        whose reads have changed by the time of its commit is handled anew. What the record itself writes is not seen.
        """
        self._expect_open()
        table, place = _text(table, "a table's name"), _image(key)
        wanted = None if attributes is None else [_text(name, "an attribute's name") for name in attributes]
        with _answering(table):
            found = await self._tables.read(table, place, wanted)
        held = as_read(place, found, wanted, number=len(self._reads))
        check = Write("check", table, place, condition=held)
        earlier = self._reads.get(check.target)
        self._reads[check.target] = (
            check if earlier is None else replace(check, condition=earlier.condition & check.condition)
        )
        return None if found is None else plain(found)

    async def collected(self) -> tuple[Write, ...]:
        """Return everything that has to be so, and be done, at the commit; nothing can be added any more.

        Raises `Poison` for what no transaction can hold, `ValueError` for two writes of one item, `WorldDown` where a
        table that is put into does not answer.
        """
        self._open = False
        for index in self._puts:
            write = self._writes[index]
            with _answering(write.table):
                names = await self._tables.key_names(write.table)
            self._writes[index] = replace(write, key=_key_of(write, names))
        reads = dict(self._reads)
        writes = [_after(write, reads.pop(write.target, None)) for write in self._writes]
        return fitting([*writes, *reads.values()])

    def _add(self, write: Write) -> None:
        self._expect_open()
        self._writes.append(write)

    def _expect_open(self) -> None:
        if not self._open:
            msg = "expected no use of a transaction after its handler has returned, got one"
            raise RuntimeError(msg)

    def __repr__(self) -> str:
        return f"<Transaction of {len(self._writes)} writes and {len(self._reads)} reads>"


async def writes_of(call: Callable[..., Awaitable[object]], record: Record, tables: Tables) -> tuple[Write, ...]:
    """Run a handler in a transaction of the record's own; return what it wants written. Raises what the handler raises.

    See `Transaction.collected` for what else.
    """
    tx = Transaction(tables)
    expect_nothing(await call(record, tx=tx))
    return await tx.collected()


@contextmanager
def _answering(table: str) -> Generator[None]:
    """That a table does not answer is never held against the record (rule 19)."""
    try:
        yield
    except (Throttled, Unanswered) as error:
        reason = f"reading table {table}: {type(error).__name__}"
        raise WorldDown(reason) from error


def _write(
    kind: Kind,
    table: str,
    key: Mapping[str, object],
    condition: str,
    names: Mapping[str, str] | None,
    values: Mapping[str, object] | None,
) -> Write:
    places = {
        _text(place, "a placeholder"): _text(name, "an attribute's name") for place, name in (names or {}).items()
    }
    stated = Expression(_text(condition, "a condition"), places, attributes.image(values or {}))
    place = _image(key) if kind != "put" else {}
    return Write(kind, _text(table, "a table's name"), place, condition=stated, asked=bool(condition))


def _text(value: object, what: str) -> str:
    """Return a str, also of what is one and more: a member of an enumeration of texts, say. Raises `TypeError`."""
    if not isinstance(value, str):
        raise TypeError(f"expected {what} as a str, got {type(value).__name__}")
    return str.__str__(value)


def _image(key: Mapping[str, object]) -> Image:
    if not key:
        msg = "expected the key of an item, got nothing"
        raise ValueError(msg)
    return attributes.image(key)


def _key_of(write: Write, names: Collection[str]) -> Image:
    missing = [name for name in names if name not in write.item]
    if missing:
        raise ValueError(f"expected an item of table {write.table} with {missing}, its key, got one without")
    return {name: write.item[name] for name in names}


def _after(write: Write, read: Write | None) -> Write:
    """Return the write on the condition, too, that its item is as it was read."""
    if read is None:
        return write
    both = write.condition & read.condition
    names = {**write.condition.names, **read.condition.names}
    return replace(write, condition=Expression(both.text, names, write.condition.values | read.condition.values))
