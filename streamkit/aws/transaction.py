"""Transactions: their requests, what their end means; and the consumer's own tables, which they are about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from streamkit.aws import rows
from streamkit.aws.backoff import Backoff, persist
from streamkit.aws.errors import Busy, ConditionFailed, Rejected, TransactionCancelled
from streamkit.aws.expressions import assign, conditional, matches
from streamkit.aws.rows import SHARD_ATTRIBUTES
from streamkit.core.values import Image
from streamkit.errors import Cancelled, Refused, Throttled, WorldError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from streamkit.aws.attributes import Item
    from streamkit.aws.call import Call
    from streamkit.aws.rows import Layout
    from streamkit.core.leasing import ShardRow
    from streamkit.core.transactions import Write
    from streamkit.ports import Chance

MAX_TOKEN = 36
"""Characters of a transaction's idempotency token, which DynamoDB honours for ten minutes."""
_BLAMELESS = frozenset({"None", "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})
_KINDS = {"put": "Put", "update": "Update", "delete": "Delete", "check": "ConditionCheck"}
_TRIES = 5


async def transact(call: Call, operations: Sequence[dict[str, Any]], *, token: str) -> None:
    """Make one transaction. The first operation is that of the shard's row; the others are of others.

    Raises `ConditionFailed` for the first one's condition, which outweighs all others; `Cancelled` for another's fault;
    `Throttled` if something else was in the way; `Rejected` if nobody is named.
    """
    named = {"ClientRequestToken": token} if 0 < len(token) <= MAX_TOKEN else {}
    try:
        await call("TransactWriteItems", TransactItems=list(operations), **named)
    except TransactionCancelled as cancelled:
        raise _why(cancelled) from cancelled


def replacement(layout: Layout, held: ShardRow, wanted: ShardRow) -> dict[str, Any]:
    """Return the update of a shard's row, if owner, epoch and revision are still those held.

    Raises `ValueError` if later conditions could not tell `wanted` from `held`.
    """
    if (wanted.id, wanted.revision) != (held.id, held.revision + 1):
        expected = f"{held.id} with revision {held.revision + 1}"
        raise ValueError(f"expected {expected}, got {wanted.id} with revision {wanted.revision}")
    update = assign(rows.shard_item(wanted), SHARD_ATTRIBUTES)
    condition = matches(rows.shard_item(held), ("owner", "epoch", "revision"))
    place = {"TableName": layout.table, "Key": layout.shard_key(held.id)}
    return {**place, **conditional(update, condition)}


def operation(write: Write) -> dict[str, Any]:
    """Return one write as DynamoDB's request has it."""
    stated = write.condition
    body: dict[str, Any] = {"TableName": write.table}
    body |= {"Item": wire(write.item)} if write.kind == "put" else {"Key": wire(write.key)}
    if write.update:
        body["UpdateExpression"] = write.update
    if stated.text:
        body["ConditionExpression"] = stated.text
    if stated.names:
        body["ExpressionAttributeNames"] = dict(stated.names)
    if stated.values:
        body["ExpressionAttributeValues"] = wire(stated.values)
    return {_KINDS[write.kind]: body}


def wire(image: Image) -> Item:
    """Return attributes as the SDK takes them."""
    found: Item = msgspec.to_builtins(image, builtin_types=(bytes,))
    return found


def _why(cancelled: TransactionCancelled) -> WorldError | Cancelled:
    """Return what the end of a transaction means."""
    codes = [reason.code for reason in cancelled.reasons]
    if codes and codes[0] == "ConditionalCheckFailed":
        return ConditionFailed(cancelled.reasons[0].item)
    causes = {place: code for place, code in enumerate(codes[1:]) if code not in _BLAMELESS}
    if causes:
        return Cancelled(causes, str(cancelled))
    if "TransactionConflict" in codes:
        return Busy(str(cancelled))
    if {"ThrottlingError", "ProvisionedThroughputExceeded"} & set(codes):
        return Throttled(str(cancelled))
    return Rejected(str(cancelled))


class DynamoDBTables:
    """The consumer's own tables: `Transactions`."""

    def __init__(self, call: Call, layout: Layout, *, chance: Chance) -> None:
        """`layout` says where the rows of shards lie."""
        self._call = call
        self._layout = layout
        self._chance = chance
        self._keys: dict[str, tuple[str, ...]] = {}

    async def commit(self, held: ShardRow, wanted: ShardRow, writes: Sequence[Write]) -> None:
        """Replace the row of a shard and make the writes, in one transaction. Raises `Refused`, `Cancelled`."""
        operations = [{"Update": replacement(self._layout, held, wanted)}, *map(operation, writes)]
        try:
            await transact(self._call, operations, token=wanted.token)
        except ConditionFailed as refused:
            raise Refused(rows.shard_row(self._layout.table, refused.item) if refused.item else None) from None

    async def read(self, table: str, key: Image, attributes: Collection[str] | None) -> Image | None:
        """Return an item, or its key and these attributes of it, read consistently; None if there is none."""
        answer = await self._ask(
            "GetItem", TableName=table, Key=wire(key), ConsistentRead=True, **_only(key, attributes)
        )
        item = answer.get("Item")
        return None if item is None else msgspec.convert(item, Image)

    async def key_names(self, table: str) -> Sequence[str]:
        """Return the names of the attributes that make the table's key. A table keeps them for its life."""
        if table not in self._keys:
            answer = await self._ask("DescribeTable", TableName=table)
            self._keys[table] = tuple(each["AttributeName"] for each in answer["Table"]["KeySchema"])
        return self._keys[table]

    async def _ask(self, what: str, **parameters: object) -> Mapping[str, Any]:
        backoff = Backoff(base_seconds=0.05, limit_seconds=1.0, tries=_TRIES)
        return await persist(lambda: self._call(what, **parameters), backoff=backoff, chance=self._chance)


def _only(key: Image, names: Collection[str] | None) -> dict[str, Any]:
    """Return the parameters that read the key and these attributes; none to read all."""
    if names is None:
        return {}
    places = {f"#a{index}": name for index, name in enumerate(dict.fromkeys([*key, *names]))}
    return {"ProjectionExpression": ", ".join(places), "ExpressionAttributeNames": places}
