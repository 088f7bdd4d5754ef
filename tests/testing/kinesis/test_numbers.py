"""Sequence numbers and hash keys."""

import hashlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamkit.testing.kinesis.numbers import HASH_KEYS, NotANumber, Parts, hash_key, parts, sequence_number, uniform

SECONDS = st.integers(0, 2**36 - 1)
PARTS = st.builds(Parts, SECONDS, st.integers(0, 2**32 - 1), st.integers(0, 2**63 - 1), SECONDS)


@given(PARTS)
def test_a_number_has_56_digits_and_comes_apart_again(found: Parts) -> None:
    """The layout loses nothing."""
    number = sequence_number(**found._asdict())
    assert len(str(number)) == 56
    assert parts(str(number)) == found


@given(PARTS, PARTS)
def test_numbers_of_one_shard_grow_with_the_counter_whatever_the_time_does(one: Parts, other: Parts) -> None:
    """Order within a shard never depends on the clock."""
    other = other._replace(opened=one.opened, shard=one.shard)
    numbers = [sequence_number(**found._asdict()) for found in (one, other)]
    if one.counter != other.counter:
        assert (one.counter < other.counter) == (numbers[0] < numbers[1])


def test_a_number_that_aws_gave_reads_as_what_it_means() -> None:
    """The number in the sample event of Lambda's documentation, and that event's time of arrival."""
    found = parts("49590338271490256608559692538361571095921575989136588898")
    assert (found.shard, found.arrived) == (6, 1_545_084_650)
    assert found.opened < found.arrived


@pytest.mark.parametrize("text", ["", "0", "1" * 56, "٤" * 56, "9" * 56, "5" * 55 + "x"])
def test_what_cannot_be_a_number_is_refused(text: str) -> None:
    """Foreign text never becomes a position."""
    with pytest.raises(NotANumber):
        parts(text)


@given(st.text(min_size=1, max_size=256))
def test_the_hash_key_is_the_md5_of_the_partition_key(key: str) -> None:
    """As PutRecord documents."""
    assert hash_key(key) == int(hashlib.md5(key.encode()).hexdigest(), 16)  # noqa: S324 - AWS's choice


@given(st.integers(1, 300))
def test_uniform_ranges_cover_every_hash_key_once(count: int) -> None:
    """No key is without a shard, none has two."""
    ranges = uniform(count)
    assert len(ranges) == count
    assert ranges[0].start == 0
    assert ranges[-1].end == HASH_KEYS - 1
    assert all(low.end + 1 == high.start for low, high in pairwise(ranges))
