"""The contract of a `Source` of changes: what is written to a table comes out, exactly and in order per item."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

import pytest

from streamkit.core.changes import Change
from streamkit.core.positions import Position, Since
from streamkit.errors import Missing
from streamkit.testing.contracts.source import everything, some, the_shard, to_the_end

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamkit.core.lineage import Shard
    from streamkit.core.records import Record
    from streamkit.ports import Source

ROUNDS = 20


class TableDriver(Protocol):
    """The writers' side of a table with a stream of new and old images, whose key is the string `id`."""

    async def put(self, item: Mapping[str, object]) -> None:
        """Insert or replace an item."""
        ...

    async def remove(self, key: str) -> None:
        """Delete the item of this `id`."""
        ...

    async def delete(self) -> None:
        """Delete the table; return when it is gone."""
        ...

    async def create(self) -> None:
        """Make the table and its stream."""
        ...


class RollingDriver(TableDriver, Protocol):
    """Who can make happen to the stream itself what the service does at times of its own."""

    async def roll(self, shard: str) -> None:
        """Close a shard in favour of one."""
        ...

    async def split(self, shard: str) -> None:
        """Close a shard in favour of two."""
        ...

    async def disable(self) -> None:
        """Disable the stream."""
        ...

    async def enable(self) -> None:
        """Enable it again: another stream, of a new label."""
        ...

    async def age(self, hours: float) -> None:
        """Let time pass."""
        ...


@pytest.mark.contract
@pytest.mark.asyncio
class ChangesContract:
    """Fixtures `changing`: a `TableDriver` of a new table; `source`: the port over its changes."""

    async def test_a_table_made_again_is_another_stream(self, source: Source, changing: TableDriver) -> None:
        """Name and ARN are the same, the incarnation is not (rule 13)."""
        before = await source.identify()
        assert await source.identify() == before
        await changing.delete()
        await changing.create()
        after = await source.identify()
        assert (after.name, after.arn) == (before.name, before.arn)
        assert after.incarnation != before.incarnation

    async def test_a_table_made_again_is_not_listed_as_if_it_were_the_same(
        self, source: Source, changing: TableDriver
    ) -> None:
        """Who has known one is not given the shards of another."""
        assert await source.shards()
        await changing.delete()
        await changing.create()
        with pytest.raises(Missing):
            await source.shards()

    async def test_a_table_that_is_gone_is_missing(self, source: Source, changing: TableDriver) -> None:
        """Its stream may be readable for a day: but nobody begins, or goes on, with a table that is not there."""
        assert await source.shards()
        await changing.delete()
        for question in (source.identify, source.shards):
            with pytest.raises(Missing):
                await question()

    async def test_changes_are_what_was_written(self, source: Source, changing: TableDriver) -> None:
        """Every type of attribute, exactly, before and after."""
        first: dict[str, object] = {
            "id": "a",
            "n": 10**37 + 1,
            "d": Decimal("0.1"),
            "b": b"\x00\xff",
            "none": None,
            "yes": True,
            "l": [1, "x", {"deep": Decimal("1E-100")}],
            "s": {"x", "y"},
            "ns": {1, Decimal("2.5")},
            "bs": {b"\x01"},
            "m": {},
        }
        second = {"id": "a", "n": -1}
        await changing.put(first)
        await changing.put(second)
        await changing.remove("a")
        seen = changes(await everything(source, 3))
        assert [(each.event, each.old, each.new) for each in seen] == [
            ("INSERT", None, first),
            ("MODIFY", first, second),
            ("REMOVE", second, None),
        ]
        assert all(each.keys == {"id": "a"} and each.key == '{"id":{"S":"a"}}' for each in seen)
        assert not any(each.expired or each.defect for each in seen)
        assert len({each.id for each in seen}) == 3

    async def test_what_changes_nothing_is_no_change(self, source: Source, changing: TableDriver) -> None:
        """The same item written again, an item deleted that is not there."""
        await changing.put({"id": "a", "n": 1})
        await changing.put({"id": "a", "n": 1})
        await changing.remove("b")
        await changing.put({"id": "a", "n": 2})
        assert [each.event for each in changes(await everything(source, 2))] == ["INSERT", "MODIFY"]

    async def test_an_items_changes_come_in_the_order_of_writing(self, source: Source, changing: TableDriver) -> None:
        """In one shard, their numbers growing as integers."""
        for turn in range(ROUNDS):
            for key in ("a", "b", "c"):
                await changing.put({"id": key, "turn": turn})
        seen = changes(await everything(source, 3 * ROUNDS))
        for key in ("a", "b", "c"):
            mine = [each for each in seen if each.keys["id"] == key]
            assert [(each.new or {})["turn"] for each in mine] == list(range(ROUNDS))
            assert [each.sequence for each in mine] == sorted(each.sequence for each in mine)

    async def test_reading_goes_on_right_after_a_position(self, source: Source, changing: TableDriver) -> None:
        """From every place the rest, nothing twice, nothing left out."""
        for turn in range(5):
            await changing.put({"id": "a", "turn": turn})
        read = await everything(source, 5)
        shard = await the_shard(source, read[0].shard)
        for index, record in enumerate(read):
            assert await some(source.reader(shard, record.position), 4 - index) == read[index + 1 :]

    async def test_a_reader_waits_at_the_tip(self, source: Source, changing: TableDriver) -> None:
        """An empty answer is not the end; what is written later comes later."""
        [shard, *_] = await source.shards()
        reader = source.reader(shard, "TRIM_HORIZON")
        read = await reader.read()
        assert (list(read.records), read.ended, read.children) == ([], False, ())
        assert not read.behind
        await changing.put({"id": "a"})
        assert len(await everything(source, 1)) == 1

    async def test_a_moment_excludes_what_happened_seconds_before(self, source: Source, changing: TableDriver) -> None:
        """Changes know whole seconds: of the second of the moment all are read (rule 15)."""
        await changing.put({"id": "a"})
        [change] = await everything(source, 1)
        shard = await the_shard(source, change.shard)
        assert await some(source.reader(shard, Since(change.arrived + 0.9)), 1) == [change]
        late = source.reader(shard, Since(change.arrived + 3600))
        assert [list((await late.read()).records) for _ in range(3)] == [[], [], []]


@pytest.mark.contract
@pytest.mark.asyncio
class RollingContract:
    """Fixtures `changing`: a `RollingDriver` of a new table; `source`: the port over its changes."""

    async def test_a_shard_that_rolls_ends_with_its_child(self, source: Source, changing: RollingDriver) -> None:
        """The records first, then the end with who goes on; both are listed."""
        await changing.put({"id": "a"})
        [change] = await everything(source, 1)
        shard = await the_shard(source, change.shard)
        await changing.roll(shard.id)
        records, end = await to_the_end(source.reader(shard, "TRIM_HORIZON"))
        [child] = end.children
        assert records == [change]
        assert child.parents == (shard.id,)
        assert {shard.id, child.id} <= {each.id for each in await source.shards()}

    async def test_a_split_has_two_children(self, source: Source, changing: RollingDriver) -> None:
        """Which go on from one parent."""
        [shard, *_] = await source.shards()
        await changing.split(shard.id)
        _, end = await to_the_end(source.reader(shard, "TRIM_HORIZON"))
        assert [child.parents for child in end.children] == [(shard.id,)] * 2

    async def test_a_listing_is_whole_however_many_shards_there_are(
        self, source: Source, changing: RollingDriver
    ) -> None:
        """More than a page of them, each going on from the one before."""
        [shard, *_] = await source.shards()
        before = len(await source.shards())
        for _ in range(130):
            await changing.roll(shard.id)
            [shard] = [each for each in await source.shards() if shard.id in each.parents]
            await changing.age(0.001)
        listed = await source.shards()
        assert len(listed) == before + 130
        assert len({each.id for each in listed}) == len(listed)

    async def test_a_stream_enabled_again_goes_on_from_the_one_before(
        self, source: Source, changing: RollingDriver
    ) -> None:
        """One lineage: nothing of the younger may start before all of the older is settled."""
        before = await source.identify()
        old = {each.id for each in await source.shards()}
        await changing.put({"id": "a", "n": 1})
        await changing.disable()
        await changing.age(0.01)
        await changing.enable()
        await changing.put({"id": "a", "n": 2})
        assert await source.identify() == before
        by_id = {each.id: each for each in await source.shards()}
        young = [each for each in by_id.values() if each.id not in old and each.parents[0] not in old]
        assert young
        for shard in young:
            assert _ancestors(shard, by_id) >= old
        [crossing] = {shard.parents for shard in young}
        end = await source.reader(by_id[crossing[0]], "TRIM_HORIZON").read()
        assert (list(end.records), end.ended) == ([], True)
        seen = sorted(changes(await everything(source, 2)), key=lambda change: change.sequence)
        assert [(each.new or {})["n"] for each in seen] == [1, 2]

    async def test_what_is_a_day_old_is_gone(self, source: Source, changing: RollingDriver) -> None:
        """A position that was trimmed is gone on from with the oldest there is; nothing comes twice."""
        await changing.put({"id": "a", "n": 1})
        [change] = await everything(source, 1)
        shard = await the_shard(source, change.shard)
        await changing.age(3)
        await changing.put({"id": "a", "n": 2})
        await changing.age(22)
        records, _ = await to_the_end(source.reader(shard, change.position))
        assert [(each.new or {})["n"] for each in changes(records)] == [2]
        later = source.reader(shard, Position(records[-1].sequence_number))
        assert (await to_the_end(later))[0] == []

    async def test_an_old_iterator_is_renewed(self, source: Source, changing: RollingDriver) -> None:
        """A reader that nobody asked for an hour goes on where it was."""
        await changing.put({"id": "a", "n": 1})
        [change] = await everything(source, 1)
        reader = source.reader(await the_shard(source, change.shard), "TRIM_HORIZON")
        await some(reader, 1)
        await changing.age(1)
        await changing.put({"id": "a", "n": 2})
        assert [(each.new or {})["n"] for each in changes(await some(reader, 1))] == [2]

    async def test_a_shard_whose_day_is_over_is_missing(self, source: Source, changing: RollingDriver) -> None:
        """It is listed no more, and its reader says so: what it held, nobody can have (rule 11)."""
        [shard, *_] = await source.shards()
        await changing.put({"id": "a"})
        await changing.roll(shard.id)
        await changing.age(30)
        assert shard.id not in {each.id for each in await source.shards()}
        with pytest.raises(Missing):
            await source.reader(shard, "TRIM_HORIZON").read()


def changes(records: Sequence[Record]) -> list[Change]:
    """Return records that have to be changes."""
    found = [record for record in records if isinstance(record, Change)]
    assert len(found) == len(records)
    return found


def _ancestors(shard: Shard, by_id: Mapping[str, Shard]) -> set[str]:
    found = set(shard.parents)
    for parent in shard.parents:
        found |= _ancestors(by_id[parent], by_id)
    return found
