"""The checkpoint table on DynamoDB: its identity, the rows of shards, the rows of workers.

A checkpoint is one request, a take is one, a heartbeat is one. Every write is sent exactly once: what a lost
answer means, the caller finds out (rules 1, 5).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

from streamkit.aws import rows
from streamkit.aws.attributes import Attributes, Item
from streamkit.aws.call import Call
from streamkit.aws.errors import ConditionFailed, Rejected
from streamkit.aws.expressions import (
    MISSING_ROW,
    Expression,
    appended,
    assign,
    conditional,
    fill,
    matches,
    unconditional,
)
from streamkit.aws.rows import MEMBER_ATTRIBUTES, Layout
from streamkit.aws.transaction import replacement, transact
from streamkit.core.leasing import Member, ShardRow
from streamkit.core.lineage import Stream
from streamkit.errors import Cancelled, DeclaredDead, Refused, Unregistered
from streamkit.ports import Registration

T = TypeVar("T")

AT_ONCE = 16
"""Requests under way when many rows are made, or many partitions read."""
MAX_PAGES = 10_000
"""Of one query: 1 MB each."""


class TableRegistry:
    """The table's own identity row: a `Registry`."""

    def __init__(self, call: Call, table: str) -> None:
        self._call = call
        self._table = table

    async def recorded(self) -> Registration | None:
        """Return what is recorded, if anything."""
        answer = await self._call("GetItem", TableName=self._table, Key=rows.META, ConsistentRead=True)
        return rows.registration_row(self._table, answer["Item"]) if answer.get("Item") else None

    async def register(self, wanted: Registration) -> Registration:
        """Record `wanted` unless there is a registration already; return what is recorded, durably."""
        item = {**rows.META, **rows.registration_item(wanted)}
        try:
            await self._call("PutItem", **_new_row(self._table, item))
        except ConditionFailed as refused:
            return rows.registration_row(self._table, refused.item or {})
        return wanted

    async def existing(self) -> Registration:
        """Return what is recorded. Raises `Unregistered` if nothing is."""
        found = await self.recorded()
        if found is None:
            raise Unregistered(
                f"expected a registration in table {self._table}, got none: no worker has started on it yet"
            )
        return found

    async def layout(self, stream: Stream) -> Layout:
        """Return where the rows of `stream` lie, by the number of buckets recorded."""
        return Layout.of(self._table, stream, buckets=(await self.existing()).buckets)


class TableLeases:
    """The rows of one stream's shards: `Leases`."""

    def __init__(self, call: Call, layout: Layout) -> None:
        self._call = call
        self._layout = layout

    async def rows(self) -> Sequence[ShardRow]:
        """Return every shard row, read consistently. Raises `CorruptRow`."""
        return [
            self._row(item) for item in await _items(self._call, self._layout.table, self._layout.shard_partitions())
        ]

    async def add(self, rows: Sequence[ShardRow]) -> None:
        """Make each row unless there is one of its id; returning means all exist."""
        await _each(self._make, rows)

    async def take(self, seen: ShardRow, wanted: ShardRow) -> ShardRow:
        """Seal and take: set owner, epoch and token if epoch and owner are still those of `seen`.

        Where `wanted` tells of a death more than `seen`, add it to those the row tells of. Return the whole row as it
        is from that moment. Raises `Refused`.
        """
        update = assign(rows.shard_item(wanted), ("owner", "epoch", "token"))
        if len(wanted.deaths) > len(seen.deaths):
            update = appended(update, "deaths", rows.shard_item(wanted)["deaths"]["L"][-1:])
        counted = Expression(
            f"{update.text} ADD #revision :one",
            {**update.names, "#revision": "revision"},
            {**update.values, ":one": {"N": "1"}},
        )
        condition = matches(rows.shard_item(seen), ("owner", "epoch"))
        try:
            answer = await self._call(
                "UpdateItem", **self._place(seen), **conditional(counted, condition), ReturnValues="ALL_NEW"
            )
        except ConditionFailed as refused:
            raise self._refused(refused.item) from None
        return self._row(answer["Attributes"])

    async def write(self, held: ShardRow, wanted: ShardRow, *, children: Sequence[ShardRow] = ()) -> None:
        """Replace `held` by `wanted` if owner, epoch and revision are still those of `held`.

        With `children`, make their rows where missing, in the same transaction. Raises `Refused`, and
        `ValueError` if later conditions could not tell `wanted` from `held`.
        """
        change = replacement(self._layout, held, wanted)
        births = [{**self._place(child), **unconditional(fill(rows.shard_item(child)))} for child in children]
        try:
            if births:  # only the row's own condition can cancel them (rule 12)
                operations = [{"Update": update} for update in (change, *births)]
                await transact(self._call, operations, token=wanted.token)
            else:
                await self._call("UpdateItem", **change)
        except ConditionFailed as refused:
            raise self._refused(refused.item) from None
        except Cancelled as cancelled:
            raise Rejected(str(cancelled)) from cancelled

    async def ask(self, seen: ShardRow, why: str) -> None:
        """Ask the owner of this epoch to drain and halt the shard. Raises `Refused` if that is not the owner."""
        asked = rows.asked_item(seen, why)
        condition = matches(rows.shard_item(seen), ("owner", "epoch"))
        try:
            await self._call("UpdateItem", **self._place(seen), **conditional(assign(asked, asked), condition))
        except ConditionFailed as refused:
            raise self._refused(refused.item) from None

    async def drop(self, ended: ShardRow) -> None:
        """Delete the row of an ended shard, if it is as it was seen; somebody else may have been first."""
        as_seen = matches(rows.shard_item(ended), ("state", "epoch", "revision"))
        condition = {
            "ConditionExpression": as_seen.text,
            "ExpressionAttributeNames": as_seen.names,
            "ExpressionAttributeValues": as_seen.values,
        }
        try:
            await self._call("DeleteItem", **self._place(ended), **condition)
        except ConditionFailed:
            return

    async def _make(self, row: ShardRow) -> None:
        """Make one row, unless it is there."""
        item = {**self._layout.shard_key(row.id), **rows.shard_item(row)}
        try:
            await self._call("PutItem", **_new_row(self._layout.table, item))
        except ConditionFailed:
            return  # it is there

    def _place(self, row: ShardRow) -> dict[str, Any]:
        return {"TableName": self._layout.table, "Key": self._layout.shard_key(row.id)}

    def _row(self, item: Item) -> ShardRow:
        return rows.shard_row(self._layout.table, item)

    def _refused(self, item: Item | None) -> Refused:
        return Refused(self._row(item) if item else None)


class TableMembers:
    """The heartbeat rows of workers: `Members`."""

    def __init__(self, call: Call, layout: Layout) -> None:
        self._call = call
        self._layout = layout

    async def members(self) -> Sequence[Member]:
        """Return every worker row, dead and left ones included, read consistently."""
        table = self._layout.table
        items = await _items(self._call, table, self._layout.worker_partitions())
        return [rows.member_row(table, item) for item in items]

    async def join(self, member: Member) -> None:
        """Make the row of a new incarnation; returning means it is there. Raises `DeclaredDead`."""
        item = {**self._layout.worker_key(member.worker), **rows.member_item(member)}
        try:
            await self._call("PutItem", **_new_row(self._layout.table, item))
        except ConditionFailed as refused:
            if self._state(refused.item) != "alive":  # else an earlier join's answer was lost
                raise self._declared_dead(member, refused.item) from None

    async def beat(self, member: Member) -> None:
        """Replace the row, if it exists and is neither dead nor left. Raises `DeclaredDead` otherwise."""
        item = rows.member_item(member)
        try:
            await self._update(member, assign(item, MEMBER_ATTRIBUTES), {"state": {"S": "alive"}})
        except ConditionFailed as refused:
            raise self._declared_dead(member, refused.item) from None

    async def bury(self, seen: Member) -> bool:
        """Declare the member dead if its counter is still the one seen. Return whether it is dead now."""
        condition = {"state": {"S": "alive"}, "counter": {"N": str(seen.counter)}}
        try:
            await self._update(seen, assign({"state": {"S": "dead"}}, ("state",)), condition)
        except ConditionFailed as refused:
            return self._state(refused.item) == "dead"
        return True

    async def forget(self, seen: Member) -> None:
        """Remove the row if it is as seen and not alive. Raises `ValueError` for one seen alive."""
        if seen.state == "alive":
            raise ValueError(f"expected a member that died or left, got {seen}")
        was = {"state": {"S": seen.state}, "counter": {"N": str(seen.counter)}}
        place = {"TableName": self._layout.table, "Key": self._layout.worker_key(seen.worker)}
        condition = matches(was, was)
        try:
            await self._call(
                "DeleteItem",
                **place,
                ConditionExpression=condition.text,
                ExpressionAttributeNames=condition.names,
                ExpressionAttributeValues=condition.values,
            )
        except ConditionFailed:
            return  # somebody else has removed it

    async def _update(self, member: Member, update: Expression, was: Item) -> None:
        """Update a row if it is there and the given attributes are as they were."""
        place = {"TableName": self._layout.table, "Key": self._layout.worker_key(member.worker)}
        await self._call("UpdateItem", **place, **conditional(update, matches(was, was)))

    def _state(self, item: Item | None) -> str:
        """Return the state in a row that did not meet a condition."""
        return Attributes(self._layout.table, item).text("state") if item else "gone"

    def _declared_dead(self, member: Member, item: Item | None) -> DeclaredDead:
        return DeclaredDead(f"the heartbeat row of {member.worker} is {self._state(item)}")


def _new_row(table: str, item: Item) -> dict[str, Any]:
    """Return the parameters that put an item where there is none."""
    return {
        "TableName": table,
        "Item": item,
        "ConditionExpression": MISSING_ROW,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


async def _items(call: Call, table: str, partitions: Sequence[str]) -> list[Item]:
    """Read whole partitions, consistently, some of them at once; return their items in order."""
    found: dict[str, list[Item]] = {}

    async def read(partition: str) -> None:
        found[partition] = [item async for item in _partition(call, table, partition)]

    await _each(read, partitions)
    return [item for partition in partitions for item in found[partition]]


async def _partition(call: Call, table: str, partition: str) -> AsyncIterator[Item]:
    """Read a partition page by page."""
    start: dict[str, Any] = {}
    for _ in range(MAX_PAGES):
        answer = await call(
            "Query",
            TableName=table,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": partition}},
            ConsistentRead=True,
            **start,
        )
        for item in answer["Items"]:
            yield item
        if not answer.get("LastEvaluatedKey"):
            return
        start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}
    raise Rejected(f"expected at most {MAX_PAGES} pages of {partition} in table {table}, got more")


async def _each(request: Callable[[T], Awaitable[None]], subjects: Sequence[T]) -> None:
    """Make a request for each, `AT_ONCE` at a time. Raises what the first failure was."""
    waiting = iter(subjects)

    async def some() -> None:
        for subject in waiting:
            await request(subject)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(AT_ONCE, len(subjects))):
                group.create_task(some())
    except ExceptionGroup as failed:
        first = failed.exceptions[0]
        raise first from first.__cause__
