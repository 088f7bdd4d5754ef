"""The changes of tables on the embedded endpoint: the contract, by the SDK, and one change for every kind of write."""

from __future__ import annotations

import pytest

from streamkit.aws.call import Call
from streamkit.core.changes import Change
from streamkit.ports import Source
from streamkit.testing.contracts.changes import changes
from streamkit.testing.contracts.source import everything
from tests.aws.change_suites import STREAM, TableWriter, TestChanges, changing, source, tagged

__all__ = ["TestChanges", "changing", "source"]


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
