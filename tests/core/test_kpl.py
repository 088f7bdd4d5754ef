"""De-aggregation: every user record once and in its place, and damage as one dead letter."""

import hashlib
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from streamkit.core import kpl
from streamkit.core.records import Origin, Record
from streamkit.testing.kpl import UserRecord, aggregate

ALL_HASH_KEYS = (0, 2**128 - 1)
EDGES = [0, 1, 122, 123, 124, 125, 126, 127, 128, 129, 16_375, 16_380, 16_384, 70_000]

user_records = st.builds(
    UserRecord,
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    st.binary(max_size=200) | st.sampled_from(EDGES).map(bytes),
    st.none() | st.integers(0, 2**128 - 1),
)
aggregates = st.lists(user_records, min_size=1, max_size=30)


def record(data: bytes) -> Record:
    """Return a Kinesis record of this payload."""
    return Record(data, "whole", "495903", Origin("flights", "shardId-000000000001"), arrived=1.5)


def sealed(message: bytes) -> Record:
    """Return a record whose aggregate has a right checksum, whatever is in it."""
    return record(kpl.MAGIC + message + hashlib.md5(message, usedforsecurity=False).digest())


def condemned(whole: Record, reason: str, *, limit: int = 10_000) -> None:
    """Check that an aggregate comes back whole, as one record with a defect."""
    (found,) = kpl.expand(whole, limit=limit)
    assert found == replace(whole, defect=found.defect)
    assert found.last
    assert reason in (found.defect or "")


@given(users=aggregates)
def test_an_aggregate_becomes_its_user_records(users: list[UserRecord]) -> None:
    """Each with its own key and data, in order, numbered from 0; only the final one is the last."""
    whole = record(aggregate(users))
    found = kpl.expand(whole)
    assert [(user.key, user.data) for user in found] == [(user.key, user.data) for user in users]
    assert [user.subsequence for user in found] == list(range(len(users)))
    assert [user.last for user in found] == [False] * (len(users) - 1) + [True]
    assert {(user.sequence_number, user.origin, user.arrived) for user in found} == {
        (whole.sequence_number, whole.origin, whole.arrived)
    }
    assert not any(user.defect or user.foreign for user in found)


def test_the_aggregates_of_another_implementation_are_read() -> None:
    """Made once by aws-kinesis-agg 1.2.3: an empty payload, a long one, a key beyond ASCII, a chosen hash key."""
    made = (
        "f3899ac20a01610a01620a05c3a974c3a91227333430323832333636393230393338343633343633333734363037343331373638"
        "3231313435351a0908001a0566697273741a0408011a001a850108021a8001" + "00ff" * 64 + "1a0c080010001a0663686f"
        "73656e409ccb030eb6ffe2b5aeec841e477351"
    )
    users = [("a", b"first"), ("b", b""), ("\u00e9t\u00e9", b"\x00\xff" * 64), ("a", b"chosen")]
    found = kpl.expand(record(bytes.fromhex(made)), hash_range=(0, 2**128 - 2))
    assert [(user.key, user.data) for user in found] == users
    assert [user.foreign for user in found] == [False, False, False, True]
    written = [UserRecord(*user) for user in users[:3]] + [UserRecord("a", b"chosen", 2**128 - 1)]
    assert aggregate(written).hex() == made


@given(data=st.binary())
@example(b"")
@example(kpl.MAGIC)
@example(kpl.MAGIC + bytes(15))
def test_other_data_is_returned_as_it_is(data: bytes) -> None:
    """Also what begins with the magic, yet is too short for a checksum."""
    plain = record(data)
    if not data.startswith(kpl.MAGIC) or len(data) < 20:
        assert kpl.expand(plain) == (plain,)


@given(users=aggregates, low=st.integers(0, 2**128 - 1), high=st.integers(0, 2**128 - 1))
def test_what_another_shard_delivers_is_marked_and_kept_in_place(users: list[UserRecord], low: int, high: int) -> None:
    """By the explicit hash key, or the MD5 of the partition key, against both ends of the range."""
    found = kpl.expand(record(aggregate(users)), hash_range=(low, high))
    assert [user.subsequence for user in found] == list(range(len(users)))
    for user, given_ in zip(found, users, strict=True):
        hashed = int(hashlib.md5(given_.key.encode(), usedforsecurity=False).hexdigest(), 16)
        effective = hashed if given_.hash_key is None else given_.hash_key
        assert user.foreign == (not low <= effective <= high)
    assert found[-1].last


@given(users=aggregates, cut=st.integers(0, 2**128 - 2))
def test_two_shards_share_the_user_records_without_rest(users: list[UserRecord], cut: int) -> None:
    """What is foreign to one child of a split belongs to the other: none is lost, none is handled twice."""
    whole = record(aggregate(users))
    left = kpl.expand(whole, hash_range=(0, cut))
    right = kpl.expand(whole, hash_range=(cut + 1, 2**128 - 1))
    assert [user.foreign for user in left] == [not user.foreign for user in right]


@pytest.mark.parametrize("hash_key", [b"", b"-1", b"x", b"9" * 5_000])
def test_a_hash_key_that_is_no_number_makes_nothing_foreign(hash_key: bytes) -> None:
    """A repeat is better than a loss."""
    users = sealed(b"\x0a\x01k" + field(2, hash_key) + b"\x1a\x06\x08\x00\x10\x00\x1a\x00")
    assert [user.foreign for user in kpl.expand(users, hash_range=(1, 2))] == [False]


def test_as_many_user_records_as_allowed_are_read() -> None:
    """One more, and the aggregate is one dead letter: a record of 1 MiB could hold 174,762."""
    users = [UserRecord("k", b"")] * 10
    assert len(kpl.expand(record(aggregate(users)), limit=10)) == 10
    condemned(record(aggregate(users)), "at most 9 user records", limit=9)


def test_a_flood_of_keys_ends() -> None:
    """A table costs memory too; so does a user record of endless tags."""
    condemned(sealed(b"\x0a\x00" * 31 + b"\x1a\x04\x08\x00\x1a\x00"), "at most 30 keys", limit=10)
    tags = field(4, b"\x0a\x00") * 20
    condemned(sealed(b"\x0a\x01k" + field(3, b"\x08\x00\x1a\x00" + tags)), "at most 16 fields")


def field(number: int, value: bytes) -> bytes:
    """Return a field of bytes, its length written in two bytes: longer than needed is allowed."""
    return bytes([number << 3 | 2, len(value) & 127 | 128, len(value) >> 7]) + value


@pytest.mark.parametrize(
    "user",
    [
        b"\x08\x00\x1a\x01x",
        b"\x1a\x01x\x08\x00",
        b"\x08\x00\x1a\x01y\x1a\x01x",
        b"\x08\x05\x08\x00\x1a\x01x",
        b"\x08\x80\x00\x1a\x01x",
        b"\x08\x00\x1a\x81\x00x",
        b"\x08\x00\x10\x00\x1a\x01x",
        b"\x08\x00\x1a\x01x\x22\x03\x0a\x01t",
        b"\x08\x00\x1a\x01x\x2d\x00\x00\x00\x00\x31\x00\x00\x00\x00\x00\x00\x00\x00\x38\x05",
    ],
)
def test_protobuf_may_write_a_user_record_in_many_ways(user: bytes) -> None:
    """Other order, repeated fields (the last one counts), longer numbers, tags, and fields of later versions."""
    for written in (field(3, user), b"\x1a" + bytes([len(user)]) + user):
        (found,) = kpl.expand(sealed(b"\x0a\x01k\x12\x011" + written + b"\x22\x01z"))
        assert (found.key, found.data, found.defect, found.last) == ("k", b"x", None, True)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"", "expected user records, got none"),
        (b"\x0a\x01k", "expected user records, got none"),
        (b"\x0a\x01k\x1a\x04\x08\x01\x1a\x00", "not in the table"),
        (b"\x1a\x04\x08\x00\x1a\x00", "not in the table"),
        (b"\x0a\x01k\x1a\x06\x08\x00\x10\x00\x1a\x00", "not in the table"),
        (b"\x0a\x01k\x1a\x0c\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x1a\x00", "not in the table"),
        (b"\x0a\x01k\x1a\x10\x08" + b"\xff" * 12 + b"\x01\x1a\x00", "64 bits"),
        (b"\x0a\x01\xff\x1a\x04\x08\x00\x1a\x00", "not UTF-8"),
        (b"\x0a\x01k\x1a\x02\x08\x00", "lacks"),
        (b"\x0a\x01k\x1a\x02\x1a\x00", "lacks"),
        (b"\x0a\x01k\x1a\x05\x08\x00\x1a\x01", "breaks off"),
        (b"\x0a\x01k\x1a\x06\x08\x00\x1a\x02x", "breaks off"),
        (b"\x0a\x01k\x1a\x07\x08\x00\x1a\x01x\x0b\x0c", "no known kind"),
        (b"\x0a\x7fk", "breaks off"),
        (b"\x0a", "breaks off"),
        (b"\xff\xff\xff\xff", "breaks off"),
    ],
)
def test_an_unsound_aggregate_is_one_record_with_a_defect(message: bytes, reason: str) -> None:
    """Even with a right checksum; its data is exactly what was put."""
    condemned(sealed(message), reason)


@given(users=aggregates, seed=st.randoms())
def test_no_single_turned_bit_goes_unnoticed(users: list[UserRecord], seed: random.Random) -> None:
    """Behind the magic, the checksum catches it."""
    data = bytearray(aggregate(users))
    data[seed.randrange(4, len(data))] ^= 1 << seed.randrange(8)
    condemned(record(bytes(data)), "checksum")


@given(users=aggregates, data=st.data())
def test_no_truncation_goes_unnoticed(users: list[UserRecord], data: st.DataObject) -> None:
    """Nothing is delivered in part."""
    whole = aggregate(users)
    cut = data.draw(st.integers(20, len(whole) - 1))
    condemned(record(whole[:cut]), "checksum")


@given(users=aggregates, seed=st.randoms(), hash_range=st.sampled_from([None, ALL_HASH_KEYS]))
def test_mutated_messages_are_read_or_condemned(
    users: list[UserRecord], seed: random.Random, hash_range: tuple[int, int] | None
) -> None:
    """Whoever forges the checksum too gets user records within the bounds, or one dead letter: never a crash."""
    message = bytearray(aggregate(users)[4:-16])
    for _ in range(seed.randint(1, 4)):
        at = seed.randrange(len(message))
        message[at : at + seed.choice([0, 1, 1, 1, 5])] = seed.choice(
            [b"", b"\xff", b"\x1a", b"\x0a", b"\x00", b"\x80", seed.randbytes(1), seed.randbytes(4)]
        )
        message = message or bytearray(1)
    found = kpl.expand(sealed(bytes(message)), hash_range=hash_range)
    assert [user.subsequence for user in found] == list(range(len(found)))
    assert [user.last for user in found].index(True) == len(found) - 1
    if found[0].defect is None:
        assert sum(len(user.data) for user in found) <= len(message)


@given(message=st.binary(max_size=200))
def test_noise_with_a_right_checksum_is_read_or_condemned(message: bytes) -> None:
    """The reader looks ahead; it never looks beyond."""
    for user in kpl.expand(sealed(message)):
        assert user.defect is not None or len(user.data) <= len(message)


def test_a_defect_quotes_nothing() -> None:
    """It goes into logs."""
    for message in (b"\x0a\x06canary\x1a\x04\x08\x09\x1a\x00", b"\x0a\x07canary\xff"):
        (found,) = kpl.expand(sealed(message))
        assert "canary" not in (found.defect or "canary")


def test_what_is_known_of_the_whole_holds_for_its_parts() -> None:
    """An aggregate that was redriven or replayed hands that on."""
    whole = replace(record(aggregate([UserRecord("k", b"x")])), redriven=True, replayed=True, attempt=3)
    (found,) = kpl.expand(whole)
    assert (found.redriven, found.replayed, found.attempt) == (True, True, 3)


def test_an_aggregate_with_a_defect_stays_one_record() -> None:
    """What is over `max_record_bytes` is one dead letter, whole, and none of it reaches a handler."""
    whole = replace(record(aggregate([UserRecord("a", b"1"), UserRecord("b", b"2")])), defect="too large")
    assert kpl.expand(whole) == (whole,)
