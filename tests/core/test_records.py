"""Records and positions: order is numeric, identity is stable, and what is stored sorts and reads back."""

import gzip
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from streamkit.core.positions import Position, Since
from streamkit.core.records import Batch, Origin, Record
from streamkit.signals import Undecodable

numbers = st.integers(0, 10**129 - 1)
positions = st.builds(Position, numbers.map(str), st.none() | st.integers(0, 10_000))
FLIGHTS = Origin("flights", "shardId-000000000001")


def record(number: str = "495903", *, data: bytes = b"{}", origin: Origin = FLIGHTS) -> Record:
    """Return a record of one flight."""
    return Record(data, "N14228", number, origin, arrived=1_356_998_400.25)


# --------------------------------------------------------------------------------------------- records


def test_sequence_numbers_compare_as_integers() -> None:
    """As strings, 9 would come after 10 (API_Record.html says only that they grow)."""
    assert record("9").sequence < record("10").sequence
    assert record("9" * 129).sequence == 10**129 - 1


def test_the_id_names_the_record_for_ever() -> None:
    """Stream, shard, sequence and subsequence; whatever happens to the record, it stays."""
    one = replace(record(), subsequence=3)
    assert one.id == "flights:shardId-000000000001:495903:3"
    assert replace(one, attempt=2, redriven=True, replayed=True).id == one.id


def test_the_position_of_the_last_user_record_covers_the_whole_aggregate() -> None:
    """So that a frontier behind an aggregate needs no subsequence number."""
    assert replace(record(), subsequence=3, last=False).position == Position("495903", 3)
    assert replace(record(), subsequence=3).position == Position("495903")


def test_the_arrival_is_a_moment_in_utc() -> None:
    """Never naive: comparisons with the user's own times must not guess."""
    assert record().arrived_at == datetime(2013, 1, 1, 0, 0, 0, 250_000, tzinfo=UTC)


def test_the_body_is_decompressed_only_as_declared() -> None:
    """No detection unless asked for."""
    packed = gzip.compress(b'{"delay": 11}')
    assert record(data=packed).body == packed
    declared = record(data=packed, origin=Origin("flights", "s", "gzip"))
    assert declared.text() == '{"delay": 11}'
    assert declared.json() == {"delay": 11}
    assert declared.data == packed


def test_json_of_a_type_is_validated() -> None:
    """Or it is the record's own fault."""

    class Flight(msgspec.Struct):
        delay: int

    assert record(data=b'{"delay": 11}').json(Flight) == Flight(11)
    with pytest.raises(Undecodable):
        record(data=b'{"delay": "x"}').json(Flight)


def test_the_repr_tells_no_payload_and_no_key() -> None:
    """It goes into logs (rule 31)."""
    shown = repr(replace(record(data=b"secret"), key="private", attempt=2))
    assert shown == "<Record flights:shardId-000000000001:495903:0, 6 bytes, attempt 2>"


def test_a_batch_is_records_of_one_shard() -> None:
    """In the order given."""
    batch = Batch([record("1"), record("2")])
    assert [one.sequence for one in batch] == [1, 2]
    assert batch.shard == "shardId-000000000001"


def test_no_batch_is_empty_or_mixed() -> None:
    """Illegal states do not construct."""
    with pytest.raises(ValueError, match="empty"):
        Batch([])
    with pytest.raises(ValueError, match="one shard"):
        Batch([record(), record(origin=Origin("flights", "other"))])
    with pytest.raises(ValueError, match="one shard"):
        Batch([record(), record(origin=Origin("other", FLIGHTS.shard))])


# --------------------------------------------------------------------------------------------- positions


@given(one=positions)
@example(Position("0"))
@example(Position("000"))
@example(Position("007", 0))
def test_a_position_is_read_back_as_it_was_stored(one: Position) -> None:
    """Leading zeros included: it is the service's text."""
    assert Position.parse(one.stored()) == one


@given(one=numbers, other=numbers)
def test_stored_positions_sort_like_their_numbers(one: int, other: int) -> None:
    """DynamoDB compares strings; its numbers hold 38 digits only (rule 17)."""
    first, second = Position(str(one)).stored(), Position(str(other)).stored()
    assert (first < second) == (one < other)


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "5",
        ":5",
        "1:5",
        "001:",
        "002:5",
        "001:5+",
        "001:5+x",
        "001:5+-1",
        "001:5+1+2",
        "001:5+01",
        "001:\u0665",
        "001: 5",
        "001:-5",
        "130:" + "1" * 130,
        "001:5+" + "9" * 5_000,
        "TRIM_HORIZON",
    ],
)
def test_other_text_is_no_position(stored: str) -> None:
    """A corrupt row is named, not guessed at."""
    with pytest.raises(ValueError, match="expected"):
        Position.parse(stored)


@given(place=numbers, sequence=numbers, subsequence=st.integers(0, 100))
def test_a_position_covers_what_lies_at_or_below_it(place: int, sequence: int, subsequence: int) -> None:
    """All user records of its number, or those up to its subsequence."""
    assert Position(str(place)).covers(sequence, subsequence) == (sequence <= place)
    inside = Position(str(place), subsequence)
    assert inside.covers(place, subsequence)
    assert not inside.covers(place, subsequence + 1)
    assert inside.covers(sequence, subsequence) == (sequence <= place)


def test_a_start_in_time_is_a_moment_in_utc() -> None:
    """Seconds since the epoch, by the service's clock."""
    assert Since(0.0).at == datetime(1970, 1, 1, tzinfo=UTC)


def test_json_of_no_type_is_json_of_any_type() -> None:
    """`None` is a default to pass on, not the type of null."""
    one = record(data=b'{"arr_delay":[5,null]}')
    assert one.json(None) == one.json() == {"arr_delay": [5, None]}
    assert record(data=b"null").json(None) is None
