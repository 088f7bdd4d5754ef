"""What is laid out in the checkpoint table reads back as it was; anything else is refused by name."""

import re
import zlib
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streamkit.aws.attributes import VERSION
from streamkit.aws.rows import (
    MEMBER_ATTRIBUTES,
    META,
    SHARD_ATTRIBUTES,
    Layout,
    claim_key,
    member_item,
    member_row,
    registration_item,
    registration_row,
    shard_item,
    shard_row,
)
from streamkit.core.leasing import Member, ShardRow, Vitals
from streamkit.core.lineage import Shard, Stream
from streamkit.core.positions import Position, Progress, Since, Start
from streamkit.core.quarantine import Death, Quarantine
from streamkit.errors import ConfigurationError, CorruptRow
from streamkit.ports import Registration

NUMBER = "49590338271490256608559692538361571095921575989136588898"
KEY = {"pk": {"S": "shard#0123456789ab#0"}, "sk": {"S": "shardId-000000000000"}}

ids = st.text(min_size=1, max_size=30)
counts = st.integers(0, 10**18 - 1)
moments = st.floats(0, 4e9)
positions = st.builds(Position, st.from_regex(r"[0-9]{1,129}", fullmatch=True), st.none() | st.integers(0, 10_000))
starts = st.just("TRIM_HORIZON") | st.builds(Since, moments)
hash_ranges = st.tuples(st.integers(0, 2**128 - 1), st.integers(0, 2**128 - 1)).map(lambda pair: (min(pair), max(pair)))
progresses = st.builds(Progress, frontier=st.none() | positions, decoding=counts) | st.builds(
    Progress,
    frontier=st.none() | positions,
    first=positions,
    done=st.binary(min_size=1, max_size=2000),
    decoding=counts,
)
deaths = st.builds(Death, moments, ids, counts, st.booleans())
quarantines = st.builds(
    Quarantine,
    left=counts,
    size=counts,
    until=st.none() | positions,
    step=st.none() | positions,
    tried=counts,
    epoch=counts,
    strikes=st.lists(deaths, max_size=3).map(tuple),
)
shard_rows = st.builds(
    ShardRow,
    shard=st.builds(Shard, ids, st.lists(ids, max_size=2).map(tuple), st.none() | hash_ranges),
    start=starts,
    owner=st.none() | ids,
    epoch=counts,
    revision=counts,
    token=st.text(max_size=40),
    progress=progresses,
    state=st.sampled_from(["open", "ended", "halted"]),
    halted=st.none() | st.text(),
    prefers=st.none() | ids,
    parked=st.lists(ids, max_size=3).map(tuple),
    frontier_arrived=st.none() | moments,
    caught_up_at=st.none() | moments,
    level=st.none() | st.integers(0, 100),
    generation=counts,
    deaths=st.lists(deaths, max_size=3).map(tuple),
    quarantine=st.none() | quarantines,
    vitals=st.none()
    | st.builds(Vitals, at=moments, settled=counts, oldest=st.none() | moments, paused=st.none() | ids),
)
FULL = ShardRow(
    shard=Shard("shardId-000000000000", ("shardId-000000000007",), (0, 2**127 - 1)),
    start="TRIM_HORIZON",
    owner="ip-10-0-12-34.eu-central-1-0123456789abcdef",
    epoch=12,
    revision=123_456,
    token="0123456789abcdef0123456789abcdef",
    progress=Progress(Position(NUMBER), Position(NUMBER), b"\x55", 1),
    prefers="ip-10-0-12-35.eu-central-1-0123456789abcdef",
    frontier_arrived=1_356_998_460.017,
    caught_up_at=1_356_998_461.5,
    generation=1,
    vitals=Vitals(
        at=1_356_998_461.517,
        settled=123_456_789,
        retried=12_345,
        dead=1_234,
        rate=1_234.56,
        waiting=6_000,
        oldest=1_356_998_400.017,
        behind=3600.0,
        paused="OSError at shop.py:7",
    ),
)


def item_bytes(item: dict[str, Any]) -> int:
    """The size DynamoDB bills: names and values, numbers by pairs of digits, three bytes and one an element a list.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
    """

    def value_bytes(attribute: dict[str, Any]) -> int:
        [(kind, value)] = attribute.items()
        if kind == "N":
            return (len(value) + 1) // 2 + 1
        if kind == "L":
            return 3 + sum(1 + value_bytes(each) for each in value)
        return len(value.encode() if kind == "S" else value)

    return sum(len(name.encode()) + value_bytes(attribute) for name, attribute in item.items())


@given(shard_rows)
def test_a_shards_row_reads_back_as_it_was(row: ShardRow) -> None:
    """Every field, whatever it holds."""
    key = Layout("table", "0123456789ab", 4).shard_key(row.id)
    assert shard_row("table", {**key, **shard_item(row)}) == row


levels = st.lists(st.none() | st.integers(0, 100), max_size=5).map(tuple)


@given(
    st.builds(
        Member, ids, counts, st.sampled_from(["alive", "left", "dead"]), st.lists(ids).map(tuple), moments, levels
    )
)
def test_a_workers_row_reads_back_as_it_was(member: Member) -> None:
    """Every field, whatever it holds."""
    key = Layout("table", "0123456789ab", 4).worker_key(member.worker)
    assert member_row("table", {**key, **member_item(member)}) == member


streams = st.builds(Stream, ids, ids, ids, st.integers(1, 8760).map(lambda hours: timedelta(hours=hours)))


@given(ids, streams, starts, st.integers(1, 1000))
def test_a_registration_reads_back_as_it_was(consumer: str, stream: Stream, start: Start, buckets: int) -> None:
    """Every field, and the number of buckets."""
    registration = Registration(consumer, stream, start, buckets)
    item = {**META, **registration_item(registration)}
    assert registration_row("table", item) == registration


def test_a_table_from_before_there_were_buckets_has_one() -> None:
    """Its rows are found where they are."""
    stream = Stream("s", "arn:s", "1", timedelta(days=1))
    item = {**META, **registration_item(Registration("flights", stream, "TRIM_HORIZON", buckets=1))}
    del item["buckets"]
    assert registration_row("table", item).buckets == 1


@given(st.lists(st.from_regex(r"(shardId-)?=?[0-9]{1,13}", fullmatch=True) | ids, max_size=8))
def test_any_id_survives_its_short_form(shards: list[str]) -> None:
    """A worker's row is read by everybody all the time: usual ids are told by their number, others as they are."""
    member = Member("worker", holds=tuple(shards))
    assert member_row("table", {**KEY, **member_item(member)}).holds == member.holds


def test_a_lease_is_told_where_it_is_not_the_usual_one() -> None:
    """So that who looks without the code knows how long a worker may stand still; the usual one costs nobody a byte."""
    slow = Member("worker", lease=60.0)
    assert member_row("table", {**KEY, **member_item(slow)}).lease == 60.0
    assert "lease" not in member_item(Member("worker"))
    assert member_item(slow).keys() <= set(MEMBER_ATTRIBUTES)


def test_a_shard_costs_its_worker_a_few_bytes() -> None:
    """Reads of worker rows are most of what a large fleet costs (docs/scale.md)."""
    held = tuple((f"shardId-{number:012d}", 30) for number in range(1_000, 2_000))
    row, empty = Member("worker").beaten(held), Member("worker").beaten(())
    assert item_bytes(member_item(row)) - item_bytes(member_item(empty)) < 7 * len(held)


@given(shard_rows)
def test_every_attribute_of_a_row_is_known_as_ours(row: ShardRow) -> None:
    """A write replaces exactly these: one forgotten would survive a release."""
    assert shard_item(row).keys() <= set(SHARD_ATTRIBUTES)


def test_a_row_with_6000_done_bits_costs_one_write_unit() -> None:
    """Writes are billed by the started KB of the whole item (rule 17): here two keys of a hundred are stuck."""
    bits = bytearray(b"\xff" * 750)
    for index in (index for index in range(6_000) if index * 7919 % 100 in {3, 58}):
        bits[index // 8] &= ~(1 << index % 8) & 0xFF
    progress = Progress(Position(NUMBER), Position(NUMBER, 9), bytes(bits), 1)
    item = {**KEY, **shard_item(replace(FULL, progress=progress))}
    assert item_bytes(item) < 1024
    assert shard_row("table", item).progress == progress


def test_the_worst_done_bits_cost_no_more_than_two_write_units() -> None:
    """Bits without any pattern do not shrink, and hardly grow."""
    noise = bytes((index * index * 2654435761 >> 13) & 0xFF for index in range(750))
    worst = shard_item(ShardRow(FULL.shard, "TRIM_HORIZON", progress=Progress(None, Position(NUMBER), noise)))
    assert item_bytes({**KEY, **worst}) < 2048


CORRUPT: list[tuple[str, object, str]] = [
    ("v", None, "a number, got 'nothing'"),
    ("v", {"N": "0"}, "expected 1, got 0"),
    ("v", {"S": "1"}, "a number"),
    ("epoch", None, "a number"),
    ("epoch", {"N": "-1"}, "a whole number, not negative, got '-1'"),
    ("epoch", {"N": "1.5"}, "a whole number"),
    ("epoch", {"N": "9" * 30}, "a whole number"),
    ("epoch", {"N": "\u0663"}, "a whole number"),
    ("revision", {"S": "7"}, "a number, got {'S': '7'}"),
    ("token", None, "a string"),
    ("token", {"NULL": True}, "a string"),
    ("decoding", None, "a number"),
    ("state", {"S": "opened"}, "open, ended or halted, got 'opened'"),
    ("start", {"S": "LATEST"}, "TRIM_HORIZON or seconds since the epoch"),
    ("start", None, "a string"),
    ("owner", {"N": "1"}, "a string"),
    ("frontier", {"S": NUMBER}, "a position like"),
    ("frontier", {"S": f"055:{NUMBER}"}, "a position like"),
    ("frontier", {"S": "056:\u0664"}, "a position like"),
    ("first", None, "the position of the first done bit"),
    ("done", None, "the position of the first done bit"),
    ("done", {"B": b"not deflated"}, "deflated bits"),
    ("done", {"B": b""}, "deflated bits"),
    ("done", {"S": "AA=="}, "binary"),
    ("range", {"S": "7"}, "two hash keys"),
    ("range", {"S": "9-7"}, "two hash keys"),
    ("range", {"S": f"0-{2**128}"}, "two hash keys"),
    ("parents", {"S": "shardId-1"}, "a list"),
    ("parents", {"L": [{"N": "1"}]}, "a list of strings"),
    ("parked", {"L": ["x"]}, "a list of strings"),
    ("arrived", {"N": "soon"}, "a number"),
    ("arrived", {"N": "inf"}, "a number"),
    ("caught_up", {"BOOL": True}, "a number"),
]


@pytest.mark.parametrize(("attribute", "value", "complaint"), CORRUPT)
def test_a_corrupt_row_is_refused_by_name(attribute: str, value: object, complaint: str) -> None:
    """Table, key, attribute, expected and got: nothing is guessed, nothing defaulted."""
    item: dict[str, Any] = {**KEY, **shard_item(FULL), attribute: value}
    if value is None:
        del item[attribute]
    with pytest.raises(CorruptRow, match=re.escape(complaint)) as refusal:
        shard_row("streamkit-flights", item)
    assert "table streamkit-flights, row shard#0123456789ab#0/shardId-000000000000" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_done_bits_that_would_unpack_without_end_are_refused() -> None:
    """A row is trusted with its size, not with what it claims to hold."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = packer.compress(bytes(50_000_000)) + packer.flush()
    with pytest.raises(CorruptRow, match="deflated bits"):
        shard_row("table", {**KEY, **shard_item(FULL), "done": {"B": bomb}})


@pytest.mark.parametrize(
    ("read", "item"),
    [
        (shard_row, shard_item(FULL)),
        (member_row, member_item(Member("worker"))),
    ],
)
def test_a_row_of_a_later_layout_is_refused(read: Any, item: dict[str, Any]) -> None:
    """A newer version may have changed what the rest means."""
    with pytest.raises(ConfigurationError, match=f"expected rows of layout {VERSION}, got {VERSION + 1}"):
        read("table", {**KEY, **item, "v": {"N": str(VERSION + 1)}})


@pytest.mark.parametrize(
    ("attribute", "value"),
    [("state", {"S": "gone"}), ("holds", {"S": "x"}), ("counter", None), ("started", None)],
)
def test_a_corrupt_workers_row_is_refused(attribute: str, value: object) -> None:
    """The same for heartbeats."""
    item = {**KEY, **member_item(Member("worker")), attribute: value}
    with pytest.raises(CorruptRow, match=f"attribute {attribute}"):
        member_row("table", {name: each for name, each in item.items() if each is not None})


def test_attributes_of_others_are_no_corruption() -> None:
    """People may add to a row; what is not ours is not read."""
    assert shard_row("table", {**KEY, **shard_item(FULL), "note": {"S": "by hand"}}) == FULL


def test_rows_are_spread_over_buckets_and_found_again() -> None:
    """The same bucket for the same name, all of them in use (rule 9)."""
    layout = Layout("table", "0123456789ab", 8)
    found = {layout.shard_key(f"shardId-{number:012d}")["pk"]["S"] for number in range(200)}
    assert found == set(layout.shard_partitions())
    assert {layout.worker_key(f"w{number}")["pk"]["S"] for number in range(200)} == set(layout.worker_partitions())


def test_another_incarnation_of_a_stream_has_rows_of_its_own() -> None:
    """Deleted and created again it is a different stream (rule 13)."""
    first, again = (
        Layout.of("table", Stream("s", "arn:s", incarnation, timedelta(days=1)), buckets=1)
        for incarnation in ("1356998400000", "1356998400001")
    )
    assert first.shard_key("shardId-1") != again.shard_key("shardId-1")


def test_a_claimed_key_cannot_be_read_from_the_table() -> None:
    """Keys are data of users: a digest stands for them (rule 31)."""
    assert "N14228" not in str(claim_key("N14228"))
    assert claim_key("a") != claim_key("b")


@pytest.mark.parametrize("damaged", ["", "{", "[1, 2]x", '{"at": 1}', "[null]"])
def test_what_is_for_people_only_never_keeps_a_worker_from_reading_a_row(damaged: str) -> None:
    """A later version may write it otherwise."""
    item = {**KEY, **shard_item(FULL), "vitals": {"S": damaged}, "asked": {"S": damaged}}
    row = shard_row("table", item)
    assert replace(row, vitals=FULL.vitals) == FULL
    assert row.vitals is None
