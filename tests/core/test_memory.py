"""What deliveries remember of each other: pure."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streamkit.core.memory import (
    MAX_STEP,
    Digests,
    Memo,
    Recollection,
    Stretches,
    Trouble,
    named,
    place,
    remaining,
    slots,
    steps,
)
from streamkit.core.positions import Progress
from streamkit.core.records import Record
from streamkit.core.window import Window, pack
from streamkit.testing.builders import records

DECODING = 7
NOW = 1_000.0

SHARD = records(60)
"""A shard's records, in order."""


def window(delivered: list[Record], ahead: bytes) -> Window:
    """Return the window of a delivery that knows what is settled."""
    done = Progress(first=named(delivered[0]), done=pack(bytearray(ahead)), decoding=DECODING) if any(ahead) else None
    found = Window(done or Progress(), decoding=DECODING)
    for record in delivered:
        found.admit(record)
    return found


batches = st.lists(
    st.tuples(st.integers(0, 50), st.integers(1, 20), st.sets(st.integers(0, 19)), st.booleans()),
    min_size=1,
    max_size=8,
)


@given(batches)
def test_stretches_never_take_for_settled_what_is_not(history: list[tuple[int, int, set[int], bool]]) -> None:
    """Whatever is delivered in which order, skipped or repeated: what a shard's memo calls settled was settled."""
    known, settled = Stretches(), set[int]()
    for begin, length, done, whole in history:
        delivered = SHARD[begin : begin + length]
        ahead = known.ahead(delivered, DECODING)
        assert {begin + i for i in range(len(delivered)) if ahead[i]} <= settled
        ran = window(delivered, bytes(ahead))
        for index in range(len(delivered)) if whole else sorted(done):
            if index < len(delivered) and not ahead[index]:
                ran.settle(index)
                settled.add(begin + index)
        known = known.extended(named(delivered[0]), ran.progress())


@given(st.integers(1, 20), st.sets(st.integers(0, 19)), st.integers(0, 19))
def test_a_delivery_that_comes_again_finds_all_that_was_settled(length: int, done: set[int], later: int) -> None:
    """From its first unsettled record on, or whole, or with more behind it: exact with one delivery at a time."""
    delivered = SHARD[:length]
    ran = window(delivered, b"")
    settled = {index for index in done if index < length}
    for index in sorted(settled):
        ran.settle(index)
    known = Stretches().extended(named(delivered[0]), ran.progress())
    frontier = min((index for index in range(length) if index not in settled), default=length)
    for begin in {0, frontier}:
        again = SHARD[begin : length + later]
        flags = known.ahead(again, DECODING)
        assert {begin + i for i in range(len(again)) if flags[i]} == {i for i in settled if i >= begin}


@given(st.integers(1, 30), st.sets(st.integers(0, 29)), st.integers(0, 29), st.integers(1, 30))
def test_digests_are_exact_for_any_company(length: int, done: set[int], begin: int, other: int) -> None:
    """Records are known one by one: also in another batch, in any order."""
    known = Digests.of(SHARD[:length], [index in done for index in range(length)])
    again = SHARD[begin : begin + other][::-1]
    flags = known.ahead(again, DECODING)
    settled = {record.sequence - 1 for record, flag in zip(again, flags, strict=True) if flag}
    assert settled == {index for index in done if index < length and begin <= index < begin + other}
    assert known.shares(again) == any(begin <= index < begin + other for index in range(length))
    assert known.within(SHARD[:40])
    assert known.within(again) == (begin == 0 and other >= length)


@given(st.lists(st.tuples(st.integers(1, 4), st.sets(st.integers(0, 3))), min_size=1, max_size=6))
def test_user_records_of_an_aggregate_are_known_apart(aggregates: list[tuple[int, set[int]]]) -> None:
    """An aggregate that is settled in part costs a digest for each settled part, a whole one costs one."""
    delivered = [
        replace(physical, subsequence=sub, last=sub == size - 1)
        for physical, (size, _) in zip(SHARD, aggregates, strict=False)
        for sub in range(size)
    ]
    settled = [sub in done for size, done in aggregates for sub in range(size)]
    known = Digests.of(delivered, settled)
    assert list(known.ahead(delivered, DECODING)) == settled


def test_records_of_unknown_shards_are_told_apart_by_their_keys() -> None:
    """Numbers of two shards of a table may be the same: a key lives in one of them."""
    one, other = (replace(SHARD[0], key=key, origin=replace(SHARD[0].origin, shard="")) for key in ("a", "b"))
    assert not Digests.of([one], [True]).shares([other])


def memo(**fields: object) -> Memo:
    """Return a memo of the first ten records."""
    known = Digests.of(SHARD[:10], [False] * 10)
    return replace(Memo(token="t", since=1.0, until=2.0, known=known), **fields)


def recollected(*memos: Memo) -> Trouble:
    """Return the trouble that a delivery of these records finds."""
    return Recollection.of(memos, SHARD[:10], now=NOW, decoding=DECODING).trouble


def test_a_delivery_without_a_word_and_without_progress_is_a_death() -> None:
    """One that settled something, or said goodbye, is none."""
    assert recollected(memo()).deaths == 1
    assert recollected(memo(moved=True)).deaths == 0
    assert recollected(memo(until=None)).deaths == 0
    assert recollected(memo(until=NOW + 5)).deaths == 0
    assert recollected(memo(trouble=Trouble(deaths=1))).deaths == 2


def test_who_was_alone_at_a_death_is_counted() -> None:
    """What was marked is suspect; alone, it was the sole attempt."""
    one, two = place(SHARD[3]), place(SHARD[4])
    assert recollected(memo(mark=(one, two), moved=True)) == Trouble(deaths=1, suspects=(one, two))
    found = recollected(memo(mark=(one,), trouble=Trouble(deaths=3, suspects=(one, two), sole={one: 1})))
    assert found == Trouble(deaths=4, suspects=(one,), sole={one: 2})


def test_the_latest_delivery_knows_best() -> None:
    """What went wrong before it, it has taken over; attempts are the most that any knows of."""
    old = memo(since=1.0, until=None, trouble=Trouble(failures={"1:0": 4}, deaths=5, halted="why"))
    new = memo(since=2.0, until=None, trouble=Trouble(failures={"1:0": 1, "2:0": 2}))
    assert recollected(new, old) == Trouble(failures={"1:0": 4, "2:0": 2})


@given(st.integers(1, 60), st.sets(st.integers(0, 59)), st.sets(st.integers(0, 59)), st.integers(0, 4))
def test_steps_cover_everything_once_and_in_order(
    count: int, settled: set[int], suspects: set[int], deaths: int
) -> None:
    """One step where nobody died; else marked ones, none of which holds more than a mark can."""
    delivered = SHARD[:count]
    flags = [index in settled for index in range(count)]
    trouble = Trouble(deaths=deaths, suspects=tuple(place(SHARD[index]) for index in sorted(suspects)))
    found = steps(delivered, flags, trouble)
    assert [index for step in found for index in step.indexes] == list(range(count))
    if deaths < 2:
        assert [step.marked for step in found] == [False]
        return
    unsettled = [[index for index in step.indexes if not flags[index]] for step in found]
    assert all(step.marked == bool(left) for step, left in zip(found, unsettled, strict=True))
    live = {index for index in suspects if index < count and not flags[index]}
    size = max(1, -(-(len(live) or sum(not flag for flag in flags)) // 16))
    for left in unsettled:
        assert len(left) <= MAX_STEP
        if live & set(left):
            assert set(left) <= live
            assert len(left) <= size


def test_trouble_ends_with_the_records_it_is_about() -> None:
    """When the suspects are settled, the next delivery goes on as ever."""
    one, two = place(SHARD[0]), place(SHARD[1])
    trouble = Trouble(failures={one: 2, two: 1}, deaths=3, suspects=(one,), sole={one: 1}, parked=("k",))
    assert remaining(trouble, SHARD[:2], moved=True) == trouble
    assert remaining(trouble, SHARD[1:2], moved=True) == Trouble(failures={two: 1}, parked=("k",))
    assert remaining(Trouble(deaths=1), SHARD[:1], moved=True).deaths == 0
    assert remaining(Trouble(deaths=1), SHARD[:1], moved=False).deaths == 1


def test_a_slot_holds_what_arrived_in_five_minutes() -> None:
    """A stable function of the record: every delivery of it looks in the same place."""
    delivered = [replace(record, arrived=float(100 * index)) for index, record in enumerate(SHARD[:7])]
    assert slots(delivered) == {0: [0, 1, 2], 1: [3, 4, 5], 2: [6]}
