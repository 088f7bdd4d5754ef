"""The registration of a replay, in the consumer's own table: a `Replays`."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from msgspec.structs import replace

from streamkit.aws import rows, schema
from streamkit.aws.clients import Aws
from streamkit.aws.desk import PATIENT
from streamkit.aws.errors import ConditionFailed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from streamkit.aws.call import Call
    from streamkit.ports import Registration

_KEEP_SECONDS = 30 * 86400
"""How long a finished replay is remembered: the same command then begins another."""


class TableReplays:
    """Replays of one consumer, each by its id."""

    def __init__(self, call: Call, table: str) -> None:
        self._call = call
        self._table = table

    async def recorded(self, replay: str) -> Registration | None:
        """Return what is recorded, if anything, read consistently. Raises `CorruptRow`, `ConfigurationError`."""
        answer = await self._call("GetItem", TableName=self._table, Key=rows.replay_key(replay), ConsistentRead=True)
        return rows.registration_row(self._table, answer["Item"]) if answer.get("Item") else None

    async def begin(self, wanted: Registration, *, instead: Registration | None = None) -> Registration:
        """Record a replay where there is none, or `instead` of one as it was seen; return what is recorded, durably."""
        assert wanted.replay is not None  # noqa: S101 - a registration of a replay
        condition = {"ConditionExpression": "attribute_not_exists(pk)"}
        if instead is not None:
            condition = {"ConditionExpression": "replay = :seen"}
            seen = rows.registration_item(instead)["replay"]
            condition |= {"ExpressionAttributeValues": {":seen": seen}}  # type: ignore[dict-item]  # as the SDK has it
        item = {**rows.replay_key(wanted.replay.id), **rows.registration_item(wanted)}
        try:
            await self._call("PutItem", TableName=self._table, Item=item, **condition)
        except ConditionFailed:
            found = await self.recorded(wanted.replay.id)
            return found or await self.begin(wanted)
        return wanted

    async def finish(self, registration: Registration, *, now: float) -> Registration:
        """Note that a replay is over; returning means it is durable, for as long as anybody may ask again."""
        assert registration.replay is not None  # noqa: S101 - a registration of a replay
        done = replace(registration, replay=replace(registration.replay, finished=now))
        item = {**rows.replay_key(registration.replay.id), **rows.registration_item(done)}
        expires = {schema.EXPIRES: {"N": str(int(now) + _KEEP_SECONDS)}}
        await self._call("PutItem", TableName=self._table, Item={**item, **expires})
        return done


@asynccontextmanager
async def replays(table: str) -> AsyncGenerator[TableReplays]:
    """Open the replays of a checkpoint table."""
    async with Aws(settings=PATIENT, report=lambda _: None) as aws:
        yield TableReplays(await aws.call("dynamodb"), table)
