"""Putting and reading records."""

import random
from collections.abc import Callable
from typing import Any, Protocol

import pytest

from streamkit.clock import SystemClock
from streamkit.testing.kinesis import Entry, KinesisError, KinesisWorld, Put
from streamkit.testing.kinesis.values import IteratorType

MIB = 1 << 20
FIRST = "shardId-000000000000"


class Clock(Protocol):
    """See conftest."""

    def __call__(self) -> float:
        """Return the time."""
        ...

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        ...


def put(world: KinesisWorld, *payloads: bytes, key: str = "k") -> list[Put]:
    """Put payloads under one key."""
    return world.put_records(stream_name="s", records=[Entry(data, key) for data in payloads]).records


def iterator(
    world: KinesisWorld,
    kind: IteratorType = "TRIM_HORIZON",
    *,
    shard: str = FIRST,
    number: str | None = None,
    timestamp: float | None = None,
) -> str:
    """Open a shard of `s`."""
    return world.get_shard_iterator(
        stream_name="s",
        shard_id=shard,
        shard_iterator_type=kind,
        starting_sequence_number=number,
        timestamp=timestamp,
    )


def read(world: KinesisWorld, at: str, limit: int = 10_000) -> list[bytes]:
    """Return the payloads of one answer."""
    return [record.data for record in world.get_records(shard_iterator=at, limit=limit).records]


def refused(code: str) -> pytest.RaisesExc[KinesisError]:
    """Expect a refusal of this name."""
    return pytest.raises(KinesisError, match=f"^{code}: ")


def test_records_come_back_as_put_in_order_and_on_from_where_the_last_answer_ended(world: KinesisWorld) -> None:
    """The answers of a shard are its log, cut into pieces."""
    payloads = [bytes([n]) for n in range(10)]
    puts = put(world, *payloads)
    at: str | None = iterator(world)
    found = []
    for _ in range(4):
        assert at is not None
        answer = world.get_records(shard_iterator=at, limit=3)
        found += answer.records
        at = answer.next_shard_iterator
    assert [record.data for record in found] == payloads
    assert [record.sequence_number for record in found] == [done.sequence_number for done in puts]
    assert [record.partition_key for record in found] == ["k"] * 10
    assert [int(record.sequence_number) for record in found] == sorted(int(r.sequence_number) for r in found)


def test_one_iterator_read_twice_answers_twice_the_same(world: KinesisWorld) -> None:
    """Reading takes nothing away."""
    put(world, b"a", b"b")
    at = iterator(world)
    assert read(world, at) == read(world, at) == [b"a", b"b"]


def test_an_empty_answer_is_not_the_end(world: KinesisWorld) -> None:
    """A record put after an empty answer is read through that answer's iterator."""
    answer = world.get_records(shard_iterator=iterator(world))
    assert (answer.records, answer.millis_behind_latest) == ([], 0)
    put(world, b"late")
    assert answer.next_shard_iterator is not None
    assert read(world, answer.next_shard_iterator) == [b"late"]


def test_the_kinds_of_iterators_start_where_they_say(world: KinesisWorld, clock: Clock) -> None:
    """TRIM_HORIZON, LATEST, AT_TIMESTAMP, AT_ and AFTER_SEQUENCE_NUMBER."""
    first, second = put(world, b"1"), None
    clock.forward(10)
    moment = clock()
    second = put(world, b"2")
    latest = iterator(world, "LATEST")
    put(world, b"3")
    assert read(world, iterator(world)) == [b"1", b"2", b"3"]
    assert read(world, latest) == [b"3"]
    assert read(world, iterator(world, "AT_TIMESTAMP", timestamp=moment)) == [b"2", b"3"]
    assert read(world, iterator(world, "AT_TIMESTAMP", timestamp=moment - 1)) == [b"2", b"3"]
    number = second[0].sequence_number
    assert read(world, iterator(world, "AT_SEQUENCE_NUMBER", number=number)) == [b"2", b"3"]
    assert read(world, iterator(world, "AFTER_SEQUENCE_NUMBER", number=number)) == [b"3"]
    number = first[0].sequence_number
    assert read(world, iterator(world, "AFTER_SEQUENCE_NUMBER", number=number)) == [b"2", b"3"]


def test_an_iterator_lives_five_minutes(world: KinesisWorld, clock: Clock) -> None:
    """At 300 s it still answers, beyond it is expired; a new one from the last number goes on."""
    put(world, b"a")
    at = iterator(world)
    clock.forward(300)
    assert read(world, at) == [b"a"]
    clock.forward(0.001)
    with refused("ExpiredIteratorException"):
        read(world, at)


@pytest.mark.parametrize(
    "change", [lambda at: at[:-4] + "AAAA", lambda _: "AAAA", lambda _: "not base64!", lambda at: at[:40]]
)
def test_an_iterator_that_is_not_ours_is_refused(world: KinesisWorld, change: Callable[[str], str]) -> None:
    """Nobody makes up a place."""
    with refused("InvalidArgumentException"):
        read(world, change(iterator(world)))


def test_an_iterator_of_another_world_is_refused(world: KinesisWorld, clock: Clock) -> None:
    """It is well-formed, but sealed with another key."""
    other = KinesisWorld(clock=clock, chance=random.Random(8))
    other.create_stream(stream_name="s", shard_count=1)
    with refused("InvalidArgumentException"):
        read(world, iterator(other))


def test_an_iterator_of_a_deleted_stream_does_not_read_its_successor(world: KinesisWorld) -> None:
    """A stream made again under the same name is another stream."""
    number = put(world, b"old")[0].sequence_number
    at = iterator(world)
    world.delete_stream(stream_name="s")
    with refused("ResourceNotFoundException"):
        read(world, at)
    world.create_stream(stream_name="s", shard_count=1)
    put(world, b"new")
    with refused("ResourceNotFoundException"):
        read(world, at)
    with refused("InvalidArgumentException"):
        iterator(world, "AFTER_SEQUENCE_NUMBER", number=number)


def test_a_number_of_another_shard_is_refused(world: KinesisWorld) -> None:
    """Numbers know their shard."""
    number = put(world, b"a")[0].sequence_number
    world.split_shard(stream_name="s", shard_to_split=FIRST, new_starting_hash_key=str(1 << 127))
    with refused("InvalidArgumentException"):
        iterator(world, "AT_SEQUENCE_NUMBER", shard="shardId-000000000001", number=number)


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("TRIM_HORIZON", {"number": "1"}),
        ("AT_SEQUENCE_NUMBER", {}),
        ("AT_SEQUENCE_NUMBER", {"number": "12"}),
        ("AT_TIMESTAMP", {}),
        ("AT_TIMESTAMP", {"timestamp": 9e9}),
    ],
)
def test_a_start_that_makes_no_sense_is_refused(world: KinesisWorld, kind: IteratorType, place: dict[str, Any]) -> None:
    """As AWS refuses it."""
    with refused("InvalidArgumentException"):
        iterator(world, kind, **place)


def test_an_answer_holds_at_most_10_mib(world: KinesisWorld) -> None:
    """Larger logs come in several answers, without a gap."""
    for n in range(25):
        put(world, bytes([n]) * (MIB - 1))
    answer = world.get_records(shard_iterator=iterator(world))
    assert [record.data[0] for record in answer.records] == list(range(10))
    assert answer.millis_behind_latest > 0
    assert answer.next_shard_iterator is not None
    assert [data[0] for data in read(world, answer.next_shard_iterator)] == list(range(10, 20))


def test_a_record_of_10_mib_needs_a_stream_that_allows_it_and_is_read_alone(world: KinesisWorld) -> None:
    """1 MiB is the default, 10 MiB the most."""
    with refused("ValidationException"):
        put(world, bytes(MIB + 1))
    world.update_max_record_size(stream_arn=world.arn("s"), max_record_size_in_kib=10_240)
    put(world, b"before")
    put(world, bytes(10 * MIB - 1))
    put(world, b"after")
    at = iterator(world)
    sizes = list[list[int]]()
    while len(sizes) < 3:
        answer = world.get_records(shard_iterator=at)
        sizes.append([len(record.data) for record in answer.records])
        assert answer.next_shard_iterator is not None
        at = answer.next_shard_iterator
    assert sizes == [[6], [10 * MIB - 1], [5]]


def test_millis_behind_latest_is_zero_only_at_the_tip(world: KinesisWorld, clock: Clock) -> None:
    """How long ago the last record of the answer arrived, while others wait behind it."""
    put(world, b"a")
    clock.forward(5)
    put(world, b"b")
    clock.forward(2)
    at = iterator(world)
    answer = world.get_records(shard_iterator=at, limit=1)
    assert answer.millis_behind_latest == 7000
    assert answer.next_shard_iterator is not None
    assert world.get_records(shard_iterator=answer.next_shard_iterator).millis_behind_latest == 0


def test_behind_is_never_zero_while_records_wait_even_if_time_stands_still(world: KinesisWorld) -> None:
    """Zero means caught up."""
    put(world, b"a", b"b")
    assert world.get_records(shard_iterator=iterator(world), limit=1).millis_behind_latest > 0


def test_retention_trims_what_is_older(world: KinesisWorld, clock: Clock) -> None:
    """A record is gone after 24 hours, or as many as the stream keeps; positions before it go on behind it."""
    number = put(world, b"old")[0].sequence_number
    clock.forward(3600)
    put(world, b"new")
    clock.forward(23 * 3600)
    assert read(world, iterator(world)) == [b"new"]
    after = iterator(world, "AT_SEQUENCE_NUMBER", number=number)
    assert read(world, after) == [b"new"]
    clock.forward(3600)
    answer = world.get_records(shard_iterator=iterator(world))
    assert (answer.records, answer.millis_behind_latest) == ([], 0)


def test_a_longer_retention_keeps_more(world: KinesisWorld, clock: Clock) -> None:
    """And a shorter one takes it back at once."""
    world.increase_stream_retention_period(stream_name="s", retention_period_hours=48)
    put(world, b"a")
    clock.forward(47 * 3600)
    assert read(world, iterator(world)) == [b"a"]
    world.decrease_stream_retention_period(stream_name="s", retention_period_hours=24)
    assert read(world, iterator(world)) == []


def test_a_key_goes_to_the_shard_of_its_hash(world: KinesisWorld) -> None:
    """By MD5, or by the hash key that the producer gives."""
    world.create_stream(stream_name="four", shard_count=4)
    low, high = "0", str(2**128 - 1)
    shards = [
        world.put_record(stream_name="four", data=b"", partition_key="x", explicit_hash_key=key).shard_id
        for key in (low, str(1 << 126), str((1 << 126) - 1), high)
    ]
    assert shards == [f"shardId-00000000000{n}" for n in (0, 1, 0, 3)]
    by_key = world.put_record(stream_name="four", data=b"", partition_key="a").shard_id
    assert by_key == "shardId-000000000000"  # md5("a") starts with 0c


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        (Entry(b"", ""), "ValidationException"),
        (Entry(b"", "k" * 257), "ValidationException"),
        (Entry(bytes(MIB), "k"), "InvalidArgumentException"),
        (Entry(b"", "k", str(2**128)), "InvalidArgumentException"),
        (Entry(b"", "k", "-1"), "InvalidArgumentException"),
    ],
)
def test_an_entry_that_cannot_be_stored_is_refused_and_nothing_of_its_batch_is(
    world: KinesisWorld, entry: Entry, code: str
) -> None:
    """Such refusals are about the request, not about single records."""
    with refused(code):
        world.put_records(stream_name="s", records=[Entry(b"fine", "k"), entry])
    assert read(world, iterator(world)) == []


def test_a_batch_is_bounded(world: KinesisWorld) -> None:
    """1 to 500 records, 10 MiB."""
    for records in ([], [Entry(b"", "k")] * 501):
        with refused("ValidationException"):
            world.put_records(stream_name="s", records=records)
    with refused("InvalidArgumentException"):
        world.put_records(stream_name="s", records=[Entry(bytes(MIB - 1), "k")] * 11)


def test_a_missing_stream_or_shard_is_named(world: KinesisWorld) -> None:
    """ResourceNotFoundException."""
    with refused("ResourceNotFoundException"):
        world.put_record(stream_name="t", data=b"", partition_key="k")
    with refused("ResourceNotFoundException"):
        iterator(world, shard="shardId-000000000009")
    with refused("InvalidArgumentException"):
        world.put_record(data=b"", partition_key="k")


def test_a_stream_is_found_by_arn(world: KinesisWorld) -> None:
    """As by name."""
    world.put_record(stream_arn=world.arn("s"), data=b"a", partition_key="k")
    assert read(world, iterator(world)) == [b"a"]


def test_reading_is_no_bottleneck(world: KinesisWorld) -> None:
    """Far beyond what any consumer handles: 50,000 records in 100 answers within a quarter of a second."""
    for _ in range(100):
        put(world, *[b"x" * 100] * 500)
    at, clock, count = iterator(world), SystemClock(), 0
    started = clock.monotonic()
    for _ in range(100):
        answer = world.get_records(shard_iterator=at, limit=500)
        count += len(answer.records)
        assert answer.next_shard_iterator is not None
        at = answer.next_shard_iterator
    assert count == 50_000
    assert clock.monotonic() - started < 0.25
