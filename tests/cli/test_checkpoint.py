"""`streamkit checkpoint`, `pause` and `resume`, beside a worker that runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.nursery import Child

Run = Callable[..., Any]
Program = Callable[..., Child]
FAST = {"STREAMKIT_CHECKPOINT_LEASE": "2s", "STREAMKIT_CHECKPOINT_INTERVAL": "200ms"}


def read(worker: Child, lines: int) -> list[str]:
    """Return so many lines of what a worker's handler prints."""
    assert worker.stdout is not None
    return [worker.stdout.readline().strip() for _ in range(lines)]


@pytest.mark.e2e
@pytest.mark.slow
def test_a_running_consumer_is_paused_resumed_moved_and_rid_of_a_record(
    operate: Run, program: Program, stage: Callable[..., str], client: Callable[[str], Any]
) -> None:
    """The worker is never stopped: it lets go of the shard when asked, and takes it up again."""
    path = stage("steered", settings="concurrency=1")
    assert operate("init", path, "--queue").status == 0

    def put(*payloads: str) -> list[str]:
        answers = [
            client("kinesis").put_record(StreamName="steered", Data=each.encode(), PartitionKey="k")
            for each in payloads
        ]
        return [each["SequenceNumber"] for each in answers]

    with program("run", path, **FAST) as worker:
        put("0", "1", "2")
        assert read(worker, 3) == ["0", "1", "2"]
        refused = operate("checkpoint", "reset", path, "--to", "oldest", **FAST)
        assert refused.status == 2
        assert "expected no worker on it" in refused.err

        assert operate("pause", path, "--shard", "0", **FAST).out.endswith("paused by an operator\n")
        numbers = put("3", "4")
        [shown] = json.loads(operate("checkpoint", "show", path, "--json").out)
        assert (shown["state"], shown["why"], shown["owner"]) == ("halted", "paused by an operator", None)
        skipped = operate("checkpoint", "skip", path, "--shard", "0", "--sequence", numbers[0], **FAST)
        assert skipped.out.startswith("shard shardId-000000000000: 1 records of number"), skipped.err
        assert operate("resume", path).status == 0
        assert read(worker, 1) == ["4"]
        listed = json.loads(operate("dlq", "list", path, "--json").out)
        assert [each["condition"] for each in listed["letters"]] == ["Skipped"]

        reset = operate("checkpoint", "reset", path, "--to", "oldest", "--wait", **FAST)
        assert "reads again from the oldest record, generation 1" in reset.out, reset.err
        assert read(worker, 5) == ["0", "1", "2", "3", "4"]
        again = operate("checkpoint", "set", path, "--shard", "0", "--sequence", numbers[0], "--wait", **FAST)
        assert again.status == 0, again.err
        assert read(worker, 1) == ["4"]
        worker.terminate()
        worker.communicate()
    page = operate("checkpoint", "show", path).out.splitlines()
    assert page[0].split()[:4] == ["SHARD", "STATE", "EPOCH", "GEN"]
    assert page[1].split()[3] == "2"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("set", "shop:orders", "--shard", "0", "--sequence", "x7"), "expected digits, got 'x7'"),
        (("reset", "shop:orders", "--to", "monday"), "expected oldest, latest, an age such as 2h"),
        (("skip", "shop:orders", "--sequence", "7"), "Missing option '--shard'"),
    ],
)
def test_wrong_use_gets_an_answer_that_helps(call: Run, arguments: tuple[str, ...], expected: str) -> None:
    """What was expected, and what came."""
    wrong = call("checkpoint", *arguments)
    assert (wrong.status, expected in wrong.complaint) == (2, True), wrong.err
