"""Quotas and faults."""

import random
from collections import Counter
from typing import Any, Protocol

import pytest

from streamkit.testing.kinesis import (
    AS_AWS,
    AnswerLost,
    Entry,
    Fault,
    Faults,
    KinesisError,
    KinesisWorld,
)

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


def start(world: KinesisWorld) -> str:
    """Open the first shard of `s`."""
    return world.get_shard_iterator(stream_name="s", shard_id=FIRST, shard_iterator_type="TRIM_HORIZON")


def throttled() -> pytest.RaisesExc[KinesisError]:
    """Expect a refusal for pace."""
    return pytest.raises(KinesisError, match="ProvisionedThroughputExceededException")


def test_a_shard_answers_five_reads_a_second(world: KinesisWorld, clock: Clock) -> None:
    """All readers together; the sixth is refused until the second is over."""
    world.limits = AS_AWS
    at, other = start(world), start(world)
    for n in range(5):
        world.get_records(shard_iterator=at if n % 2 else other)
    with throttled():
        world.get_records(shard_iterator=at)
    clock.forward(0.999)
    with throttled():
        world.get_records(shard_iterator=at)
    clock.forward(0.001)
    world.get_records(shard_iterator=at)


def test_after_10_mib_a_shard_is_silent_for_five_seconds(world: KinesisWorld, clock: Clock) -> None:
    """2 MiB a second, counted after the answer."""
    for _ in range(12):
        world.put_record(stream_name="s", data=bytes(MIB - 1), partition_key="k")
    world.limits = AS_AWS
    answer = world.get_records(shard_iterator=start(world))
    assert len(answer.records) == 10
    assert answer.next_shard_iterator is not None
    clock.forward(4.99)
    with throttled():
        world.get_records(shard_iterator=answer.next_shard_iterator)
    clock.forward(0.01)
    assert len(world.get_records(shard_iterator=answer.next_shard_iterator).records) == 2


def test_a_shard_takes_1000_records_a_second_and_the_rest_of_a_put_fails_alone(
    world: KinesisWorld, clock: Clock
) -> None:
    """PutRecords succeeds in part; PutRecord is refused."""
    world.limits = AS_AWS
    batch = [Entry(b"", "k")] * 400
    failed = [world.put_records(stream_name="s", records=batch).failed_record_count for _ in range(3)]
    assert failed == [0, 0, 200]
    with throttled():
        world.put_record(stream_name="s", data=b"", partition_key="k")
    clock.forward(1)
    puts = world.put_records(stream_name="s", records=batch)
    assert puts.failed_record_count == 0
    assert len(world.get_records(shard_iterator=start(world)).records) == 1400


def test_a_shard_takes_1_mib_a_second(world: KinesisWorld) -> None:
    """Bytes count as records do; other shards have their own."""
    world.create_stream(stream_name="two", shard_count=2)
    world.limits = AS_AWS
    entries = [Entry(bytes(600_000), "k", key) for key in ("0", "0", str(1 << 127))]
    puts = world.put_records(stream_name="two", records=entries).records
    assert [put.error_code for put in puts] == [None, "ProvisionedThroughputExceededException", None]


def test_a_record_larger_than_the_rate_passes_in_a_fresh_second_and_is_paid_for_after(
    world: KinesisWorld, clock: Clock
) -> None:
    """10 MiB at 1 MiB/s shut the shard for ten seconds."""
    world.update_max_record_size(stream_arn=world.arn("s"), max_record_size_in_kib=10_240)
    world.limits = AS_AWS
    world.put_record(stream_name="s", data=bytes(10 * MIB - 1), partition_key="k")
    clock.forward(9.99)
    with throttled():
        world.put_record(stream_name="s", data=b"", partition_key="k")
    clock.forward(0.01)
    world.put_record(stream_name="s", data=b"", partition_key="k")


def test_faults_hit_their_operation_in_their_share(world: KinesisWorld) -> None:
    """And no other."""
    world.faults = Faults(of={"GetRecords": Fault(throttled=0.3, failing=0.2, expired=0.1)})
    at = start(world)
    met = Counter[str]()
    for _ in range(1000):
        try:
            world.get_records(shard_iterator=at)
        except KinesisError as refused:
            met[refused.code] += 1
    assert set(met) == {
        "ProvisionedThroughputExceededException",
        "InternalFailureException",
        "ExpiredIteratorException",
    }
    assert 400 < met.total() < 600


def test_equal_seeds_make_equal_troubles(clock: Clock) -> None:
    """A failing run can be repeated."""

    def run(seed: int) -> list[bool]:
        world = KinesisWorld(clock=clock, chance=random.Random(seed))
        world.create_stream(stream_name="s")
        world.faults = Faults(otherwise=Fault(throttled=0.5))
        outcomes = []
        for _ in range(64):
            try:
                world.put_record(stream_name="s", data=b"", partition_key="k")
                outcomes.append(True)
            except KinesisError:
                outcomes.append(False)
        return outcomes

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_a_lost_answer_had_its_effect(world: KinesisWorld) -> None:
    """The producer that puts again makes a duplicate."""
    world.faults = Faults(of={"PutRecord": Fault(lost=1.0)})
    with pytest.raises(AnswerLost):
        world.put_record(stream_name="s", data=b"a", partition_key="k")
    assert [record.data for record in world.get_records(shard_iterator=start(world)).records] == [b"a"]


def test_put_records_fails_record_by_record(world: KinesisWorld) -> None:
    """What the answer says is stored is stored, and nothing else."""
    world.faults = Faults(of={"PutRecords": Fault(throttled=0.3, failing=0.3)})
    entries = [Entry(str(n).encode(), "k") for n in range(200)]
    puts = world.put_records(stream_name="s", records=entries)
    assert 0 < puts.failed_record_count < 200
    stored = [entry.data for entry, put in zip(entries, puts.records, strict=True) if put.error_code is None]
    assert [record.data for record in world.get_records(shard_iterator=start(world)).records] == stored
    assert {put.error_code for put in puts.records} == {
        None,
        "ProvisionedThroughputExceededException",
        "InternalFailure",
    }


def test_latency_is_drawn_in_its_range_and_is_none_without_a_fault(world: KinesisWorld) -> None:
    """The pure world never waits."""
    assert world.latency_seconds("GetRecords") == 0.0
    world.faults = Faults(of={"GetRecords": Fault(latency_seconds=(0.1, 0.2))})
    assert all(0.1 <= world.latency_seconds("GetRecords") <= 0.2 for _ in range(20))


@pytest.mark.parametrize("wrong", [{"throttled": 1.5}, {"lost": -0.1}, {"latency_seconds": (2.0, 1.0)}])
def test_a_fault_that_is_none_does_not_construct(wrong: dict[str, Any]) -> None:
    """Expected ..., got ..."""
    with pytest.raises(ValueError, match=r"expected .*, got "):
        Fault(**wrong)
