"""The in-memory world: the situations it can be brought into, shared by several workers in virtual time."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from msgspec.structs import replace

from streamkit.core.leasing import Member, ShardRow
from streamkit.core.lineage import Shard
from streamkit.core.positions import Position, Since
from streamkit.errors import CorruptRow, Denied, Missing, Refused, Throttled, Unanswered, Undelivered
from streamkit.events import ShardTaken, WorkerFenced
from streamkit.testing import MemoryDeadLetters, MemoryTable, Recorder, World, letter, records, run_virtual
from streamkit.testing.kinesis import AS_AWS, Fault, Faults
from streamkit.testing.time import START

ROW = ShardRow(Shard("shardId-000000000000"), "TRIM_HORIZON")


async def held(table: MemoryTable, by: str = "worker-a") -> ShardRow:
    """Make the row and take it."""
    await table.add([ROW])
    return await table.take(ROW, replace(ROW, owner=by, epoch=1, token="t1"))


def after(row: ShardRow, token: str) -> ShardRow:
    """The next write of a row's owner."""
    return replace(row, revision=row.revision + 1, token=token)


# -- troubles of the table


async def test_a_lost_answer_hides_a_write_that_took_effect() -> None:
    """The writer does not know, and sends it again: refused, with its own token."""
    table = MemoryTable()
    row = await held(table)
    table.inject("lost", on="write")
    with pytest.raises(Unanswered):
        await table.write(row, after(row, "mine"))
    assert table.shard_rows[row.id].token == "mine"
    with pytest.raises(Refused) as refusal:
        await table.write(row, after(row, "mine"))
    assert refusal.value.row is not None
    assert refusal.value.row.token == "mine"


async def test_a_late_write_lands_when_it_is_let() -> None:
    """Unanswered now, in effect later: a read in between still shows the old row (rule 5)."""
    table = MemoryTable()
    row = await held(table)
    table.inject("late")
    with pytest.raises(Unanswered):
        await table.write(row, after(row, "late"))
    assert await table.rows() == [row]
    assert table.land() == 1
    assert await table.rows() == [after(row, "late")]


async def test_a_late_write_lands_in_vain_behind_a_newer_one() -> None:
    """Its condition is judged when it lands."""
    table = MemoryTable()
    row = await held(table)
    table.inject("late")
    with pytest.raises(Unanswered):
        await table.write(row, after(row, "late"))
    await table.write(row, after(row, "newer"))
    assert table.land() == 0
    assert await table.rows() == [after(row, "newer")]


async def test_a_throttled_write_did_not_happen() -> None:
    """Trouble hits the kind of write it was meant for, as often as it was meant to."""
    table = MemoryTable()
    row = await held(table)
    table.inject("throttled", on="write", times=2)
    await table.join(Member("worker-a"))
    for _ in range(2):
        with pytest.raises(Throttled):
            await table.write(row, after(row, "t2"))
        assert await table.rows() == [row]
    await table.write(row, after(row, "t2"))


async def test_a_stolen_shard_refuses_its_former_owner() -> None:
    """As if another worker had taken it in between."""
    table = MemoryTable()
    row = await held(table)
    stolen = table.steal(row.id, by="thief")
    assert (stolen.owner, stolen.epoch) == ("thief", 2)
    with pytest.raises(Refused) as refusal:
        await table.write(row, after(row, "t2"))
    assert refusal.value.row == stolen


async def test_an_outage_is_met_by_every_request() -> None:
    """Reads and writes alike raise what was set, until it is over."""
    table = MemoryTable()
    row = await held(table)
    table.outage = Denied("no permission for dynamodb:Query")
    for request in (table.rows(), table.members(), table.write(row, after(row, "t2")), table.add([ROW])):
        with pytest.raises(Denied):
            await request
    table.outage = None
    assert await table.rows() == [row]


async def test_a_corrupt_row_is_named() -> None:
    """Reading stops at it: nobody plans around half a table."""
    table = MemoryTable()
    await table.add([ROW])
    table.corrupt.add(ROW.id)
    with pytest.raises(CorruptRow, match="shardId-000000000000"):
        await table.rows()


async def test_a_write_that_does_not_count_is_a_slip() -> None:
    """A revision that stands still would let a late write undo a newer one: the caller's fault."""
    table = MemoryTable()
    row = await held(table)
    with pytest.raises(ValueError, match=r"expected shardId-000000000000 with revision 2, got .* revision 1"):
        await table.write(row, replace(row, token="t2"))


async def test_requests_are_counted() -> None:
    """What a batch costs is measured, not guessed."""
    table = MemoryTable()
    row = await held(table)
    await table.write(row, after(row, "t2"))
    await table.rows()
    assert table.requests == {"add": 1, "take": 1, "write": 1, "rows": 1}


def test_a_request_cancelled_on_its_way_back_has_happened() -> None:
    """Latency is there and back: a time-out in between leaves a write in doubt, as in life."""

    async def main() -> None:
        table = World(latency=lambda: 1.0).table
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await table.add([ROW])
        assert await table.rows() == [ROW]

    run_virtual(main)


def test_of_many_workers_one_takes_the_shard() -> None:
    """They share one table, and race."""

    async def main() -> list[str | None]:
        table = World(latency=lambda: 0.01).table
        await table.add([ROW])
        owners: list[str | None] = []

        async def contend(worker: str) -> None:
            try:
                owners.append((await table.take(ROW, replace(ROW, owner=worker, epoch=1, token=worker))).owner)
            except Refused as refusal:
                owners.append(refusal.row.owner if refusal.row else None)

        async with asyncio.TaskGroup() as group:
            for number in range(5):
                group.create_task(contend(f"worker-{number}"))
        return owners

    assert run_virtual(main) == ["worker-0"] * 5


# -- the queue


async def test_the_queue_may_be_down() -> None:
    """Then every letter is undelivered, as it was given."""
    letters = [letter(record) for record in records(3)]
    queue = MemoryDeadLetters()
    queue.outage = True
    with pytest.raises(Undelivered) as trouble:
        await queue.send(letters)
    assert trouble.value.letters == letters
    assert queue.letters == []


async def test_letters_whose_answer_was_lost_are_there_twice_in_the_end() -> None:
    """The queue took them and nobody knew: at least once is what a queue can promise."""
    letters = [letter(record) for record in records(2)]
    queue = MemoryDeadLetters()
    queue.lose_answers()
    with pytest.raises(Undelivered) as trouble:
        await queue.send(letters)
    await queue.send(trouble.value.letters)
    assert queue.letters == letters * 2


# -- the stream


def test_what_is_put_is_what_is_read() -> None:
    """`put` returns the record as its readers see it: bytes as they are, values as JSON."""

    async def main() -> None:
        world = World(shards=2)
        put = [world.stream.put("N1", b"\x00"), world.stream.put("N1", {"dep_delay": 4})]
        await asyncio.sleep(60)
        put.append(world.stream.put("N1"))
        [shard] = [shard for shard in await world.source.shards() if shard.id == put[0].shard]
        assert (await world.source.reader(shard, "TRIM_HORIZON").read()).records == put
        assert put[1].json() == {"dep_delay": 4}

    run_virtual(main)


def test_an_idle_reader_waits_in_virtual_time() -> None:
    """It does not spin at the tip, and an hour of waiting costs nothing."""

    async def main() -> float:
        world = World()
        [shard] = await world.source.shards()
        reader = world.source.reader(shard, "TRIM_HORIZON")
        for _ in range(4 * 3600):
            assert not (await reader.read()).records
        return asyncio.get_running_loop().time()

    assert run_virtual(main) == pytest.approx(3600, abs=1)


def test_a_long_shard_comes_page_by_page() -> None:
    """The reader says how far behind it is, until it is not."""

    async def main() -> None:
        world = World()
        world.source.page = 10
        for number in range(25):
            world.stream.put("k", number)
            await asyncio.sleep(1)
        [shard] = await world.source.shards()
        reader = world.source.reader(shard, "TRIM_HORIZON")
        answers = [await reader.read() for _ in range(3)]
        assert [len(answer.records) for answer in answers] == [10, 10, 5]
        assert [answer.behind for answer in answers] == [
            timedelta(seconds=16),
            timedelta(seconds=6),
            timedelta(),
        ]

    run_virtual(main)


def test_throttling_and_expired_iterators_are_waited_out() -> None:
    """Faults and quotas of the stream cost time, never a record (the promise of `Reader.read`)."""

    async def main() -> None:
        world = World()
        put = [world.stream.put("k", number) for number in range(200)]
        world.kinesis.limits = AS_AWS
        rough = Fault(throttled=0.2, failing=0.2, expired=0.2, lost=0.2)
        world.kinesis.faults = Faults(of={"GetRecords": rough, "GetShardIterator": rough})
        world.source.page = 7
        [shard] = await world.source.shards()
        reader = world.source.reader(shard, "TRIM_HORIZON")
        read = [record for _ in range(29) for record in (await reader.read()).records]
        assert read == put

    run_virtual(main)


def test_a_listing_of_many_pages_is_complete() -> None:
    """More shards than one page of the service holds."""

    async def main() -> int:
        return len(await World(shards=1500).source.shards())

    assert run_virtual(main) == 1500


def test_retention_trims_what_was_not_read() -> None:
    """A reader at a trimmed position goes on at the oldest record there is."""

    async def main() -> None:
        world = World()
        first = world.stream.put("k", 1)
        await asyncio.sleep(20 * 3600)
        kept = world.stream.put("k", 2)
        await asyncio.sleep(5 * 3600)
        [shard] = await world.source.shards()
        for place in ("TRIM_HORIZON", Position(first.sequence_number, 0), Since(first.arrived)):
            assert (await world.source.reader(shard, place).read()).records == [kept]

    run_virtual(main)


def test_a_deleted_stream_is_missing_for_a_reader_that_waits() -> None:
    """It finds out when it looks again."""

    async def main() -> None:
        world = World()
        [shard] = await world.source.shards()
        reader = world.source.reader(shard, "TRIM_HORIZON")
        await reader.read()
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(reader.read())
            await asyncio.sleep(0.1)
            world.stream.delete()
            with pytest.raises(Missing):
                await waiting

    with pytest.raises(ExceptionGroup):
        run_virtual(main)


# -- the rest


def test_the_same_seed_is_the_same_world() -> None:
    """Numbers, faults and tokens repeat."""

    async def main() -> tuple[str, str]:
        world = World()
        return world.chance.token(), world.stream.put("k").sequence_number

    assert run_virtual(main, seed=1) == run_virtual(main, seed=1)
    assert run_virtual(main, seed=1)[0] != run_virtual(main, seed=2)[0]


def test_the_world_starts_at_its_clock() -> None:
    """Records arrive by the virtual clock."""

    async def main() -> None:
        assert World().stream.put("k").arrived_at == START

    run_virtual(main)


def test_a_recorder_keeps_events() -> None:
    """In order, findable by name, the oldest dropped beyond its bound."""
    report = Recorder(keep=2)
    fenced = WorkerFenced(worker="worker-a")
    first, second = (ShardTaken(shard=name, epoch=1, previous_owner=None, frontier=None) for name in "ab")
    for event in (first, fenced, second):
        report(event)
    assert report.named("shard.taken") == [second]
    assert report.names == ["worker.fenced", "shard.taken"]
    assert repr(report) == "<Recorder of 1 shard.taken, 1 worker.fenced>"
