"""TransactWriteItems for moto, at a cost that depends on the transaction alone.

moto copies every table that a transaction touches and puts the copy back when it fails: slow, and whatever others
wrote in between is gone. Here all conditions are judged first; then the writes are applied, and if one of them
cannot be (a type that does not fit, an item too large), the items written so far are put back one by one. Nobody
sees the time in between, because all DynamoDB calls run on one thread.

Source of the rules: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
"""

from __future__ import annotations

import copy
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, cast

if TYPE_CHECKING:
    from moto.dynamodb.models import DynamoDBBackend
    from moto.dynamodb.models.dynamo_type import DynamoType, Item
    from moto.dynamodb.models.table import Table

Json = Mapping[str, Any]
Reason = tuple[str | None, str | None, Json | None]
"""Why an operation cancels the transaction: code, message, and the item as it is if that was asked for."""

_MOST_OPERATIONS = 100
_FINE: Reason = (None, None, None)


class _Operation(NamedTuple):
    """One write of a transaction, and the item it is about."""

    kind: str
    body: Json
    table: Table
    key: Json
    hash_value: DynamoType
    range_value: DynamoType | None

    @property
    def current(self) -> Item | None:
        return self.table.get_item(self.hash_value, self.range_value)

    @property
    def condition(self) -> dict[str, Any]:
        names = ("ConditionExpression", "ExpressionAttributeNames", "ExpressionAttributeValues")
        keys = ("condition_expression", "expression_attribute_names", "expression_attribute_values")
        return {key: self.body.get(name) for key, name in zip(keys, names, strict=True)}


def transact_write_items(backend: DynamoDBBackend, transact_items: Sequence[Json]) -> None:
    """Apply all operations or none. Raises moto's exceptions, as its own method of this name does."""
    from moto.dynamodb.exceptions import (
        MultipleTransactionsException,
        TooManyTransactionsException,
        TransactionCanceledException,
    )

    if len(transact_items) > _MOST_OPERATIONS:
        raise TooManyTransactionsException
    operations = [_resolve(backend, item) for item in transact_items]
    touched = {(id(op.table), op.hash_value, op.range_value) for op in operations}
    if len(touched) < len(operations):
        raise MultipleTransactionsException
    reasons = [_judge(op) for op in operations]
    if reasons == [_FINE] * len(operations):
        reasons = _apply_all(backend, operations)
    if reasons != [_FINE] * len(operations):
        raise TransactionCanceledException(reasons)


@contextmanager
def installed() -> Generator[None]:
    """Let moto use this `transact_write_items` instead of its own."""
    from moto.dynamodb.models import DynamoDBBackend

    original = DynamoDBBackend.transact_write_items
    DynamoDBBackend.transact_write_items = transact_write_items  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        DynamoDBBackend.transact_write_items = original  # type: ignore[method-assign]


def _resolve(backend: DynamoDBBackend, item: Json) -> _Operation:
    """Find table and key of an operation. Raises ValidationException, ResourceNotFoundException."""
    from moto.dynamodb.exceptions import MockValidationException, TransactWriteSingleOpException

    if len(item) != 1:
        raise TransactWriteSingleOpException
    kind, body = next(iter(item.items()))
    table = backend.get_table(body["TableName"])
    attributes = body["Item"] if kind == "Put" else body["Key"]
    names = [name for name in (table.hash_key_attr, table.range_key_attr) if name]
    if not all(name in attributes for name in names) or (kind != "Put" and len(attributes) != len(names)):
        raise MockValidationException("The provided key element does not match the schema")
    key = {name: attributes[name] for name in names}
    return _Operation(kind, body, table, key, *backend.get_keys_value(table, key))


def _judge(op: _Operation) -> Reason:
    """Return why the operation's condition does not hold, if it does not."""
    from moto.dynamodb.comparisons import get_filter_expression
    from moto.dynamodb.exceptions import ConditionalCheckFailed

    current = op.current
    if get_filter_expression(*op.condition.values()).expr(current):
        return _FINE
    wanted = op.body.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
    shown = current.to_json()["Attributes"] if wanted and current else None
    return "ConditionalCheckFailed", ConditionalCheckFailed().message, shown


def _apply_all(backend: DynamoDBBackend, operations: Sequence[_Operation]) -> list[Reason]:
    """Apply the operations; if one fails, undo those before it and say which one it was."""
    from moto.dynamodb.exceptions import MockValidationException

    before = [(op, copy.deepcopy(op.current), _stream_length(op.table)) for op in operations]
    for index, op in enumerate(operations):
        try:
            _apply(backend, op)
        except MockValidationException as wrong:
            for undone in reversed(before[: index + 1]):
                _restore(*undone)
            failed: Reason = ("ValidationError", wrong.message, None)
            return [failed if at == index else _FINE for at in range(len(operations))]
    return [_FINE] * len(operations)


def _apply(backend: DynamoDBBackend, op: _Operation) -> None:
    table = op.table.name
    if op.kind == "Put":
        backend.put_item(table, op.body["Item"], **op.condition)
    elif op.kind == "Delete":
        backend.delete_item(table, dict(op.key), **op.condition)
    elif op.kind == "Update":
        backend.update_item(table, dict(op.key), op.body["UpdateExpression"], **op.condition)


def _restore(op: _Operation, item: Item | None, stream_length: int) -> None:
    """Put an item back as it was, and take its change out of the table's stream."""
    table: dict[Any, Any] = cast("Any", op.table).items  # by hash key, or by hash key and then range key
    items = table if op.range_value is None else table[op.hash_value]
    key = op.hash_value if op.range_value is None else op.range_value
    if item is None:
        items.pop(key, None)
    else:
        items[key] = item
    if op.table.stream_shard is not None:
        del op.table.stream_shard.items[stream_length:]


def _stream_length(table: Table) -> int:
    return len(table.stream_shard.items) if table.stream_shard is not None else 0
