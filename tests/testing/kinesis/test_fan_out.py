"""Stream consumers, and what is pushed to them."""

import pytest
from msgspec.structs import replace

from streamkit.testing.kinesis import KinesisError, KinesisWorld, Pushing
from streamkit.testing.kinesis.fan_out import Subscription
from streamkit.testing.kinesis.values import StartingPosition
from tests.testing.kinesis.test_records import FIRST, Clock, put

OLDEST = StartingPosition("TRIM_HORIZON")


def register(world: KinesisWorld, name: str = "readers") -> str:
    """Register a consumer; return its ARN."""
    return world.register_stream_consumer(stream_arn=world.arn("s"), consumer_name=name).consumer_arn


def subscribe(world: KinesisWorld, arn: str, start: StartingPosition = OLDEST) -> Subscription:
    """Subscribe to the first shard."""
    return world.subscribe_to_shard(consumer_arn=arn, shard_id=FIRST, starting_position=start)


def code_of(refused: pytest.ExceptionInfo[KinesisError]) -> str:
    """Return AWS's name for it."""
    return refused.value.code


def test_a_consumer_is_known_by_its_stream_and_name_and_by_its_arn(world: KinesisWorld, clock: Clock) -> None:
    """It is CREATING for a while, listed, counted, and gone when it is removed."""
    world.pushing = Pushing(registering_seconds=10)
    arn = register(world)
    assert world.describe_stream_consumer(consumer_arn=arn).consumer_status == "CREATING"
    with pytest.raises(KinesisError) as early:
        subscribe(world, arn)
    assert code_of(early) == "ResourceInUseException"
    clock.forward(10)
    found = world.describe_stream_consumer(stream_arn=world.arn("s"), consumer_name="readers")
    assert (found.consumer_arn, found.consumer_status) == (arn, "ACTIVE")
    assert world.describe_stream_summary(stream_name="s").consumer_count == 1
    world.deregister_stream_consumer(consumer_arn=arn)
    assert world.list_stream_consumers(stream_arn=world.arn("s")).consumers == []
    with pytest.raises(KinesisError) as gone:
        world.describe_stream_consumer(consumer_arn=arn)
    assert code_of(gone) == "ResourceNotFoundException"


def test_names_are_taken_once_and_twenty_are_all(world: KinesisWorld) -> None:
    """As the API reference says."""
    register(world)
    with pytest.raises(KinesisError) as taken:
        register(world)
    assert code_of(taken) == "ResourceInUseException"
    for number in range(19):
        register(world, f"other-{number}")
    with pytest.raises(KinesisError) as full:
        register(world, "one-more")
    assert code_of(full) == "LimitExceededException"
    with pytest.raises(KinesisError) as wrong:
        register(world, "a b")
    assert code_of(wrong) == "ValidationException"


def test_a_stream_with_consumers_is_not_deleted_by_accident(world: KinesisWorld) -> None:
    """Unless the request says so."""
    register(world)
    with pytest.raises(KinesisError) as refused:
        world.delete_stream(stream_name="s")
    assert code_of(refused) == "ResourceInUseException"
    world.delete_stream(stream_name="s", enforce_consumer_deletion=True)
    assert world.list_streams().stream_names == []


def test_records_are_pushed_as_they_come_and_every_five_seconds_something_is(world: KinesisWorld, clock: Clock) -> None:
    """For five minutes; then nothing any more."""
    subscription = subscribe(world, register(world))
    assert (event := subscription.due(clock()))
    assert event.records == []
    assert subscription.due(clock()) is None
    [stored] = put(world, b"1")
    assert (event := subscription.due(clock()))
    assert [each.sequence_number for each in event.records] == [stored.sequence_number]
    clock.forward(4.9)
    assert subscription.due(clock()) is None
    clock.forward(0.2)
    assert subscription.due(clock())
    clock.forward(300)
    assert subscription.due(clock()) is None
    assert subscription.over


def test_the_continuation_is_the_place_of_the_next_record(world: KinesisWorld, clock: Clock) -> None:
    """Of one that waits, and of one that is put within the same second: "after" would miss both."""
    world.pushing = replace(world.pushing, records=2)
    arn, stored = register(world), put(world, b"1", b"2", b"3")
    event = subscribe(world, arn).due(clock())
    assert event
    assert event.continuation_sequence_number == stored[2].sequence_number
    clock.forward(5)
    quiet = StartingPosition("AT_SEQUENCE_NUMBER", event.continuation_sequence_number)
    event = subscribe(world, arn, quiet).due(clock())
    assert event
    assert [each.data for each in event.records] == [b"3"]


def test_one_subscription_a_consumer_and_shard(world: KinesisWorld, clock: Clock) -> None:
    """Within five seconds another is refused; later it takes over, and the first says so."""
    arn = register(world)
    first = subscribe(world, arn)
    clock.forward(4.9)
    with pytest.raises(KinesisError) as soon:
        subscribe(world, arn)
    assert code_of(soon) == "ResourceInUseException"
    clock.forward(0.2)
    second = subscribe(world, arn)
    with pytest.raises(KinesisError) as lost:
        first.due(clock())
    assert code_of(lost) == "ResourceInUseException"
    assert first.due(clock()) is None
    assert second.due(clock())
    assert subscribe(world, register(world, "other")).due(clock())


def test_the_end_of_a_closed_shard_names_its_children(world: KinesisWorld, clock: Clock) -> None:
    """After its last record, without a continuation."""
    put(world, b"1")
    subscription = subscribe(world, register(world))
    world.split_shard(stream_name="s", shard_to_split=FIRST, new_starting_hash_key=str(1 << 127))
    assert (event := subscription.due(clock()))
    assert event.child_shards is None
    assert (event := subscription.due(clock()))
    assert event.continuation_sequence_number is None
    assert [child.parent_shards for child in event.child_shards or ()] == [[FIRST], [FIRST]]
    assert subscription.over
