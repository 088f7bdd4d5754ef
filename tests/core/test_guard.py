"""Position checks at the sink: the newest state stays, whatever is written again, late, or by a zombie."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streamkit import Guard, Record
from streamkit.core.attributes import image
from streamkit.core.items import Items
from streamkit.core.kpl import expand
from streamkit.core.transactions import Expression, Write
from streamkit.testing import World, run_virtual
from streamkit.testing.builders import aggregate, record, records

places = st.tuples(
    st.one_of(st.integers(0, 30), st.integers(10**37, 10**39), st.integers(10**128, 10**129 - 1)), st.integers(0, 12)
)


def at(place: tuple[int, int]) -> Record:
    """Return a record of this number and subsequence."""
    return replace(record(sequence=place[0]), subsequence=place[1])


def write(items: Items, of: Record, *, puts: bool = False) -> bool:
    """Write a record's value as a consumer would; return whether it took effect."""
    guard, key, value = Guard.of(of, attribute="last"), {"id": of.key}, of.json()
    values = image(guard.values if puts else {":value": value, **guard.values})
    stated = Expression(guard.condition, guard.names, values)
    if puts:
        wanted = Write("put", "sink", image(key), item=image({**key, "value": value, **guard.item}), condition=stated)
    else:
        update = f"SET value = :value, {guard.assignment}"
        wanted = Write("update", "sink", image(key), update=update, condition=stated)
    if items.objections([wanted]):
        return False
    items.apply([wanted])
    return True


@given(mine=places, theirs=places)
def test_positions_sort_as_their_records_stand_in_the_stream(mine: tuple[int, int], theirs: tuple[int, int]) -> None:
    """As texts: numbers are longer than DynamoDB's, and of different lengths; user records of an aggregate in order."""
    assert (Guard.of(at(mine)).position < Guard.of(at(theirs)).position) == (mine < theirs)


@given(order=st.lists(st.integers(0, 11), max_size=40), puts=st.booleans())
def test_the_newest_of_what_was_written_stays(order: list[int], puts: bool) -> None:  # noqa: FBT001 - drawn
    """In any order, any number of times: a write takes effect only if it is newer than all before it."""
    stream, items, newest = records(12, first=95), Items({"sink": ["id"]}), -1
    for index in order:
        assert write(items, stream[index], puts=puts) == (index > newest)
        newest = max(newest, index)
    assert [item["value"] for item in items["sink"]] == [95 + newest] * bool(order)


def test_positions_of_a_key_ascend_from_a_shard_to_its_children() -> None:
    """Over splits: the numbers of a child lie beyond its parents'."""

    async def main() -> None:
        stream = World(shards=2).stream
        found = [stream.put("key")]
        for _ in range(3):
            stream.split(found[-1].shard)
            found.append(stream.put("key"))
        positions = [Guard.of(each).position for each in found]
        assert len({each.shard for each in found}) == 4
        assert positions == sorted(set(positions))

    run_virtual(main)


def test_user_records_of_an_aggregate_have_positions_of_their_own() -> None:
    """They share their sequence number."""
    parts = expand(replace(record(), data=aggregate([("a", n) for n in range(12)])))
    positions = [Guard.of(part).position for part in parts]
    assert positions == sorted(set(positions))


@pytest.mark.parametrize("attribute", ["", "x" * 256])
def test_a_guard_has_a_name_that_an_attribute_may_have(attribute: str) -> None:
    """Else DynamoDB would refuse every write."""
    with pytest.raises(ValueError, match="expected the name of an attribute"):
        Guard.of(record(), attribute=attribute)
