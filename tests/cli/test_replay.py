"""`streamkit replay`, as one would use it, beside a live consumer; and beside the changes of a table."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from streamkit.cli.replay.progress import Progress, described
from streamkit.clock import SystemClock
from streamkit.core.replay import Headway
from streamkit.testing import ManualClock
from tests.nursery import Child

CLOCK = SystemClock()
Run = Callable[..., Any]
Program = Callable[..., Child]
FAST = {"STREAMKIT_CHECKPOINT_LEASE": "2s", "STREAMKIT_CHECKPOINT_INTERVAL": "200ms"}
HANDLER = """
    if record.replayed: await asyncio.sleep(0.05)
    with open("effects", "a") as file: print(record.text(), record.replayed, file=file)"""

KILLER = """
    if record.replayed and record.text() == "3": os._exit(9)"""


def effects(project: Path) -> list[str]:
    """Return the numbers that were replayed, in the order of their effects."""
    lines = (project / "effects").read_text().splitlines()
    return [number for number, replayed in map(str.split, lines) if replayed == "True"]


def eventually(condition: Callable[[], bool]) -> None:
    """Poll until it holds, for half a minute at most."""
    deadline = CLOCK.monotonic() + 30
    while not condition():
        assert CLOCK.monotonic() < deadline
        threading.Event().wait(0.05)


def passed(seconds: float) -> None:
    """Return in a later second: changes are dated by whole ones."""
    after = CLOCK.now() + timedelta(seconds=seconds)
    eventually(lambda: CLOCK.now() > after)


@pytest.mark.e2e
@pytest.mark.slow
def test_a_range_is_counted_replayed_interrupted_and_finished(
    run: Run, program: Program, stage: Callable[..., str], client: Callable[[str], Any], project: Path
) -> None:
    """The live consumer's positions are the same before and after."""
    path = stage("repeated", handler=HANDLER, settings="concurrency=1")
    assert run("init", path, "--queue").status == 0

    def put(*numbers: int) -> None:
        for number in numbers:
            client("kinesis").put_record(StreamName="repeated", Data=b"%d" % number, PartitionKey=f"k{number % 3}")

    put(*range(200))
    assert run("run", path, "--until-idle", "1", **FAST).status == 0
    shown = run("checkpoint", "show", path, "--json").out

    counted = run("replay", path, "--from", "1h", "--dry-run")
    assert (counted.status, counted.out.splitlines()[-1].split()) == (0, ["all", "200", "490"]), counted.err

    replay = ("replay", path, "--from", "1h", "--share", "80")
    with program(*replay, **FAST) as first:
        eventually(lambda: len(effects(project)) > 20)
        first.terminate()
        out, err = first.communicate()
    assert first.returncode == 130, err
    assert "0 of 1 shards done; the same command goes on" in out
    assert len(effects(project)) < 200
    again = run(*replay, **FAST)
    assert again.status == 0, again.err
    assert ", begun " in again.out
    assert "in all its runs: 200 records, 0 dead letters" in again.out
    assert again.out.endswith(": finished\n")
    assert sorted(map(int, effects(project))) == [*range(200)]
    assert "was finished" in run(*replay).out
    assert run("checkpoint", "show", path, "--json").out == shown
    assert len(effects(project)) == 200

    items = client("dynamodb").scan(TableName="streamkit-repeated")["Items"]
    left = [item["pk"]["S"].partition("#")[0] for item in items if "replay" in item["sk"]["S"] or "replay" in item]
    assert left == ["meta"]


@pytest.mark.e2e
@pytest.mark.slow
def test_a_record_that_kills_its_replay_is_found_in_a_process_apart(
    run: Run, stage: Callable[..., str], client: Callable[[str], Any], project: Path
) -> None:
    """Two runs die of it; the third lives, finds it and finishes. Records of other keys are handled nowhere."""
    path = stage("fatal", handler=KILLER + HANDLER)
    assert run("init", path, "--queue").status == 0
    for number in range(12):
        client("kinesis").put_record(StreamName="fatal", Data=b"%d" % number, PartitionKey=f"k{number % 3}")
    replay = ("replay", path, "--from", "1h", "--key", "k0", "--share", "100", "--verbose")
    assert [run(*replay, **FAST).status for _ in range(2)] == [9, 9]
    found = run(*replay, **FAST)
    assert found.status == 1, found.err
    assert "  1  dead letters\n" in found.out
    assert found.out.endswith(": finished\n")
    assert found.err.count('"ward.died"') <= 4
    assert '"quarantine.ended"' in found.err
    assert {*effects(project)} == {"0", "6", "9"}
    sqs = client("sqs")
    url = sqs.get_queue_url(QueueName="fatal-dlq")["QueueUrl"]
    [letter] = sqs.receive_message(QueueUrl=url)["Messages"]
    assert "it ended its process 2 times, alone: exit status 9" in letter["Body"]


@pytest.mark.e2e
@pytest.mark.slow
def test_changes_of_a_table_are_replayed_by_their_time(run: Run, client: Callable[[str], Any], project: Path) -> None:
    """The service opens at no moment: what is older than --from is read, and not handled."""
    dynamodb = client("dynamodb")
    dynamodb.create_table(
        TableName="stock",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    (project / "of_stock.py").write_text(
        """
from streamkit import *

@consumer("stock", source=DynamoDBStream("stock"), dead_letters=Sqs("stock-dlq"))
async def stock(change: Change) -> None:
    with open("effects", "a") as file: print(change.new["n"], change.replayed, file=file)
""",
        encoding="utf-8",
    )
    assert run("init", "of_stock:stock", "--queue").status == 0
    for n in range(3):
        dynamodb.put_item(TableName="stock", Item={"id": {"S": "a"}, "n": {"N": str(n)}})
    passed(2.1)
    moment = CLOCK.now().isoformat(timespec="seconds")
    for n in range(3, 7):
        dynamodb.put_item(TableName="stock", Item={"id": {"S": "a"}, "n": {"N": str(n)}})
    passed(1.1)
    done = run("replay", "of_stock:stock", "--from", moment, **FAST)
    assert done.status == 0, done.err
    assert effects(project) == ["3", "4", "5", "6"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("shop:orders",), "Missing option '--from'"),
        (("shop:orders", "--from", "monday"), "expected an age such as 90m, 2h, 3d, or a moment such as"),
        (("shop:orders", "--from", "2h", "--id", "a b"), "expected up to 64 letters"),
        (("shop:orders", "--from", "2h", "--share", "200"), "200 is not in the range 1<=x<=100"),
        (("shop:nothing", "--from", "2h"), "expected one of its consumers (orders, returns)"),
    ],
)
def test_wrong_use_gets_an_answer_that_helps(call: Run, arguments: tuple[str, ...], expected: str) -> None:
    """What was expected, and what came."""
    wrong = call("replay", *arguments)
    assert (wrong.status, expected in wrong.complaint) == (2, True), wrong.err


@pytest.mark.e2e
@pytest.mark.slow
def test_a_range_beyond_the_retention_is_refused_with_what_there_is(run: Run, stage: Callable[..., str]) -> None:
    """In one line, before anything is written."""
    path = stage("forgotten")
    assert run("init", path, "--queue").status == 0
    refused = run("replay", path, "--from", "30h")
    assert refused.status == 2
    assert (
        "--from: expected a moment within the retention of stream forgotten, which is 24 hours, so from " in refused.err
    )


def test_progress_is_told_with_an_estimate(capsys: pytest.CaptureFixture[str]) -> None:
    """A line every ten seconds where there is no terminal."""
    clock = ManualClock()
    with Progress(clock=clock) as progress:
        for step in range(21):
            progress.show(Headway(2, 1, step / 40, step * 10, 0))
            clock.advance(timedelta(seconds=1))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "  0.0%  1/2 shards, 0 records",
        " 25.0%  1/2 shards, 100 records, about 30s left",
        " 50.0%  1/2 shards, 200 records, about 20s left",
    ]
    standing = Headway(2, 1, 1.0, 12_345_678, 3, ("shardId-1: OSError",))
    assert described(standing, left=None) == "1/2 shards, 12.3M records, 3 dead, 1 standing still"
