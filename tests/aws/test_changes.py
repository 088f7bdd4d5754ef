"""The changes of tables on the embedded endpoint: the contract, by the SDK, and what moto would have made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from boto3.dynamodb.types import TypeSerializer

from streamkit.aws.backoff import Backoff
from streamkit.aws.call import Call
from streamkit.aws.change_source import ChangeSettings, ChangeSource
from streamkit.aws.clients import Aws
from streamkit.aws.pace import Pacing
from streamkit.clock import SystemChance, SystemClock
from streamkit.core.changes import Change
from streamkit.ports import Source
from streamkit.testing import Recorder
from streamkit.testing.contracts import ChangesContract
from streamkit.testing.contracts.changes import changes
from streamkit.testing.contracts.source import everything

HASTY = ChangeSettings(
    pacing=Pacing(calls_per_second=500, idle_seconds=0.002, idle_limit_seconds=0.01),
    backoff=Backoff(base_seconds=0.1, limit_seconds=0.3),
)
STREAM = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}


class TableWriter:
    """Writes through the API."""

    def __init__(self, call: Call, name: str) -> None:
        self.call = call
        self.name = name

    async def put(self, item: Mapping[str, object]) -> None:
        """Put."""
        await self.call("PutItem", TableName=self.name, Item=tagged(item))

    async def remove(self, key: str) -> None:
        """Delete."""
        await self.call("DeleteItem", TableName=self.name, Key={"id": {"S": key}})

    async def delete(self) -> None:
        """Delete the table."""
        await self.call("DeleteTable", TableName=self.name)

    async def create(self) -> None:
        """Make it."""
        await self.call(
            "CreateTable",
            TableName=self.name,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification=STREAM,
        )


def tagged(item: Mapping[str, object]) -> dict[str, Any]:
    """Return an item as the SDK takes it."""
    return {name: TypeSerializer().serialize(value) for name, value in item.items()}


@pytest.fixture
async def changing(dynamodb: Call, name: str) -> TableWriter:
    """A new table with a stream, and its writers' side."""
    writer = TableWriter(dynamodb, name)
    await writer.create()
    return writer


@pytest.fixture
async def source(aws: Aws, dynamodb: Call, name: str, recorder: Recorder) -> Source:
    """The consumer's side."""
    return ChangeSource(
        dynamodb,
        await aws.call("dynamodbstreams"),
        table=name,
        clock=SystemClock(),
        chance=SystemChance(),
        report=recorder,
        settings=HASTY,
    )


class TestChanges(ChangesContract):
    """By the SDK."""


@pytest.mark.asyncio
class TestWrites:
    """Whatever a table can be written by makes the change that AWS makes of it."""

    async def seen(self, source: Source, count: int) -> list[tuple[str, object, object]]:
        """Return events and images, in the order of the stream."""
        found = changes(await everything(source, count))
        return [(each.event, each.old, each.new) for each in sorted(found, key=lambda each: each.sequence)]

    async def test_an_update_is_one_change(self, dynamodb: Call, changing: TableWriter, source: Source) -> None:
        """Also one that makes the item; one that changes nothing is none."""
        for _ in range(2):
            await dynamodb(
                "UpdateItem",
                TableName=changing.name,
                Key={"id": {"S": "a"}},
                UpdateExpression="SET n = :n",
                ExpressionAttributeValues={":n": {"N": "1"}},
            )
        await dynamodb("UpdateItem", TableName=changing.name, Key={"id": {"S": "a"}}, UpdateExpression="REMOVE n")
        first, second = {"id": "a", "n": 1}, {"id": "a"}
        assert await self.seen(source, 2) == [("INSERT", None, first), ("MODIFY", first, second)]

    async def test_batches_and_transactions_make_changes(
        self, dynamodb: Call, changing: TableWriter, source: Source
    ) -> None:
        """One an item; a transaction that is cancelled makes none."""
        put = [{"PutRequest": {"Item": tagged({"id": key})}} for key in ("a", "b")]
        await dynamodb("BatchWriteItem", RequestItems={changing.name: put})
        writes = [
            {"Delete": {"TableName": changing.name, "Key": {"id": {"S": "a"}}}},
            {"Put": {"TableName": changing.name, "Item": tagged({"id": "c"})}},
        ]
        refused = {"ConditionCheck": {
            "TableName": changing.name, "Key": {"id": {"S": "b"}}, "ConditionExpression": "attribute_not_exists(id)"
        }}  # fmt: skip
        with pytest.raises(Exception, match="cancelled"):
            await dynamodb("TransactWriteItems", TransactItems=[*writes, refused])
        await dynamodb("TransactWriteItems", TransactItems=writes)
        assert await self.seen(source, 4) == [
            ("INSERT", None, {"id": "a"}),
            ("INSERT", None, {"id": "b"}),
            ("REMOVE", {"id": "a"}, None),
            ("INSERT", None, {"id": "c"}),
        ]

    async def test_an_item_expires(self, dynamodb: Call, changing: TableWriter, source: Source) -> None:
        """The service deletes it, and says that it was its own doing."""
        await dynamodb(
            "UpdateTimeToLive",
            TableName=changing.name,
            TimeToLiveSpecification={"Enabled": True, "AttributeName": "until"},
        )
        await changing.put({"id": "a", "until": 1})
        await changing.put({"id": "b", "until": 10**12})
        found: list[Change] = []
        readers = [source.reader(shard, "TRIM_HORIZON") for shard in await source.shards()]
        for _ in range(500):
            for reader in readers:
                found += changes(list((await reader.read()).records))
            if len(found) == 3:
                break
        [gone] = [each for each in found if each.event == "REMOVE"]
        assert (gone.keys, gone.expired) == ({"id": "a"}, True)

    async def test_a_stream_can_be_disabled_and_enabled_again(
        self, dynamodb: Call, changing: TableWriter, source: Source
    ) -> None:
        """A new label; what was written in between is in no stream."""
        before = {shard.id for shard in await source.shards()}
        await changing.put({"id": "a"})
        await dynamodb("UpdateTable", TableName=changing.name, StreamSpecification={"StreamEnabled": False})
        await changing.put({"id": "b"})
        await dynamodb("UpdateTable", TableName=changing.name, StreamSpecification=STREAM)
        await changing.put({"id": "c"})
        assert before < {shard.id for shard in await source.shards()}
        assert [new for _, _, new in await self.seen(source, 2)] == [{"id": "a"}, {"id": "c"}]
