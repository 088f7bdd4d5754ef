"""Whatever happens to the shards, every record is read once, and those of a key in the order of their puts."""

import random
from collections import defaultdict, deque
from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st

from streamkit.testing.kinesis import Entry, KinesisWorld, ShardFilter, Stored
from streamkit.testing.kinesis.numbers import HASH_KEYS
from streamkit.testing.kinesis.values import ChildShard

PUT = st.tuples(st.just("put"), st.lists(st.integers(0, 12), min_size=1, max_size=20))
SPLIT = st.tuples(st.just("split"), st.integers(0, 2**32), st.integers(2, 2**32 - 2))
MERGE = st.tuples(st.just("merge"), st.integers(0, 2**32))
SCALE = st.tuples(st.just("scale"), st.integers(1, 6))
STEPS = st.lists(st.one_of(PUT, SPLIT, MERGE, SCALE), max_size=25)

T = TypeVar("T")


def step(world: KinesisWorld, serial: int, kind: object, *what: object) -> list[Entry]:
    """Take one step of a script; return what it put."""
    shards = world.list_shards(stream_name="s", shard_filter=ShardFilter("AT_LATEST")).shards
    shards.sort(key=lambda shard: int(shard.hash_key_range.starting_hash_key))
    match kind, *what:
        case "put", list(keys):
            entries = [Entry(f"{serial}:{at}".encode(), f"key-{key}") for at, key in enumerate(keys)]
            world.put_records(stream_name="s", records=entries)
            return entries
        case "split", int(which), int(where):
            taken = shards[which % len(shards)].hash_key_range
            start, end = int(taken.starting_hash_key), int(taken.ending_hash_key)
            if end - start > HASH_KEYS >> 16:
                at = start + (end - start) * where // 2**32
                shard = shards[which % len(shards)].shard_id
                world.split_shard(stream_name="s", shard_to_split=shard, new_starting_hash_key=str(at))
        case "merge", int(which) if len(shards) > 1:
            low, high = (shards[which % (len(shards) - 1) + n].shard_id for n in (0, 1))
            world.merge_shards(stream_name="s", shard_to_merge=low, adjacent_shard_to_merge=high)
        case "scale", int(target) if len(shards) <= 2 * target <= 4 * len(shards):
            world.update_shard_count(stream_name="s", target_shard_count=target)
        case _:
            pass
    return []


def read(world: KinesisWorld, shard: str, limit: int) -> tuple[list[Stored], list[ChildShard]]:
    """Read a shard up to its tip; return its records, and its children if that was its end."""
    found = list[Stored]()
    at = world.get_shard_iterator(stream_name="s", shard_id=shard, shard_iterator_type="TRIM_HORIZON")
    while True:
        answer = world.get_records(shard_iterator=at, limit=limit)
        found += answer.records
        if answer.next_shard_iterator is None or answer.millis_behind_latest == 0:
            return found, answer.child_shards or []
        at = answer.next_shard_iterator


def drain(world: KinesisWorld, limit: int) -> list[Stored]:
    """Read everything, a child after all its parents, found through the ends of the parents alone."""
    shards = world.list_shards(stream_name="s").shards
    queue = deque(shard.shard_id for shard in shards if shard.parent_shard_id is None)
    done, found = set[str](), list[Stored]()
    while queue:
        shard = queue.popleft()
        records, children = read(world, shard, limit)
        found += records
        done.add(shard)
        queue.extend(child.shard_id for child in children if done.issuperset(child.parent_shards))
    return found


@given(STEPS, st.integers(1, 30))
def test_every_record_is_read_once_in_the_order_of_its_key(script: list[tuple[object, ...]], limit: int) -> None:
    """For any script of puts, splits, merges and scaling, and answers of any size."""
    world = KinesisWorld(clock=lambda: 1_700_000_000.0, chance=random.Random(1))
    world.create_stream(stream_name="s", shard_count=1)
    put = [entry for serial, taken in enumerate(script) for entry in step(world, serial, *taken)]
    found = drain(world, limit)
    assert len(found) == len(put)
    assert len({record.sequence_number for record in found}) == len(found)
    assert by_key([(entry.partition_key, entry.data) for entry in put]) == by_key(
        [(record.partition_key, record.data) for record in found]
    )
    numbers = by_key([(record.partition_key, int(record.sequence_number)) for record in found])
    assert all(list(of_key) == sorted(of_key) for of_key in numbers.values())


def by_key(pairs: list[tuple[str, T]]) -> dict[str, list[T]]:
    """Group values by their key, in order."""
    grouped = defaultdict[str, list[T]](list)
    for key, value in pairs:
        grouped[key].append(value)
    return dict(grouped)
