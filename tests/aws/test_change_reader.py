"""Reading a table's stream under the service's quotas and troubles: nothing skipped, nothing repeated."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from streamkit.aws.call import Call
from streamkit.aws.change_source import ChangeSettings, ChangeSource
from streamkit.aws.decode import decode_changes
from streamkit.aws.errors import Rejected
from streamkit.core.changes import Change
from streamkit.core.lineage import CROSSING, Shard, chained
from streamkit.core.positions import Position
from streamkit.errors import Expired, Missing, Throttled, Unanswered
from streamkit.events import ReadDelayed
from streamkit.ports import Reader
from streamkit.testing import ChangeStreams, ChangingTable, Recorder, SeededChance, VirtualClock
from streamkit.testing.dynamodb_streams.service import calls
from tests.aws.virtual import virtual


class TroubledService:
    """Carries out some calls, and fails with what is on order for others; counts and times what it was asked."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.orders: dict[str, list[Exception]] = {}
        self.asked: Counter[str] = Counter()
        self.times: list[tuple[str, float]] = []

    async def __call__(self, operation: str, /, **parameters: Any) -> dict[str, Any]:
        """Carry out, or fail."""
        self.asked[operation] += 1
        self.times.append((operation, asyncio.get_running_loop().time()))
        if self.orders.get(operation):
            raise self.orders[operation].pop(0)
        return await self.call(operation, **parameters)


class Stage:
    """A table with one shard, a source over it, and what was reported."""

    def __init__(self, *, shards: int = 1) -> None:
        self.clock = VirtualClock()
        self._seeds = count()
        streams = ChangeStreams(clock=lambda: self.clock.now().timestamp())
        self.table = ChangingTable(streams, self.clock, shards=shards)
        self.recorder = Recorder()
        dynamodb, self.whole = calls(self.table)
        self.service = TroubledService(self.whole)
        self.source = self.another(dynamodb, self.service)

    def another(self, dynamodb: Call | None = None, streams: Call | None = None) -> ChangeSource:
        """Return one more source over the table, as another worker has it."""
        ways = calls(self.table)
        return ChangeSource(
            dynamodb or ways[0],
            streams or ways[1],
            table=self.table.name,
            clock=self.clock,
            chance=SeededChance(next(self._seeds)),
            report=self.recorder,
            settings=ChangeSettings(),
        )

    def put(self, *turns: int) -> None:
        """Write an item again and again."""
        for turn in turns:
            self.table.put({"id": "a", "turn": turn})


async def turns(reader: Reader, number: int) -> list[object]:
    """Read so many changes; return their turns."""
    found: list[object] = []
    while len(found) < number:
        for record in (await reader.read()).records:
            assert isinstance(record, Change)
            found.append((record.new or {})["turn"])
    return found


@virtual
async def test_passing_troubles_neither_skip_nor_repeat() -> None:
    """Throttling, lost answers, expired iterators, at every call there is."""
    stage = Stage()
    stage.put(1, 2)
    [shard] = await stage.source.shards()
    reader = stage.source.reader(shard, "TRIM_HORIZON")
    assert await turns(reader, 2) == [1, 2]
    stage.service.orders = {
        "GetRecords": [Throttled("slow"), Unanswered("?"), Expired("old"), Throttled("slow")],
        "GetShardIterator": [Throttled("slow"), Unanswered("?")],
    }
    stage.put(3, 4)
    assert await turns(reader, 2) == [3, 4]
    assert [event.error for event in stage.recorder.events if isinstance(event, ReadDelayed)] == ["Throttled"]


@virtual
async def test_a_read_that_was_cancelled_at_the_end_is_made_again() -> None:
    """The children are asked for before the place moves: a read is whole, or was never made."""
    stage = Stage()
    stage.put(1)
    [shard] = await stage.source.shards()
    stage.table.streams.roll(shard.id)
    reader = stage.source.reader(shard, "TRIM_HORIZON")
    stage.service.orders = {"DescribeStream": [Throttled("ten calls a second")] * 3}
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.0005):
            await reader.read()
    read = await reader.read()
    assert [len(read.records), read.ended, len(read.children)] == [1, True, 1]
    again = await reader.read()
    assert (list(again.records), again.ended, again.children) == ([], True, read.children)


@virtual
async def test_where_children_cannot_be_asked_for_the_listing_has_to_tell() -> None:
    """An older endpoint knows no filter of shards."""
    stage = Stage()
    [shard] = await stage.source.shards()
    stage.table.streams.roll(shard.id)
    stage.service.orders = {"DescribeStream": [Rejected("no such parameter")]}
    read = await stage.source.reader(shard, "TRIM_HORIZON").read()
    assert (read.ended, read.children) == (True, ())


@virtual
async def test_a_fleet_shares_ten_descriptions_a_second() -> None:
    """Thirty workers that list at once: all get their listing, by waiting longer and longer, by chance."""
    stage = Stage()
    began = stage.clock.monotonic()
    async with asyncio.TaskGroup() as group:
        listings = [group.create_task(stage.another().shards()) for _ in range(30)]
    assert all(len(listing.result()) == 1 for listing in listings)
    assert 2 <= stage.clock.monotonic() - began < 30


@virtual
async def test_a_listing_that_is_cut_short_goes_on_where_it_was() -> None:
    """A coordinator gives a listing a quarter of its lease: 350 shards are four pages, and more than that."""
    stage = Stage(shards=350)
    whole = stage.service.call

    async def slow(operation: str, /, **parameters: Any) -> dict[str, Any]:
        await asyncio.sleep(1.0)
        return await whole(operation, **parameters)

    stage.service.call = slow
    for _ in range(2):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.5):
                await stage.source.shards()
    async with asyncio.timeout(3.5):
        listed = await stage.source.shards()
    assert len({shard.id for shard in listed}) == 350
    asked = stage.service.asked["DescribeStream"]
    await stage.source.shards()
    assert stage.service.asked["DescribeStream"] == asked + 4, "a whole listing is begun anew"


@virtual
async def test_an_idle_shard_is_asked_as_slowly_as_agreed() -> None:
    """Once or twice a second, not as fast as answers come; while there is something to read, ten times."""
    stage = Stage()
    [shard] = await stage.source.shards()
    reader = stage.source.reader(shard, "TRIM_HORIZON")
    for _ in range(20):
        await reader.read()
    asked = [at for operation, at in stage.service.times if operation == "GetRecords"]
    assert 0.25 <= (asked[-1] - asked[0]) / 19 <= 1.0


@virtual
async def test_an_answer_has_up_to_a_thousand_changes() -> None:
    """As many as the service gives: a backlog of a day is read in as few calls as can be."""
    stage = Stage()
    stage.put(*range(1_001))
    [shard] = await stage.source.shards()
    reader = stage.source.reader(shard, "TRIM_HORIZON")
    assert [len((await reader.read()).records) for _ in range(2)] == [1_000, 1]


@virtual
async def test_the_lag_is_the_age_of_the_last_change() -> None:
    """The service does not say how far behind the tip an answer is."""
    stage = Stage()
    stage.put(1)
    await asyncio.sleep(90)
    [shard] = await stage.source.shards()
    reader = stage.source.reader(shard, "TRIM_HORIZON")
    behind = (await reader.read()).behind
    assert behind is not None
    assert 90 <= behind.total_seconds() < 92
    assert (await reader.read()).behind == timedelta()


@virtual
async def test_a_shard_of_no_stream_is_missing() -> None:
    """What nobody lists cannot be opened."""
    stage = Stage()
    await stage.source.shards()
    with pytest.raises(Missing, match="shardId-gone"):
        await stage.source.reader(Shard("shardId-gone"), "TRIM_HORIZON").read()


@virtual
async def test_a_place_that_the_shard_never_had_is_refused() -> None:
    """Not waited for, and not taken for another."""
    stage = Stage()
    [shard] = await stage.source.shards()
    with pytest.raises(Rejected):
        await stage.source.reader(shard, Position("5")).read()


@virtual
async def test_a_table_without_a_stream_is_refused_with_what_to_do() -> None:
    """A worker's first question says so."""
    stage = Stage()
    stage.table.disable()
    await asyncio.sleep(25 * 3600)
    with pytest.raises(Missing, match="--stream-specification"):
        await stage.another().identify()


def test_a_large_change_gets_a_defect() -> None:
    """Over `max_record_bytes` it is a dead letter, whole, in its place."""

    async def main() -> None:
        stage = Stage()
        stage.table.put({"id": "a", "text": "x" * 5_000})
        stage.put(1)
        stage.source.settings = ChangeSettings(max_record_bytes=4_000)
        [shard] = await stage.source.shards()
        large, small = (await stage.source.reader(shard, "TRIM_HORIZON").read()).records
        assert (large.defect or "").startswith("expected at most 4000 bytes, got 5")
        assert len(large.data) > 5_000
        assert small.defect is not None  # it has the large one as its old image

    virtual(main)()


# --------------------------------------------------------------------------------------------- decoding and lineage


def answer(body: bytes, *, status: int = 200) -> tuple[dict[str, Any], dict[str, Any]]:
    """Decode one answer as the SDK has it done; return what is left to its parser, and what was taken."""
    response, taken = {"status_code": status, "body": body}, dict[str, Any]()
    decode_changes(response, taken)
    return response, taken


def test_an_answer_is_cut_into_its_changes() -> None:
    """Each byte for byte as it came; nothing is left for the SDK to parse."""
    first, second = b'{"eventID": "1",\n "dynamodb": {"N": 1.50}}', b"{}"
    body = b'{"Records": [' + first + b" , " + second + b'], "NextShardIterator": "next", "Tomorrow": 1}'
    left, taken = answer(body)
    assert left["body"] == b"{}"
    assert taken == {"Records": [first, second], "NextShardIterator": "next"}


@pytest.mark.parametrize(
    ("body", "status"), [(b'{"__type": "X"}', 400), (b"", 200), (b"[", 200), (b'{"Records": 1}', 200)]
)
def test_what_is_no_answer_is_left_to_the_sdk(body: bytes, status: int) -> None:
    """Errors, and what does not decode."""
    left, taken = answer(body, status=status)
    assert (left["body"], taken) == (body, {})


def test_streams_that_followed_each_other_are_one_lineage() -> None:
    """A crossing between two: child of all last shards of one, parent of all first shards of the next."""
    old = [Shard("a"), Shard("b", ("a",)), Shard("c", ("a",))]
    young = [Shard("d"), Shard("e"), Shard("f", ("d",))]
    found = {each.id: each.parents for each in chained([("1", old), ("2", []), ("3", young)])}
    crossing = f"{CROSSING}3"
    assert found == {
        "a": (),
        "b": ("a",),
        "c": ("a",),
        crossing: ("b", "c"),
        "d": (crossing,),
        "e": (crossing,),
        "f": ("d",),
    }
