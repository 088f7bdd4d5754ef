"""What goes into one transaction, and what no transaction can hold."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamkit.core.attributes import attribute, image, size
from streamkit.core.expressions import ExpressionError, holds, updated
from streamkit.core.items import Items
from streamkit.core.transactions import MAX_BYTES, MAX_WRITES, Expression, Write, as_read, fitting, together
from streamkit.core.values import plain
from streamkit.signals import Poison


def writing(*keys: int, size: int = 0) -> tuple[Write, ...]:
    """Return the writes of one record: an item each."""
    return tuple(Write("put", "t", image({"id": key}), item=image({"id": key, "x": "x" * size})) for key in keys)


@given(st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=60, unique=True), min_size=1, max_size=12))
def test_records_go_together_within_the_limits_and_touch_no_item_twice(keys: list[list[int]]) -> None:
    """The first always goes; whoever is left out would not have fitted."""
    records = [writing(*each) for each in keys]
    chosen = together(records)
    targets = [write.target for index in chosen for write in records[index]]
    assert chosen[0] == 0
    assert len(set(targets)) == len(targets) <= MAX_WRITES
    for index in set(range(len(records))) - set(chosen):
        before = {t for i in chosen if i < index for t in (write.target for write in records[i])}
        mine = {write.target for write in records[index]}
        assert before & mine or len(before) + len(mine) > MAX_WRITES


def test_a_transaction_is_cut_at_its_bytes() -> None:
    """Large items go in turn."""
    large = [writing(n, size=300_000) for n in range(30)]
    chosen = together(large)
    assert 0 < len(chosen) < 15
    assert sum(write.size for index in chosen for write in large[index]) <= MAX_BYTES


@pytest.mark.parametrize(
    ("writes", "reason"),
    [
        (writing(*range(100)), "expected at most 99 items in one record's transaction, got 100"),
        (writing(*range(20), size=300_000), "expected at most 4128768 bytes in one record's transaction"),
        ((Write("check", "t", image({"id": 1}), condition=Expression("a" * 5000)),), "expected a condition of at most"),
    ],
    ids=["items", "bytes", "condition"],
)
def test_a_record_beyond_the_limits_is_poison(writes: tuple[Write, ...], reason: str) -> None:
    """No retry would help it."""
    with pytest.raises(Poison, match=reason):
        fitting(writes)


def test_two_writes_of_one_item_are_a_slip_of_the_handler() -> None:
    """DynamoDB takes one operation an item, whatever its number's spelling."""
    with pytest.raises(ValueError, match="expected one write an item, got two of one item in table t"):
        fitting([*writing(1), Write("delete", "t", image({"id": Decimal("1.0")}))])


values: st.SearchStrategy[object] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.decimals("-1e20", "1e20", places=4)
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.sets(st.text(max_size=4), min_size=1, max_size=4)
    | st.sets(st.integers(), min_size=1, max_size=4).filter(lambda found: max(map(abs, found)) < 10**30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(min_size=1, max_size=4), values, max_size=4))
def test_values_come_back_as_they_went(item: dict[str, object]) -> None:
    """What is written is what is read."""
    assert plain(image(item)) == item
    assert size(image(item)) >= len(item)


@pytest.mark.parametrize("value", [1.5, object(), set(), {1, "a"}, Decimal("1e200"), {True}])
def test_what_dynamodb_cannot_hold_is_refused(value: object) -> None:
    """At the call, so that the handler's own line is in the traceback."""
    with pytest.raises((TypeError, ValueError), match="expected"):
        attribute(value)


ITEM = image({"id": "a", "n": 5, "s": "hello", "l": [1, 2], "m": {"x": 1}, "set": {1, 2}})
VALUES = image({":five": 5, ":six": 6, ":h": "he", ":one": 1, ":set": {2, 3}, ":l": [9], ":t": "N"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n = :five", True),
        ("n <> :five AND n < :six OR n = :six", False),
        ("NOT n > :six", True),
        ("n BETWEEN :one AND :six AND (s = :h OR begins_with(s, :h))", True),
        ("n IN (:one, :five)", True),
        ("attribute_exists(m.x) AND attribute_not_exists(m.y)", True),
        ("attribute_type(n, :t) AND contains(l, :one) AND contains(#set, :one)", True),
        ("size(s) = :five", True),
        ("s > :five", False),
        ("l[1] = :one", False),
        ("missing = :five", False),
        ("missing <> :five", False),
    ],
)
def test_conditions_hold_as_in_dynamodb(text: str, expected: bool) -> None:  # noqa: FBT001 - a table of truths
    """Of one item, with every operator."""
    assert holds(text, ITEM, names={"#set": "set"}, values=VALUES) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SET n = n + :one, m.y = n", {"n": 6, "m": {"x": 1, "y": 5}}),
        ("SET z = if_not_exists(z, :five) - :one REMOVE s, l[0]", {"z": 4, "s": None, "l": [2]}),
        ("ADD n :six, #set :set, fresh :one", {"n": 11, "set": {1, 2, 3}, "fresh": 1}),
        ("DELETE #set :set SET l = list_append(l, :l)", {"set": {1}, "l": [1, 2, 9]}),
    ],
)
def test_updates_do_as_in_dynamodb(text: str, expected: dict[str, object]) -> None:
    """Every value is of the item before the update."""
    after = plain(updated(text, ITEM, names={"#set": "set"}, values=VALUES))
    assert {name: after.get(name) for name in expected} == expected


@pytest.mark.parametrize("text", ["ADD s :one", "SET n = s + :one", "SET a.b = :one", "GROW n :one", "SET n = :no"])
def test_an_update_that_makes_no_sense_is_refused(text: str) -> None:
    """Of types that do not fit, paths that lead nowhere, and words that are none."""
    with pytest.raises(ExpressionError):
        updated(text, ITEM, names={}, values=VALUES)


@given(
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 2)),
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 2)),
)
def test_a_read_holds_as_long_as_nothing_that_was_read_changed(before: dict[str, int], after: dict[str, int]) -> None:
    """Named attributes: equal or missing in both. Without names: whatever the item had."""
    key = image({"id": 1})
    old, new = {**key, **image(before)}, {**key, **image(after)}
    for names in (["a", "b"], None):
        condition = as_read(key, old, names, number=0)
        same = all(before.get(name) == after.get(name) for name in (names or before))
        assert holds(condition.text, new, names=condition.names, values=condition.values) is same
        assert not holds(condition.text, {}, names=condition.names, values=condition.values)
    absent = as_read(key, None, None, number=0)
    assert holds(absent.text, {}, names=absent.names, values=absent.values)
    assert not holds(absent.text, new, names=absent.names, values=absent.values)


def test_items_need_their_key_to_be_known() -> None:
    """Named, or met in an operation that has one."""
    with pytest.raises(ValueError, match="expected the key of table 'x' to be known"):
        Items().seed("x", {"id": 1})
    items = Items({"x": ["id"]})
    items.seed("x", {"id": 1, "n": 2})
    assert items["x"] == [{"id": 1, "n": 2}]
