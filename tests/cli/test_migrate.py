"""`streamkit migrate from-kcl`, as one would use it, over a lease table of the KCL's form."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamkit.testing.kpl import UserRecord, aggregate

Run = Callable[..., Any]
HANDLER = """
    with open("effects", "a") as file: print(record.text(), file=file)"""


def lease_table(dynamodb: Any, name: str, *leases: dict[str, Any]) -> None:
    """Make a lease table as the KCL does."""
    dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "leaseKey", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "leaseKey", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    for lease in leases:
        dynamodb.put_item(TableName=name, Item=lease)


def lease(shard: int, checkpoint: str, sub: int = 0) -> dict[str, Any]:
    """Return a lease as the KCL writes it."""
    return {
        "leaseKey": {"S": f"shardId-{shard:012}"},
        "leaseOwner": {"S": "worker"},
        "leaseCounter": {"N": "17"},
        "checkpoint": {"S": checkpoint},
        "checkpointSubSequenceNumber": {"N": str(sub)},
        "ownerSwitchesSinceCheckpoint": {"N": "0"},
    }


@pytest.mark.e2e
@pytest.mark.slow
def test_positions_are_taken_over_and_nothing_is_lost_or_repeated(
    run: Run, stage: Callable[..., str], client: Callable[[str], Any], project: Path
) -> None:
    """A plain record, the inside of an aggregate, an ended shard, one never begun; twice said, once done."""
    path = stage("moved", handler=HANDLER, settings="retry=Retry(attempts=1)")
    kinesis = client("kinesis")
    kinesis.delete_stream(StreamName="moved")
    kinesis.create_stream(StreamName="moved", ShardCount=4)
    starts = [each["HashKeyRange"]["StartingHashKey"] for each in kinesis.list_shards(StreamName="moved")["Shards"]]

    def put(shard: int, *texts: str) -> list[str]:
        answers = [
            kinesis.put_record(StreamName="moved", Data=text.encode(), PartitionKey="k", ExplicitHashKey=starts[shard])
            for text in texts
        ]
        return [each["SequenceNumber"] for each in answers]

    plain = put(0, "p0", "p1", "p2", "p3")
    users = aggregate(UserRecord("k", f"a{n}".encode(), int(starts[1])) for n in range(4))
    inside = kinesis.put_record(StreamName="moved", Data=users, PartitionKey="k", ExplicitHashKey=starts[1])
    put(1, "q1")
    put(2, "ended")
    put(3, "new")
    kinesis.split_shard(
        StreamName="moved", ShardToSplit="shardId-000000000002", NewStartingHashKey=str(int(starts[2]) + 99)
    )
    put(2, "child")
    leases = (
        lease(0, plain[1]),
        lease(1, inside["SequenceNumber"], 1),
        lease(2, "SHARD_END"),
        lease(3, "TRIM_HORIZON"),
    )
    lease_table(client("dynamodb"), "flights-app", *leases)
    assert run("init", path, "--queue").status == 0
    migrate = ("migrate", "from-kcl", "flights-app", "--consumer", path, "--watch", "0.2")

    dry = run(*migrate, "--dry-run")
    assert dry.status == 0, dry.err
    lines = [line.split() for line in dry.out.splitlines()]
    assert [line[0] for line in lines[2:8]] == ["0", "1", "2", "3", "4", "5"]
    assert lines[2][1:5] == [plain[1], "goes", "on", "after"]
    assert lines[3][1] == f"{inside['SequenceNumber']}/1"
    assert lines[4][1:] == ["SHARD_END", "ended"]
    assert "nothing was written" in dry.out
    assert "none" in run("checkpoint", "show", path).err

    done = [run(*migrate) for _ in range(2)]
    assert [each.status for each in done] == [0, 0], done[0].err
    assert ["6 made" in done[0].out, "6 there already" in done[1].out] == [True, True]
    assert run("run", path, "--until-idle", "1").status == 0
    effects = (project / "effects").read_text().split()
    assert sorted(effects) == ["a2", "a3", "child", "new", "p2", "p3", "q1"]

    refused = run(*migrate)
    assert refused.status == 2
    assert "expected no position of the consumer's own" in refused.err
    assert "--replace gives it up" in refused.err
    replaced = run(*migrate, "--replace")
    assert replaced.status == 0, replaced.err
    shown = {each["shard"]: each for each in json.loads(run("checkpoint", "show", path, "--json").out)}
    assert (shown["shardId-000000000000"]["frontier"], shown["shardId-000000000000"]["generation"]) == (plain[1], 1)


@pytest.mark.e2e
@pytest.mark.slow
def test_what_cannot_be_taken_over_is_said(run: Run, stage: Callable[..., str], client: Callable[[str], Any]) -> None:
    """Before anything is written."""
    path = stage("unmoved")
    dynamodb = client("dynamodb")
    lease_table(dynamodb, "stamped-app", lease(0, "AT_TIMESTAMP"))
    lease_table(dynamodb, "empty-app")
    assert run("init", path, "--queue").status == 0
    migrate = ("migrate", "from-kcl", "--consumer", path, "--watch", "0")
    for table, expected in (
        ("stamped-app", "say it with --start"),
        ("empty-app", "expected leases on stream unmoved, got none in 0 rows"),
        ("streamkit-unmoved", "expected a lease table of the KCL, whose key is leaseKey, got pk, sk"),
        ("nowhere", "nowhere"),
    ):
        refused = run(*migrate, table)
        assert (refused.status, expected in refused.err) == (2, True), refused.err
    assert len(dynamodb.scan(TableName="streamkit-unmoved")["Items"]) == 0
    started = run(*migrate, "stamped-app", "--start", "2h")
    assert started.status == 0, started.err
    assert "AT_TIMESTAMP  begins " in started.out


def test_wrong_use_gets_an_answer_that_helps(call: Run) -> None:
    """What was expected, and what came."""
    wrong = call("migrate", "from-kcl", "app", "--consumer", "shop:orders", "--start", "monday")
    assert (wrong.status, "expected oldest, an age such as 2h" in wrong.complaint) == (2, True)
