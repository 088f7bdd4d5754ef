"""The contract of `streamkit.ports.Source` and `Reader` (rules 11, 13, 15, 17)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

import pytest

from streamkit.core.positions import Position, Since
from streamkit.errors import Missing
from streamkit.ports import Source
from streamkit.testing.builders import aggregate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamkit.core.lineage import Shard
    from streamkit.core.records import Record
    from streamkit.ports import Read, Reader

PATIENCE = 50
"""Answers after which a reader that finds nothing is called broken."""
HASH_KEYS = 2**128


class StreamDriver(Protocol):
    """The other side of the stream, for the suite."""

    async def put(self, key: str, data: bytes) -> tuple[str, str]:
        """Put a record. Return its shard's id and its sequence number."""
        ...

    async def split(self, shard: str) -> None:
        """Close a shard in favour of two children; return when they are listed."""
        ...

    async def merge(self, shard: str, adjacent: str) -> None:
        """Close two neighbours in favour of one child; return when it is listed."""
        ...

    async def delete(self) -> None:
        """Delete the stream; return when it is gone."""
        ...

    async def create(self) -> None:
        """Make the stream, with two shards; return when it is active."""
        ...


@pytest.mark.contract
@pytest.mark.asyncio
class SourceContract:
    """Fixtures `stream`: a `StreamDriver` of a new stream with two shards; `source`: the port over it."""

    # -- identity and listing

    async def test_a_stream_made_again_is_another_stream(self, source: Source, stream: StreamDriver) -> None:
        """Name and ARN are the same, the incarnation is not (rule 13)."""
        before = await source.identify()
        assert await source.identify() == before
        await stream.delete()
        await stream.create()
        after = await source.identify()
        assert (after.name, after.arn) == (before.name, before.arn)
        assert after.incarnation != before.incarnation

    @pytest.mark.usefixtures("stream")
    async def test_the_retention_is_known(self, source: Source) -> None:
        """How long records are kept decides when a checkpoint is too old (rule 14)."""
        assert (await source.identify()).retention == timedelta(hours=24)

    @pytest.mark.usefixtures("stream")
    async def test_the_shards_cover_every_key(self, source: Source) -> None:
        """A complete listing of a new stream: no parents, ranges that leave no gap."""
        shards = await by_range(source)
        [(first, middle), (next_to_it, last)] = [shard.hash_range or (0, 0) for shard in shards]
        assert (first, middle + 1, last) == (0, next_to_it, HASH_KEYS - 1)
        assert all(shard.parents == () for shard in shards)

    async def test_closed_shards_stay_listed(self, source: Source, stream: StreamDriver) -> None:
        """They still hold records; their children name them as parents."""
        [left, right] = await by_range(source)
        await stream.split(left.id)
        listed = await source.shards()
        children = [shard for shard in listed if shard.parents == (left.id,)]
        assert {left.id, right.id} < {shard.id for shard in listed}
        ranges = sorted(child.hash_range or (0, 0) for child in children)
        assert len(ranges) == 2
        assert (ranges[0][0], ranges[1][1]) == left.hash_range
        assert ranges[0][1] + 1 == ranges[1][0]

    async def test_a_stream_that_is_gone_is_missing(self, source: Source, stream: StreamDriver) -> None:
        """Every question says so, instead of the end of a shard (rule 13)."""
        [shard, _] = await by_range(source)
        reader = source.reader(shard, "TRIM_HORIZON")
        await stream.delete()
        for question in (source.identify, source.shards, reader.read):
            with pytest.raises(Missing):
                await question()

    # -- reading

    async def test_records_come_as_they_were_put(self, source: Source, stream: StreamDriver) -> None:
        """Payload, key, number, shard and stream, byte for byte; whole: their own last part."""
        put: dict[tuple[str, str], tuple[str, bytes]] = {}
        for key, data in [("N1", b""), ("\N{AIRPLANE} 2", bytes(range(256))), ("N3", b"{}")]:
            put[await stream.put(key, data)] = (key, data)
        name = (await source.identify()).name
        read = await everything(source, len(put))
        assert {(record.shard, record.sequence_number): (record.key, record.data) for record in read} == put
        assert all(record.stream == name and record.position.subsequence is None for record in read)
        assert all((record.attempt, record.defect) == (1, None) for record in read)

    async def test_arrival_is_the_services_own_time(self, source: Source, stream: StreamDriver) -> None:
        """A time not before the stream was made, and not ahead of what comes later."""
        await stream.put("k", b"1")
        await stream.put("k", b"2")
        first, second = await everything(source, 2)
        assert datetime.fromtimestamp(0, UTC) < first.arrived_at <= second.arrived_at

    async def test_a_shard_is_read_in_the_order_of_putting(self, source: Source, stream: StreamDriver) -> None:
        """One key, one shard, numbers that grow as integers."""
        put = [await stream.put("k", str(number).encode()) for number in range(30)]
        read = await everything(source, len(put))
        assert [(record.shard, record.sequence_number) for record in read] == put
        assert [record.sequence for record in read] == sorted(record.sequence for record in read)

    async def test_an_empty_answer_is_not_the_end(self, source: Source, stream: StreamDriver) -> None:
        """An open shard never ends: what is put later comes later."""
        [shard, _] = await by_range(source)
        reader = source.reader(shard, "TRIM_HORIZON")
        read = await reader.read()
        assert (list(read.records), read.ended, read.children) == ([], False, ())
        key = key_of(shard)
        await stream.put(key, b"late")
        assert [record.data for record in await some(reader, 1)] == [b"late"]

    async def test_the_tip_is_not_behind(self, source: Source, stream: StreamDriver) -> None:
        """Where everything is read, the answer says so, if the service does."""
        [shard, _] = await by_range(source)
        await stream.put(key_of(shard), b"1")
        reader = source.reader(shard, "TRIM_HORIZON")
        await some(reader, 1)
        assert (await reader.read()).behind in (None, timedelta())

    async def test_a_reader_may_be_closed_at_any_time(self, source: Source, stream: StreamDriver) -> None:
        """Before it has read, after, and again; another one reads on from where it was."""
        shard_id, number = await stream.put("k", b"1")
        shard = await the_shard(source, shard_id)
        source.reader(shard, "TRIM_HORIZON").close()
        reader = source.reader(shard, "TRIM_HORIZON")
        assert [record.data for record in await some(reader, 1)] == [b"1"]
        reader.close()
        reader.close()
        await stream.put("k", b"2")
        assert [record.data for record in await some(source.reader(shard, Position(number)), 1)] == [b"2"]

    async def test_two_readers_do_not_disturb_each_other(self, source: Source, stream: StreamDriver) -> None:
        """Each has a place of its own."""
        shard_id, _ = await stream.put("k", b"1")
        shard = await the_shard(source, shard_id)
        one, other = source.reader(shard, "TRIM_HORIZON"), source.reader(shard, "TRIM_HORIZON")
        assert await some(one, 1) == await some(other, 1)

    # -- places

    async def test_reading_goes_on_right_after_a_position(self, source: Source, stream: StreamDriver) -> None:
        """From every place the rest, nothing twice, nothing left out."""
        for number in range(5):
            await stream.put("k", str(number).encode())
        read = await everything(source, 5)
        shard = await the_shard(source, read[0].shard)
        for index, record in enumerate(read[:-1]):
            rest = await some(source.reader(shard, record.position), len(read) - index - 1)
            assert rest == read[index + 1 :]

    async def test_after_the_last_record_comes_what_is_put_next(self, source: Source, stream: StreamDriver) -> None:
        """A place at the tip is a place."""
        shard_id, number = await stream.put("k", b"old")
        reader = source.reader(await the_shard(source, shard_id), Position(number))
        assert list((await reader.read()).records) == []
        await stream.put("k", b"new")
        assert [record.data for record in await some(reader, 1)] == [b"new"]

    async def test_inside_of_an_aggregate_its_record_is_read_again(self, source: Source, stream: StreamDriver) -> None:
        """Some of its user records are not behind: the physical record comes whole, then the rest."""
        await stream.put("k", b"before")
        together = aggregate([("k", b"a"), ("k", b"b"), ("k", b"c")])
        shard_id, number = await stream.put("k", together)
        await stream.put("k", b"after")
        reader = source.reader(await the_shard(source, shard_id), Position(number, 1))
        read = await some(reader, 2)
        assert [record.data for record in read] == [together, b"after"]
        assert read[0].sequence_number == number

    async def test_a_moment_excludes_what_arrived_before(self, source: Source, stream: StreamDriver) -> None:
        """Arrival at or after the moment, by the service's clock (rule 15)."""
        for number in range(3):
            await stream.put("k", str(number).encode())
        read = await everything(source, 3)
        shard = await the_shard(source, read[0].shard)
        for moment in {record.arrived for record in read}:
            wanted = [record for record in read if record.arrived >= moment]
            assert await some(source.reader(shard, Since(moment)), len(wanted)) == wanted

    async def test_a_moment_to_come_excludes_what_is_there(self, source: Source, stream: StreamDriver) -> None:
        """Whoever resolved LATEST may have had a clock ahead of the service's."""
        await stream.put("k", b"1")
        [record] = await everything(source, 1)
        reader = source.reader(await the_shard(source, record.shard), Since(record.arrived + 3600))
        for _ in range(3):
            assert list((await reader.read()).records) == []

    async def test_a_moment_before_the_stream_means_everything(self, source: Source, stream: StreamDriver) -> None:
        """The moment need not be one at which anything arrived, nor one at which the stream existed."""
        shard_id, _ = await stream.put("k", b"1")
        reader = source.reader(await the_shard(source, shard_id), Since(1.0))
        assert [record.data for record in await some(reader, 1)] == [b"1"]

    # -- lineage

    async def test_a_closed_shard_ends_with_its_children(self, source: Source, stream: StreamDriver) -> None:
        """After its last record, once and for all: the end, naming who goes on; the tree is the listing's."""
        [left, _] = await by_range(source)
        await stream.put(key_of(left), b"last")
        await stream.split(left.id)
        records, end = await to_the_end(source.reader(left, "TRIM_HORIZON"))
        listed = [shard for shard in await source.shards() if shard.parents == (left.id,)]
        assert [record.data for record in records] == [b"last"]
        assert sorted(end.children, key=by_id) == sorted(listed, key=by_id)

    async def test_a_merge_has_both_parents(self, source: Source, stream: StreamDriver) -> None:
        """Both end with the same child."""
        [left, right] = await by_range(source)
        await stream.merge(left.id, right.id)
        for parent in (left, right):
            _, end = await to_the_end(source.reader(parent, "TRIM_HORIZON"))
            [child] = end.children
            assert set(child.parents) == {left.id, right.id}
            assert child.hash_range == (0, HASH_KEYS - 1)

    async def test_a_shard_ends_from_its_last_position_too(self, source: Source, stream: StreamDriver) -> None:
        """A successor that finds everything settled still learns of the end."""
        [left, _] = await by_range(source)
        _, number = await stream.put(key_of(left), b"last")
        await stream.split(left.id)
        records, end = await to_the_end(source.reader(left, Position(number)))
        assert records == []
        assert len(end.children) == 2

    async def test_an_end_stays_the_end(self, source: Source, stream: StreamDriver) -> None:
        """Asked again, the reader says the same, without records."""
        [left, _] = await by_range(source)
        await stream.put(key_of(left), b"last")
        await stream.split(left.id)
        reader = source.reader(left, "TRIM_HORIZON")
        _, end = await to_the_end(reader)
        again = await reader.read()
        assert (list(again.records), again.ended) == ([], True)
        assert sorted(again.children, key=by_id) == sorted(end.children, key=by_id)

    async def test_a_shard_closed_while_it_is_read_ends(self, source: Source, stream: StreamDriver) -> None:
        """The reader was open before: it returns the rest, then the end."""
        [left, _] = await by_range(source)
        reader = source.reader(left, "TRIM_HORIZON")
        await stream.put(key_of(left), b"1")
        await some(reader, 1)
        await stream.put(key_of(left), b"2")
        await stream.split(left.id)
        records, _ = await to_the_end(reader)
        assert [record.data for record in records] == [b"2"]


def by_id(shard: Shard) -> str:
    """Sort shards."""
    return shard.id


async def by_range(source: Source) -> Sequence[Shard]:
    """List the shards by their keys."""
    return sorted(await source.shards(), key=lambda shard: shard.hash_range or (0, 0))


async def the_shard(source: Source, shard_id: str) -> Shard:
    """Find one shard of the listing."""
    [shard] = [shard for shard in await source.shards() if shard.id == shard_id]
    return shard


def key_of(shard: Shard) -> str:
    """Return a key of the lower or upper half of all, where the shard is."""
    return "k" if shard.hash_range and shard.hash_range[0] else "a"


async def some(reader: Reader, count: int) -> list[Record]:
    """Read until there are `count` records, which must not be more."""
    records: list[Record] = []
    for _ in range(PATIENCE):
        records += (await reader.read()).records
        if len(records) >= count:
            break
    assert len(records) == count
    return records


async def to_the_end(reader: Reader) -> tuple[list[Record], Read]:
    """Read a closed shard. Return its records and the last answer."""
    records: list[Record] = []
    for _ in range(PATIENCE):
        read = await reader.read()
        records += read.records
        if read.ended:
            return records, read
        assert read.children == ()
    raise AssertionError(f"expected the end of the shard within {PATIENCE} answers, got none")


async def everything(source: Source, count: int) -> list[Record]:
    """Read all shards from their oldest records until there are `count` records, which must not be more."""
    readers = [source.reader(shard, "TRIM_HORIZON") for shard in await by_range(source)]
    found: list[list[Record]] = [[] for _ in readers]
    for _ in range(PATIENCE):
        for reader, records in zip(readers, found, strict=True):
            records.extend((await reader.read()).records)
        if sum(map(len, found)) >= count:
            break
    assert sum(map(len, found)) == count
    return [record for records in found for record in records]
