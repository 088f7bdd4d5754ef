"""The same scripts, run here and there, must look the same to a client.

Known differences, each of which is evened out or left out where its name stands in the code, and nowhere else:

- LAST KEY OF A RANGE: kinesis-local divides 2^128 - 1 by the number of shards, AWS and we 2^128 (two shards of AWS
  meet at 170141183460469231731687303715884105728 = 2^127). Hash keys are compared to their first 64 bits.
- ORDER OF PARENTS: kinesis-local sorts a child's ParentShards; AWS promises no order. They are compared as a set.
- UNEVEN SCALING: to a count that is neither double nor half, kinesis-local scales to shards of unequal size; AWS's
  UNIFORM_SCALING makes equal ones. Only their number is compared.
- EVERYTHING AT THE HORIZON: kinesis-local lists all shards for AT_TRIM_HORIZON; AWS those open at that time.
- BROKEN ITERATOR: kinesis-local fails with 500 for an iterator that is none; AWS refuses it as an invalid argument.
- SPLIT AT THE EDGE: kinesis-local splits at the first hash key, which leaves a child without keys; AWS refuses.
"""

import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import ClientError

HASH_KEYS = 1 << 128
SEEDS = range(12)
PATIENCE_SECONDS = 10

Json = dict[str, Any]
Kinesis = Any  # boto3 has no types
Step = Callable[[Kinesis, str], object]


def shown(step: Callable[[], object]) -> object:
    """Return what a step shows: its value, or the name of its refusal."""
    try:
        return step()
    except ClientError as refused:
        return "refused", refused.response["Error"]["Code"]


def settle(kinesis: Kinesis, stream: str) -> None:
    """Wait until a change is complete."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        summary = kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
        if summary["StreamStatus"] == "ACTIVE":
            return
        time.sleep(0.01)
    raise TimeoutError(stream)


def next_moment() -> None:
    """Wait until the clock shows another millisecond: a shard is younger than its parent."""
    began = time.time_ns() // 1_000_000
    while time.time_ns() // 1_000_000 == began:
        time.sleep(0.001)


def listed(kinesis: Kinesis, stream: str, **wanted: object) -> list[Json]:
    """Return the shards of a stream."""
    shards: list[Json] = kinesis.list_shards(StreamName=stream, **wanted)["Shards"]
    return shards


def keys(shard: Json) -> tuple[int, int]:
    """Return a range of hash keys; see LAST KEY OF A RANGE."""
    first, last = (int(shard["HashKeyRange"][name]) for name in ("StartingHashKey", "EndingHashKey"))
    return first + (1 << 63) >> 64, last + (1 << 63) >> 64


def lineage(kinesis: Kinesis, stream: str) -> object:
    """Return ids, parents, keys and state of all shards."""
    return [
        (
            shard["ShardId"],
            shard.get("ParentShardId"),
            shard.get("AdjacentParentShardId"),
            keys(shard),
            "EndingSequenceNumber" in shard["SequenceNumberRange"],
            len(shard["SequenceNumberRange"]["StartingSequenceNumber"]),
        )
        for shard in listed(kinesis, stream)
    ]


def opened(kinesis: Kinesis, stream: str) -> list[Json]:
    """Return the open shards by their keys."""
    shards = [each for each in listed(kinesis, stream) if "EndingSequenceNumber" not in each["SequenceNumberRange"]]
    return sorted(shards, key=lambda shard: int(shard["HashKeyRange"]["StartingHashKey"]))


def contents(kinesis: Kinesis, stream: str, **start: object) -> list[object]:
    """Return the records of every shard, and how it ends."""
    found = list[object]()
    for shard in listed(kinesis, stream):
        kind = start or {"ShardIteratorType": "TRIM_HORIZON"}
        at = kinesis.get_shard_iterator(StreamName=stream, ShardId=shard["ShardId"], **kind)["ShardIterator"]
        records, answer = list[Json](), Json()
        for _ in range(100):
            answer = kinesis.get_records(ShardIterator=at, Limit=5)
            records += answer["Records"]
            if "NextShardIterator" not in answer or (not answer["Records"] and not answer["MillisBehindLatest"]):
                break
            at = answer["NextShardIterator"]
        numbers = [int(record["SequenceNumber"]) for record in records]
        found += [
            shard["ShardId"],
            [(record["PartitionKey"], record["Data"]) for record in records],
            numbers == sorted(set(numbers)),
            {len(str(number)) for number in numbers},
            "NextShardIterator" in answer,
            [(child["ShardId"], set(child["ParentShards"]), keys(child)) for child in answer.get("ChildShards", [])],
        ]
    return found


def put(chance: random.Random, serial: int) -> Step:
    """Put up to 20 records, some by explicit hash key."""
    entries = []
    for at in range(chance.randint(1, 20)):
        entry = {"Data": f"{serial}:{at}".encode(), "PartitionKey": f"key-{chance.randint(0, 9)}"}
        if chance.random() < 0.3:
            entry["ExplicitHashKey"] = str(chance.randrange(HASH_KEYS))
        entries.append(entry)

    def step(kinesis: Kinesis, stream: str) -> object:
        answer = kinesis.put_records(StreamName=stream, Records=entries)
        return answer.get("FailedRecordCount"), [done["ShardId"] for done in answer["Records"]]

    return step


def split(chance: random.Random, _: int) -> Step:
    """Split an open shard somewhere in its middle half."""
    which, where = chance.random(), chance.randint(16, 48)

    def step(kinesis: Kinesis, stream: str) -> object:
        shards = opened(kinesis, stream)
        shard = shards[int(which * len(shards))]
        start, end = (int(shard["HashKeyRange"][name]) for name in ("StartingHashKey", "EndingHashKey"))
        at = str(start + (end - start) * where // 64)
        kinesis.split_shard(StreamName=stream, ShardToSplit=shard["ShardId"], NewStartingHashKey=at)
        return None

    return step


def merge(chance: random.Random, _: int) -> Step:
    """Merge two open neighbours, or, sometimes, two that are none."""
    which, apart = chance.random(), chance.choice([1, 1, 1, 2])

    def step(kinesis: Kinesis, stream: str) -> object:
        shards = opened(kinesis, stream)
        low = int(which * len(shards))
        pair = shards[low], shards[(low + apart) % len(shards)]
        if pair[0] is pair[1] or low + apart >= len(shards):
            return "nothing to merge"
        kinesis.merge_shards(
            StreamName=stream, ShardToMerge=pair[0]["ShardId"], AdjacentShardToMerge=pair[1]["ShardId"]
        )
        return None

    return step


def script(seed: int) -> Iterator[Step]:
    """Make a script: puts between changes."""
    chance = random.Random(seed)
    for serial in range(12):
        yield chance.choice([put, put, split, merge])(chance, serial)


def run(kinesis: Kinesis, seed: int) -> list[object]:
    """Run a script and return everything it shows."""
    stream = f"script-{seed}"
    shards = random.Random(seed).randint(1, 4)
    kinesis.create_stream(StreamName=stream, ShardCount=shards)
    settle(kinesis, stream)
    seen = list[object]()
    for step in script(seed):
        seen.append(shown(partial(step, kinesis, stream)))
        settle(kinesis, stream)
        seen.append(lineage(kinesis, stream))
    seen += contents(kinesis, stream)
    return seen


@pytest.mark.parametrize("seed", SEEDS)
def test_a_script_looks_the_same(ours: Kinesis, theirs: Kinesis, seed: int) -> None:
    """Where records go, how shards come from shards, what every shard holds and how it ends."""
    for here, there in zip(run(ours, seed), run(theirs, seed), strict=True):
        assert here == there


@pytest.mark.parametrize("seed", SEEDS[:4])
def test_every_kind_of_start_reads_the_same(ours: Kinesis, theirs: Kinesis, seed: int) -> None:
    """At and after each record, at its time, before all and behind all."""

    def starts(kinesis: Kinesis) -> list[object]:
        stream = f"starts-{seed}"
        kinesis.create_stream(StreamName=stream, ShardCount=1)
        settle(kinesis, stream)
        before = datetime.now(UTC) - timedelta(seconds=5)
        for n in range(8):
            kinesis.put_record(StreamName=stream, Data=str(n).encode(), PartitionKey="k")
        place = {"StreamName": stream, "ShardId": "shardId-000000000000"}
        at = kinesis.get_shard_iterator(**place, ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
        records = kinesis.get_records(ShardIterator=at)["Records"]
        chosen = random.Random(seed).choice(records)["SequenceNumber"]
        kinds: list[Json] = [
            {"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": chosen},
            {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": chosen},
            {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": before},
            {"ShardIteratorType": "LATEST"},
        ]
        return [contents(kinesis, stream, **kind) for kind in kinds]

    assert starts(ours) == starts(theirs)


@pytest.mark.parametrize("targets", [[2], [4], [8], [2, 1], [6, 9], [3]])
def test_scaling_ends_with_the_same_shards(ours: Kinesis, theirs: Kinesis, targets: list[int]) -> None:
    """From four; the way there may differ, the open shards may not. See UNEVEN SCALING."""

    def scale(kinesis: Kinesis) -> list[tuple[int, int]]:
        stream = f"scaled-{'-'.join(map(str, targets))}"
        kinesis.create_stream(StreamName=stream, ShardCount=4)
        settle(kinesis, stream)
        for target in targets:
            kinesis.update_shard_count(StreamName=stream, TargetShardCount=target, ScalingType="UNIFORM_SCALING")
            settle(kinesis, stream)
        return [keys(shard) for shard in opened(kinesis, stream)]

    here, there = scale(ours), scale(theirs)
    assert len(here) == len(there) == targets[-1]
    if targets[-1] in (1, 2, 4, 8):
        assert here == there


@pytest.mark.parametrize("kind", ["AT_LATEST", "FROM_TRIM_HORIZON", "AFTER_SHARD_ID"])
def test_the_filters_list_the_same(ours: Kinesis, theirs: Kinesis, kind: str) -> None:
    """After two splits."""

    def filtered(kinesis: Kinesis) -> list[str]:
        stream = f"filtered-{kind}"
        kinesis.create_stream(StreamName=stream, ShardCount=1)
        settle(kinesis, stream)
        for index, at in ((0, 1 << 127), (1, 1 << 126)):
            next_moment()
            shard = f"shardId-{index:012d}"
            kinesis.split_shard(StreamName=stream, ShardToSplit=shard, NewStartingHashKey=str(at))
            settle(kinesis, stream)
        wanted = {"Type": kind, **({"ShardId": "shardId-000000000001"} if kind == "AFTER_SHARD_ID" else {})}
        return [shard["ShardId"] for shard in listed(kinesis, stream, ShardFilter=wanted)]

    assert filtered(ours) == filtered(theirs)


SHARD = "shardId-000000000000"
REFUSED: list[tuple[str, Json]] = [
    ("describe_stream", {"StreamName": "none"}),
    ("list_shards", {"StreamName": "none"}),
    ("list_shards", {}),
    ("list_shards", {"NextToken": "AAAA"}),
    ("delete_stream", {"StreamName": "none"}),
    ("create_stream", {"StreamName": "refusing", "ShardCount": 1}),
    ("put_record", {"StreamName": "none", "Data": b"", "PartitionKey": "k"}),
    ("put_record", {"StreamName": "refusing", "Data": b"", "PartitionKey": "k", "ExplicitHashKey": str(HASH_KEYS)}),
    ("put_records", {"StreamName": "none", "Records": [{"Data": b"", "PartitionKey": "k"}]}),
    ("get_shard_iterator", {"StreamName": "refusing", "ShardId": SHARD, "ShardIteratorType": "AT_SEQUENCE_NUMBER"}),
    ("get_shard_iterator", {"StreamName": "refusing", "ShardId": SHARD, "ShardIteratorType": "AT_TIMESTAMP"}),
    ("get_shard_iterator", {"StreamName": "refusing", "ShardId": SHARD[:-1] + "9", "ShardIteratorType": "LATEST"}),
    ("get_shard_iterator", {"StreamName": "none", "ShardId": SHARD, "ShardIteratorType": "LATEST"}),
    ("split_shard", {"StreamName": "refusing", "ShardToSplit": SHARD[:-1] + "9", "NewStartingHashKey": "9"}),
    ("merge_shards", {"StreamName": "refusing", "ShardToMerge": SHARD, "AdjacentShardToMerge": SHARD}),
    ("increase_stream_retention_period", {"StreamName": "refusing", "RetentionPeriodHours": 23}),
    ("decrease_stream_retention_period", {"StreamName": "refusing", "RetentionPeriodHours": 48}),
]


@pytest.mark.parametrize(("operation", "arguments"), REFUSED, ids=lambda value: str(value)[:40])
def test_refusals_are_named_the_same(ours: Kinesis, theirs: Kinesis, operation: str, arguments: Json) -> None:
    """By AWS's name of the error."""

    def refusal(kinesis: Kinesis) -> object:
        if "refusing" not in kinesis.list_streams()["StreamNames"]:
            kinesis.create_stream(StreamName="refusing", ShardCount=1)
            settle(kinesis, "refusing")
        return shown(lambda: getattr(kinesis, operation)(**arguments))

    here, there = refusal(ours), refusal(theirs)
    assert here == there
    assert isinstance(here, tuple)


def test_the_known_differences_are_still_there(ours: Kinesis, theirs: Kinesis) -> None:
    """So that the list above gets shorter when kinesis-local learns."""

    def shows(kinesis: Kinesis) -> list[object]:
        kinesis.create_stream(StreamName="differing", ShardCount=1)
        settle(kinesis, "differing")
        next_moment()
        split_at_the_edge = {"StreamName": "differing", "ShardToSplit": SHARD, "NewStartingHashKey": "0"}
        kinesis.create_stream(StreamName="horizon", ShardCount=1)
        settle(kinesis, "horizon")
        next_moment()
        kinesis.split_shard(StreamName="horizon", ShardToSplit=SHARD, NewStartingHashKey=str(1 << 127))
        settle(kinesis, "horizon")
        return [
            shown(lambda: kinesis.get_records(ShardIterator="AAAA")),
            shown(lambda: bool(kinesis.split_shard(**split_at_the_edge))),
            len(listed(kinesis, "horizon", ShardFilter={"Type": "AT_TRIM_HORIZON"})),
        ]

    invalid = ("refused", "InvalidArgumentException")
    assert shows(ours) == [invalid, invalid, 1]
    assert shows(theirs) == [("refused", "500"), True, 3]
