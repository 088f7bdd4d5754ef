"""Beside Powertools: its event classes, its known races, and its logger, tracer and metrics around a consumer."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aws_lambda_powertools.utilities import data_classes

from streamkit import Change, Record, Retry
from streamkit.testing import run_virtual
from tests.functions.golden import GOLDEN, Golden
from tests.functions.stage import SETTLED, Stage, first, kinesis
from tests.functions.test_answers import both, staged

PAGE = Path(__file__).resolve().parents[2] / "docs" / "lambda.md"
BINARY = "dynamodb, every type"
"""Powertools leaves binary values in base64."""
PATIENT = Retry(attempts=50, initial=timedelta(seconds=1), maximum=timedelta(seconds=1))
KIT: Any = data_classes  # typed in part only
PLAIN = ("kinesis", "kinesis, enhanced fan-out", "kinesis, the console's sample")
"""Events of which Powertools sees the same records: it takes no aggregates apart."""


def received(golden: Golden) -> list[Record]:
    """Return the records that a handler is given."""
    found: list[Record] = []

    async def main() -> None:
        stage = Stage(source=golden.source)

        async def handle(record: Record) -> None:
            found.append(record)

        stage.handler = handle
        assert await stage.invoke(golden.event) == SETTLED

    run_virtual(main)
    return found


@pytest.mark.parametrize("name", PLAIN)
def test_a_record_says_what_powertools_class_of_it_says(name: str) -> None:
    """Whoever comes from there finds everything under a name of its own."""
    golden = GOLDEN[name]
    theirs = list(KIT.KinesisStreamEvent(golden.event).records)
    for mine, their in zip(received(golden), theirs, strict=True):
        body = their.kinesis
        assert (mine.data, mine.text()) == (body.data_as_bytes(), body.data_as_text())
        assert (mine.key, mine.sequence_number) == (body.partition_key, body.sequence_number)
        assert mine.arrived_at.timestamp() == body.approximate_arrival_timestamp
        assert f"{mine.shard}:{mine.sequence_number}" == their.event_id


@pytest.mark.parametrize("name", [name for name in GOLDEN if name.startswith("dynamodb") and name != BINARY])
def test_a_change_says_what_powertools_class_of_it_says(name: str) -> None:
    """Images as plain values; ours tell no image from an empty one."""
    golden = GOLDEN[name]
    theirs = list(KIT.DynamoDBStreamEvent(golden.event).records)
    for mine, their in zip(received(golden), theirs, strict=True):
        assert isinstance(mine, Change)
        body = their.dynamodb
        assert (mine.event, mine.event_id) == (their.event_name.name, their.event_id)
        assert (mine.keys, mine.new or {}, mine.old or {}) == (body.keys, body.new_image, body.old_image)
        assert mine.sequence_number == body.sequence_number


@both
def test_after_a_failure_nothing_of_its_key_runs_before_it_is_settled(factor: int | None) -> None:
    """Powertools' race: its batch goes on past a failure, so that later records of the key take effect first."""

    async def play(stage: Stage) -> None:
        failing = True
        settled: set[int] = set()

        async def behave(number: int) -> None:
            assert {n for n in range(number) if n % 5 == number % 5} <= settled, f"{number} overtakes its key"
            await asyncio.sleep(0.1 * (number % 3))
            if number == 7 and failing:
                raise ConnectionError("not yet")
            settled.add(number)

        stage.behaviour = behave
        for _ in range(3):
            assert first(await stage.invoke(kinesis(*range(7, 40)) if settled else kinesis(*range(40)), seconds=6)) == 7
        failing = False
        assert await stage.invoke(kinesis(*range(7, 40))) == SETTLED
        assert sorted(stage.effects) == list(range(40))
        assert (stage.dead, stage.order_holds()) == ([], True)

    staged(factor, play, retry=PATIENT)


@pytest.fixture
def daemon() -> Any:
    """Listen as X-Ray's daemon does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(10)
        yield listening


PROGRAM = """
from streamkit import Kinesis, Record, Sqs, consumer

@consumer("{name}", source=Kinesis("stream"), dead_letters=Sqs("{name}"))
async def flights(record: Record) -> None:
    logger.info("handled", extra={{"number": record.text()}})
    metrics.add_metric(name="Handled", unit="Count", value=1)

{example}

class Context:
    function_name = memory_limit_in_mb = invoked_function_arn = aws_request_id = "flights"
    def get_remaining_time_in_millis(self): return 30_000

assert lambda_handler({event!r}, Context()) == {{"batchItemFailures": []}}
assert lambda_handler({event!r}, Context()) == {{"batchItemFailures": []}}
"""


def test_logger_tracer_and_metrics_work_around_a_consumer(
    resource: Callable[[], str], embedded: Mapping[str, str], daemon: socket.socket
) -> None:
    """The page's own example, with X-Ray on: a trace, a metric and log lines of one invocation, and the answer."""
    [example] = re.findall(r"```python\n(from aws_lambda_powertools.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
    program = PROGRAM.format(name=resource(), example=example, event=kinesis(1, 2, 3))
    root = "1-5759e988-bd862e3fe1be46a994272793"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={
            **os.environ,
            **embedded,
            "STREAMKIT_PARTIAL_RESPONSES": "true",
            "POWERTOOLS_SERVICE_NAME": "flights",
            "LAMBDA_TASK_ROOT": "/var/task",
            "_X_AMZN_TRACE_ID": f"Root={root};Parent=53995c3f42cd8ad8;Sampled=1",
            "AWS_XRAY_DAEMON_ADDRESS": f"127.0.0.1:{daemon.getsockname()[1]}",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    handled = [line for line in lines if line.get("message") == "handled"]
    assert [line["number"] for line in handled] == ["1", "2", "3"]
    assert {line["function_request_id"] for line in handled} == {"flights"}
    assert [line["Handled"] for line in lines if "_aws" in line and "Handled" in line] == [[1.0] * 3]
    segments = [json.loads(daemon.recv(65_536).partition(b"\n")[2])]
    while segments[-1]["name"] != "## lambda_handler":
        segments.append(json.loads(daemon.recv(65_536).partition(b"\n")[2]))
    assert segments[-1]["trace_id"] == root
