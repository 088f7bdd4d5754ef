"""What lineage tells: whether every hash key is somebody's, who comes first, who is long finished."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamkit.core.lineage import HASH_KEYS, HashRange, Shard, ancestors, eldest_first, holes, overlap

LAST = HASH_KEYS - 1


def shard(name: str, first: int, last: int, *parents: str) -> Shard:
    """Make one."""
    return Shard(name, parents, (first, last))


@st.composite
def lineages(draw: st.DrawFn) -> tuple[list[Shard], list[Shard]]:
    """Draw a stream's shards after any splits and merges: all of them in the order of their making, and the leaves."""
    count = draw(st.integers(1, 4))
    edges = [n * HASH_KEYS // count for n in range(count + 1)]
    leaves = [shard(f"s{n}", edges[n], edges[n + 1] - 1) for n in range(count)]
    made = list(leaves)
    for number in range(draw(st.integers(0, 12))):
        at = draw(st.integers(0, len(leaves) - 1))
        first, last = leaves[at].hash_range or (0, 0)
        if draw(st.booleans()) and at + 1 < len(leaves):
            both = leaves[at], leaves[at + 1]
            last = (both[1].hash_range or (0, 0))[1]
            born = [shard(f"m{number}", first, last, both[0].id, both[1].id)]
            leaves[at : at + 2] = born
        elif last > first:
            middle = draw(st.integers(first + 1, last))
            parent = leaves[at].id
            born = [shard(f"a{number}", first, middle - 1, parent), shard(f"b{number}", middle, last, parent)]
            leaves[at : at + 1] = born
        else:
            continue
        made += born
    return made, leaves


def keys_of(ranges: list[HashRange]) -> int:
    """Count the keys of ranges without overlap."""
    return sum(last - first + 1 for first, last in ranges)


@given(lineages(), st.data())
def test_leaves_have_no_hole_and_without_some_exactly_their_keys(
    lineage: tuple[list[Shard], list[Shard]], data: st.DataObject
) -> None:
    """Whatever was split and merged; what is missing is told to the key."""
    _, leaves = lineage
    assert holes(leaves) == ()
    gone = data.draw(st.sets(st.sampled_from(leaves), max_size=len(leaves) - 1))
    left = [leaf for leaf in leaves if leaf not in gone]
    found = list(holes(data.draw(st.permutations(left))))
    missing = [each.hash_range for each in gone if each.hash_range]
    assert keys_of(found) == keys_of(missing)
    assert all(any(overlap(each, hole) for hole in found) for each in missing)
    assert not any(overlap(each.hash_range, hole) for each in left for hole in found)


@given(lineages(), st.data())
def test_who_is_finished_down_to_a_generation_leaves_no_hole(
    lineage: tuple[list[Shard], list[Shard]], data: st.DataObject
) -> None:
    """At any moment of a reshard: a parent that is not finished covers for its children, with rows or without."""
    made, _ = lineage
    finished: set[str] = set()
    for each in made:
        if set(each.parents) <= finished and data.draw(st.booleans()):
            finished.add(each.id)
    has_children = {parent for each in made for parent in each.parents}
    finished &= has_children
    assert holes(each for each in made if each.id not in finished) == ()
    begun = [each for each in made if each.id not in finished and set(each.parents) <= finished]
    waiting_for_another = [each for each in made if each.id not in finished and set(each.parents) & finished]
    assert holes([*begun, *waiting_for_another]) == ()


@given(lineages(), st.data())
def test_parents_come_before_children(lineage: tuple[list[Shard], list[Shard]], data: st.DataObject) -> None:
    """In whatever order the service lists them, and with some no longer listed."""
    made, _ = lineage
    listed = data.draw(st.lists(st.sampled_from(made), unique_by=lambda each: each.id))
    ordered = eldest_first(listed)
    assert sorted(each.id for each in ordered) == sorted(each.id for each in listed)
    place = {each.id: at for at, each in enumerate(ordered)}
    for each in listed:
        assert all(place[parent] < place[each.id] for parent in each.parents if parent in place)
    assert ordered == eldest_first(reversed(listed))


def test_a_lineage_in_a_circle_ends_all_the_same() -> None:
    """No service says so; a loop without a bound is worse than any order."""
    assert [each.id for each in eldest_first([shard("a", 0, 1, "b"), shard("b", 0, 1, "a")])] == ["a", "b"]
    assert ancestors([shard("a", 0, 1, "b")], [shard("a", 0, 1, "b"), shard("b", 0, 1, "a")]) == {"a", "b"}


@pytest.mark.parametrize("leaves", [[], [Shard("s")], [Shard("s"), shard("t", 0, 5)]], ids=["none", "one", "mixed"])
def test_without_hash_keys_there_are_no_holes(leaves: list[Shard]) -> None:
    """DynamoDB has none, and a stream that nobody has looked at yet has no rows."""
    assert holes(leaves) == ()


def test_a_hole_at_either_end_and_between_is_told_with_its_range() -> None:
    """Inclusive, as the service writes them; shards that overlap hide nothing."""
    leaves = [shard("a", 10, 19), shard("b", 15, 29), shard("c", 12, 13), shard("d", 40, LAST - 1)]
    assert holes(leaves) == ((0, 9), (30, 39), (LAST, LAST))


def test_ancestors_reach_over_generations_that_are_told_of() -> None:
    """Of one that is no longer listed only its name is known."""
    child, parent = shard("c", 0, 1, "p", "q"), shard("p", 0, 1, "g")
    assert ancestors([child], [child, parent]) == {"p", "q", "g"}
    assert ancestors([child], []) == {"p", "q"}
