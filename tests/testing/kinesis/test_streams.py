"""Streams, their shards and their listings."""

import random
from itertools import pairwise
from typing import Protocol

import pytest

from streamkit.testing.kinesis import KinesisError, KinesisWorld, Limits, ShardDescription, ShardFilter
from streamkit.testing.kinesis.numbers import HASH_KEYS

HALF = 1 << 127
DAY = 24 * 3600


class Clock(Protocol):
    """See conftest."""

    def __call__(self) -> float:
        """Return the time."""
        ...

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        ...


def shards(world: KinesisWorld, wanted: ShardFilter | None = None) -> list[ShardDescription]:
    """List the shards of `s` that a filter means."""
    return world.list_shards(stream_name="s", shard_filter=wanted).shards


def ids(world: KinesisWorld, wanted: ShardFilter | None = None) -> list[int]:
    """List the shards of `s` that a filter means, by index."""
    return [int(shard.shard_id.removeprefix("shardId-")) for shard in shards(world, wanted)]


def split(world: KinesisWorld, index: int, at: int) -> None:
    """Split a shard of `s`."""
    world.split_shard(stream_name="s", shard_to_split=f"shardId-{index:012d}", new_starting_hash_key=str(at))


def merge(world: KinesisWorld, one: int, other: int) -> None:
    """Merge two shards of `s`."""
    names = [f"shardId-{index:012d}" for index in (one, other)]
    world.merge_shards(stream_name="s", shard_to_merge=names[0], adjacent_shard_to_merge=names[1])


def refused(code: str) -> pytest.RaisesExc[KinesisError]:
    """Expect a refusal of this name."""
    return pytest.raises(KinesisError, match=f"^{code}: ")


def open_ranges(world: KinesisWorld) -> list[tuple[int, int]]:
    """Return the hash key ranges of open shards."""
    ranges = [shard.hash_key_range for shard in shards(world, ShardFilter("AT_LATEST"))]
    return sorted((int(keys.starting_hash_key), int(keys.ending_hash_key)) for keys in ranges)


def test_a_split_closes_the_parent_and_opens_two_children(world: KinesisWorld) -> None:
    """The children share the parent's keys, and their numbers are beyond the parent's."""
    split(world, 0, HALF)
    parent, low, high = shards(world)
    assert parent.sequence_number_range.ending_sequence_number is not None
    assert [low.parent_shard_id, high.parent_shard_id] == [parent.shard_id] * 2
    assert low.adjacent_parent_shard_id is None
    assert open_ranges(world) == [(0, HALF - 1), (HALF, HASH_KEYS - 1)]
    for child in (low, high):
        assert child.sequence_number_range.ending_sequence_number is None
        start = int(child.sequence_number_range.starting_sequence_number)
        assert start > int(parent.sequence_number_range.ending_sequence_number)


def test_a_merge_closes_both_parents_and_opens_one_child(world: KinesisWorld) -> None:
    """Which names them both."""
    split(world, 0, HALF)
    merge(world, 1, 2)
    child = shards(world)[3]
    assert (child.parent_shard_id, child.adjacent_parent_shard_id) == ("shardId-000000000001", "shardId-000000000002")
    assert open_ranges(world) == [(0, HASH_KEYS - 1)]


def test_the_end_of_a_closed_shard_names_its_children(world: KinesisWorld) -> None:
    """Its records stay readable; the last answer has no iterator to go on with."""
    world.put_record(stream_name="s", data=b"a", partition_key="k")
    at = world.get_shard_iterator(stream_name="s", shard_id="shardId-000000000000", shard_iterator_type="TRIM_HORIZON")
    split(world, 0, HALF)
    answer = world.get_records(shard_iterator=at)
    assert [record.data for record in answer.records] == [b"a"]
    assert answer.next_shard_iterator is None
    assert answer.millis_behind_latest == 0
    assert answer.child_shards is not None
    assert [(child.shard_id, child.parent_shards) for child in answer.child_shards] == [
        ("shardId-000000000001", ["shardId-000000000000"]),
        ("shardId-000000000002", ["shardId-000000000000"]),
    ]
    assert answer.child_shards[1].hash_key_range.starting_hash_key == str(HALF)


@pytest.mark.parametrize("at", [0, 1, HASH_KEYS - 1, HASH_KEYS])
def test_a_split_outside_the_shard_is_refused(world: KinesisWorld, at: int) -> None:
    """Both children must get keys."""
    with refused("InvalidArgumentException"):
        split(world, 0, at)


def test_only_open_neighbours_merge_and_only_open_shards_split(world: KinesisWorld) -> None:
    """InvalidArgumentException for all else."""
    world.update_shard_count(stream_name="s", target_shard_count=2)
    world.update_shard_count(stream_name="s", target_shard_count=4)
    latest = ids(world, ShardFilter("AT_LATEST"))
    for one, other in ((latest[0], latest[2]), (latest[0], latest[0]), (0, latest[0])):
        with refused("InvalidArgumentException"):
            merge(world, one, other)
    with refused("InvalidArgumentException"):
        split(world, 0, HALF)


@pytest.mark.parametrize("targets", [[2], [2, 3], [2, 4, 3], [2, 4, 7, 5, 3, 2, 1]])
def test_update_shard_count_ends_with_even_shards(world: KinesisWorld, targets: list[int]) -> None:
    """However it gets there, every closed shard's keys live on in its children."""
    for target in targets:
        world.update_shard_count(stream_name="s", target_shard_count=target)
    ranges = open_ranges(world)
    assert len(ranges) == targets[-1]
    assert {(end - start + 1) * len(ranges) // HASH_KEYS for start, end in ranges} <= {0, 1}
    assert ranges[0][0] == 0
    assert all(low[1] + 1 == high[0] for low, high in pairwise(ranges))


def test_a_shard_count_beyond_double_or_below_half_is_refused(world: KinesisWorld) -> None:
    """LimitExceededException."""
    with refused("LimitExceededException"):
        world.update_shard_count(stream_name="s", target_shard_count=3)
    world.update_shard_count(stream_name="s", target_shard_count=2)
    world.update_shard_count(stream_name="s", target_shard_count=4)
    with refused("LimitExceededException"):
        world.update_shard_count(stream_name="s", target_shard_count=1)


def test_the_filters_of_list_shards_mean_what_aws_says(world: KinesisWorld, clock: Clock) -> None:
    """One split after an hour, one after two."""
    opened = clock()
    clock.forward(3600)
    split(world, 0, HALF)
    clock.forward(3600)
    split(world, 1, HALF // 2)
    clock.forward(60)
    assert ids(world) == [0, 1, 2, 3, 4]
    assert ids(world, ShardFilter("AT_LATEST")) == [2, 3, 4]
    assert ids(world, ShardFilter("AT_TRIM_HORIZON")) == [0]
    assert ids(world, ShardFilter("FROM_TRIM_HORIZON")) == [0, 1, 2, 3, 4]
    assert ids(world, ShardFilter("AT_TIMESTAMP", timestamp=opened + 3660)) == [1, 2]
    assert ids(world, ShardFilter("FROM_TIMESTAMP", timestamp=opened + 3660)) == [1, 2, 3, 4]
    assert ids(world, ShardFilter("AFTER_SHARD_ID", shard_id="shardId-000000000002")) == [3, 4]
    with refused("InvalidArgumentException"):
        ids(world, ShardFilter("AFTER_SHARD_ID"))
    clock.forward(DAY - 3600)
    assert ids(world, ShardFilter("AT_TRIM_HORIZON")) == [1, 2]


def test_a_closed_shard_is_listed_until_its_last_records_expire(world: KinesisWorld, clock: Clock) -> None:
    """Then it is gone, and its children no longer find their parent in the list."""
    split(world, 0, HALF)
    clock.forward(DAY - 1)
    assert ids(world) == [0, 1, 2]
    clock.forward(1)
    assert ids(world) == [1, 2]
    with refused("ResourceNotFoundException"):
        world.get_shard_iterator(stream_name="s", shard_id="shardId-000000000000", shard_iterator_type="TRIM_HORIZON")


def test_list_shards_pages_and_its_token_remembers_the_filter(world: KinesisWorld) -> None:
    """All pages together are the list."""
    for target in (2, 4, 8):
        world.update_shard_count(stream_name="s", target_shard_count=target)
    page = world.list_shards(stream_name="s", max_results=3, shard_filter=ShardFilter("AT_LATEST"))
    found = [shard.shard_id for shard in page.shards]
    while page.next_token:
        page = world.list_shards(next_token=page.next_token, max_results=3)
        found += [shard.shard_id for shard in page.shards]
    assert found == [f"shardId-{index:012d}" for index in ids(world, ShardFilter("AT_LATEST"))]
    assert len(found) == 8


def test_a_page_token_expires_and_cannot_be_made_up(world: KinesisWorld, clock: Clock) -> None:
    """ExpiredNextTokenException after five minutes; a token and a name together are refused."""
    world.update_shard_count(stream_name="s", target_shard_count=2)
    token = world.list_shards(stream_name="s", max_results=1).next_token
    with refused("InvalidArgumentException"):
        world.list_shards(next_token=token, stream_name="s")
    with refused("InvalidArgumentException"):
        world.list_shards(next_token="AAAA")
    with refused("InvalidArgumentException"):
        world.list_shards()
    clock.forward(301)
    with refused("ExpiredNextTokenException"):
        world.list_shards(next_token=token)


def test_a_stream_made_again_is_another_one(world: KinesisWorld) -> None:
    """Even in the same second: another time of creation, numbers beyond all old ones."""
    split(world, 0, HALF)
    before = world.describe_stream(stream_name="s")
    newest = world.put_record(stream_name="s", data=b"", partition_key="k")
    world.delete_stream(stream_name="s")
    world.create_stream(stream_name="s", shard_count=1)
    after = world.describe_stream(stream_name="s")
    assert int(after.stream_creation_timestamp) != int(before.stream_creation_timestamp)
    assert newest.sequence_number is not None
    assert int(after.shards[0].sequence_number_range.starting_sequence_number) > int(newest.sequence_number)
    with refused("ResourceNotFoundException"):
        world.list_shards(stream_name="s", stream_creation_timestamp=before.stream_creation_timestamp)


def test_changes_take_their_time_if_they_shall(clock: Clock) -> None:
    """CREATING, UPDATING and DELETING last as long as the world says, and one change excludes another."""
    world = KinesisWorld(clock=clock, chance=random.Random(7), transition_seconds=10)

    def status() -> str:
        return world.describe_stream_summary(stream_name="s").stream_status

    world.create_stream(stream_name="s", shard_count=1)
    assert status() == "CREATING"
    with refused("ResourceNotFoundException"):
        world.put_record(stream_name="s", data=b"", partition_key="k")
    with refused("ResourceInUseException"):
        world.list_shards(stream_name="s")
    clock.forward(10)
    split(world, 0, HALF)
    assert status() == "UPDATING"
    assert ids(world) == [0]
    with refused("ResourceInUseException"):
        split(world, 0, HALF)
    clock.forward(10)
    assert (status(), ids(world)) == ("ACTIVE", [0, 1, 2])
    world.delete_stream(stream_name="s")
    assert status() == "DELETING"
    with refused("ResourceInUseException"):
        world.create_stream(stream_name="s")
    clock.forward(10)
    assert world.list_streams().stream_names == []


def test_streams_are_listed_by_name_in_pages(world: KinesisWorld) -> None:
    """The token goes on where a page ended."""
    for name in ("c", "a", "b"):
        world.create_stream(stream_name=name)
    page = world.list_streams(limit=3)
    assert (page.stream_names, page.has_more_streams) == (["a", "b", "c"], True)
    rest = world.list_streams(next_token=page.next_token)
    assert (rest.stream_names, rest.has_more_streams, rest.next_token) == (["s"], False, None)
    assert rest.stream_summaries[0].stream_arn == world.arn("s")


def test_describe_stream_pages_its_shards(world: KinesisWorld) -> None:
    """By the id of the last one seen."""
    split(world, 0, HALF)
    page = world.describe_stream(stream_name="s", limit=2)
    assert page.has_more_shards
    rest = world.describe_stream(stream_name="s", exclusive_start_shard_id=page.shards[-1].shard_id)
    assert [shard.shard_id for shard in rest.shards] == ["shardId-000000000002"]
    assert not rest.has_more_shards


@pytest.mark.parametrize("name", ["", "a b", "ä", "x" * 129])
def test_a_name_that_cannot_be_is_refused(world: KinesisWorld, name: str) -> None:
    """ValidationException."""
    with refused("ValidationException"):
        world.create_stream(stream_name=name)


def test_names_are_taken_once_and_open_shards_are_bounded(world: KinesisWorld) -> None:
    """ResourceInUseException, LimitExceededException."""
    with refused("ResourceInUseException"):
        world.create_stream(stream_name="s")
    world.limits = Limits(shards=2)
    with refused("LimitExceededException"):
        world.create_stream(stream_name="t", shard_count=2)
    world.create_stream(stream_name="t")
    with refused("LimitExceededException"):
        split(world, 0, HALF)


@pytest.mark.parametrize("hours", [23, 24 * 365 + 1])
def test_retention_is_a_day_to_a_year(world: KinesisWorld, hours: int) -> None:
    """Increase only lengthens, decrease only shortens."""
    with refused("InvalidArgumentException"):
        world.increase_stream_retention_period(stream_name="s", retention_period_hours=hours)
    world.increase_stream_retention_period(stream_name="s", retention_period_hours=48)
    with refused("InvalidArgumentException"):
        world.increase_stream_retention_period(stream_name="s", retention_period_hours=47)
    with refused("InvalidArgumentException"):
        world.decrease_stream_retention_period(stream_name="s", retention_period_hours=49)


def test_tags_are_kept(world: KinesisWorld) -> None:
    """Added, removed, listed."""
    world.add_tags_to_stream(stream_name="s", tags={"a": "1", "b": "2"})
    world.remove_tags_from_stream(stream_name="s", tag_keys=["a", "c"])
    assert [(tag.key, tag.value) for tag in world.list_tags_for_stream(stream_name="s").tags] == [("b", "2")]
