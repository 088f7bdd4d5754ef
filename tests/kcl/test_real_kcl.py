"""Positions written by the real KCL are taken over: what it had checkpointed is not handled again, all else is.

Skipped where there is no Java, or no kclpy-ext to take the KCL's jars from (`KCLPY_JARS`, or `pip install kclpy-ext`).
`KCL_FIXTURE=tests/kcl/leases.json` keeps what the KCL wrote for the tests that run everywhere.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest

from streamkit.testing.endpoint import endpoint_process
from streamkit.testing.kpl import UserRecord, aggregate
from tests.differential.conftest import kinesis_local
from tests.kcl.daemon import daemon, jars

__all__ = ["kinesis_local"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(jars() is None, reason="no Java, or no jars of the KCL: pip install kclpy-ext"),
]
LIMIT_SECONDS = 120.0
CONSUMER = """
from streamkit import *

@consumer("taken", source=Kinesis("taken"), dead_letters=Sqs("taken-dlq"))
async def taken(record):
    with open("handled", "a") as file: print(record.text(), file=file)
"""


def eventually(condition: Callable[[], bool]) -> None:
    """Poll until it holds."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.5)


@pytest.fixture
def variables(kinesis_local: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mapping[str, str]]:
    """Kinesis by kinesis-local, which speaks HTTP/2 as the KCL does, and DynamoDB by our endpoint."""
    with endpoint_process() as exports:
        found = {**exports, "AWS_ENDPOINT_URL_KINESIS": kinesis_local}
        for name, value in found.items():
            monkeypatch.setenv(name, value)
        yield found


def streamkit(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "streamkit", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


def processed(folder: Path) -> list[list[Any]]:
    """Return what the KCL's processor was given: shard, number, subsequence, text, and how its checkpoint went."""
    path = folder / "processed"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def settled(log: list[list[Any]], ended: set[str]) -> set[str]:
    """Return the texts that the KCL's checkpoints cover."""
    found: set[str] = set()
    for shard in {entry[0] for entry in log}:
        mine = [entry for entry in log if entry[0] == shard]
        marks = [n for n, entry in enumerate(mine) if entry[4] is None]
        last = len(mine) - 1 if shard in ended else (marks[-1] if marks else -1)
        found |= {entry[3] for entry in mine[: last + 1]}
    return found


def test_streamkit_goes_on_where_the_real_kcl_ended(tmp_path: Path, variables: Mapping[str, str]) -> None:
    """Plain records, the inside of an aggregate, an ended shard and its children."""
    kinesis, dynamodb = boto3.client("kinesis"), boto3.client("dynamodb")
    kinesis.create_stream(StreamName="taken", ShardCount=2)
    shards = kinesis.list_shards(StreamName="taken")["Shards"]
    first, second = (each["HashKeyRange"]["StartingHashKey"] for each in shards)
    all_texts: set[str] = set()

    def put(*numbers: int, hash_key: str | None = None) -> None:
        for number in numbers:
            text = f"{number}!" if number % 7 == 6 else str(number)
            all_texts.add(text)
            place = {} if hash_key is None else {"ExplicitHashKey": hash_key}
            kinesis.put_record(StreamName="taken", Data=text.encode(), PartitionKey=f"k{number}", **place)

    put(*range(20))
    texts = ["a0", "a1", "a2!", "a3", "a4"]
    all_texts |= {*texts}
    user_records = aggregate(UserRecord("a", text.encode(), int(second)) for text in texts)
    kinesis.put_record(StreamName="taken", Data=user_records, PartitionKey="a", ExplicitHashKey=second)
    (tmp_path / "of_taken.py").write_text(CONSUMER, encoding="utf-8")
    assert streamkit(tmp_path, "init", "of_taken:taken", "--queue").returncode == 0
    migrate = ("migrate", "from-kcl", "app", "--consumer", "of_taken:taken")

    with daemon(tmp_path, stream="taken", application="app", variables=variables):
        eventually(lambda: len(processed(tmp_path)) >= 25)
        kinesis.split_shard(StreamName="taken", ShardToSplit=shards[0]["ShardId"], NewStartingHashKey="1000000")
        time.sleep(1)
        put(*range(20, 40), hash_key=first)
        eventually(lambda: len(processed(tmp_path)) >= 45)
        alive = streamkit(tmp_path, *migrate, "--watch", "8")
        assert (alive.returncode, "expected a stopped application, got one at work" in alive.stderr) == (2, True)

    rows = dynamodb.scan(TableName="app")["Items"]
    ended = {row["leaseKey"]["S"] for row in rows if row["checkpoint"]["S"] == "SHARD_END"}
    assert ended == {shards[0]["ShardId"]}
    assert any(row["checkpointSubSequenceNumber"]["N"] == "2" for row in rows), "a checkpoint inside of an aggregate"
    done = settled(processed(tmp_path), ended)
    keep = os.environ.get("KCL_FIXTURE")
    if keep:
        listed = kinesis.list_shards(StreamName="taken")["Shards"]
        kept = {"leases": rows, "shards": listed, "processed": processed(tmp_path)}
        Path(keep).write_text(json.dumps(kept, indent=1, default=str) + "\n", encoding="utf-8")

    put(*range(40, 60))
    dry = streamkit(tmp_path, *migrate, "--watch", "5", "--dry-run")
    assert (dry.returncode, dry.stdout.endswith("nothing was written\n")) == (0, True), dry.stderr
    moved = [streamkit(tmp_path, *migrate, "--watch", "1") for _ in range(2)]
    assert [each.returncode for each in moved] == [0, 0], moved[0].stderr
    assert "4 there already" in moved[1].stdout
    assert streamkit(tmp_path, "run", "of_taken:taken", "--until-idle", "3").returncode == 0
    handled = (tmp_path / "handled").read_text().split()
    assert len(handled) == len(set(handled)), "nothing is handled twice"
    assert set(handled) == all_texts - done, "what the KCL had not checkpointed, and nothing else"
