"""`streamkit run` as a program: its status, its signals, its one line when something is wrong."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.nursery import Child

pytestmark = pytest.mark.e2e

Run = Callable[..., Any]
Client = Callable[[str], Any]
Stage = Callable[..., str]
Program = Callable[..., Child]

FOREVER = "print('begun', flush=True); await asyncio.sleep(3600)"


@pytest.fixture
def ready(operate: Run, stage: Stage, client: Client) -> Callable[..., str]:
    """Make stream, queue, table and records; return the path of the consumer."""

    def make(word: str, *payloads: str, **about: str) -> str:
        path = stage(word, **about)
        made = operate("init", path, "--queue")
        assert made.status == 0, made.err
        for payload in payloads:
            client("kinesis").put_record(StreamName=word, Data=payload.encode(), PartitionKey=payload)
        return path

    return make


def logged(err: str) -> list[dict[str, Any]]:
    """The events of a worker."""
    return [json.loads(line) for line in err.splitlines()]


def begun(child: Child) -> None:
    """Wait until a handler runs, or the program has ended."""
    assert child.stdout is not None
    assert child.stdout.readline() == "begun\n"


def test_it_runs_until_idle_and_tells_what_it_did(run: Run, ready: Stage) -> None:
    """Status 0; standard output belongs to the handlers, events are JSON lines on standard error."""
    outcome = run("run", ready("orders", "one", "two"), "--until-idle", "0.5")
    assert outcome.status == 0
    assert sorted(outcome.out.split()) == ["one", "two"]
    last = logged(outcome.err)[-1]
    assert (last["event"], last["received"], last["handled"], last["dead"]) == ("worker.stopped", 2, 2, 0)


def test_metrics_are_lines_for_cloudwatch_where_they_are_asked_for(run: Run, ready: Stage) -> None:
    """On standard output, beside what handlers print; the last one at the end."""
    outcome = run("run", ready("measured", "one", "two"), "--until-idle", "0.5", STREAMKIT_METRICS="emf")
    assert outcome.status == 0
    [line] = [json.loads(line) for line in outcome.out.splitlines() if line.startswith("{")]
    assert (line["Consumer"], line["RecordsHandled"], line["HandlerCount"]) == ("measured", 2, 2)
    assert line["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "streamkit"


def test_format_and_level_of_events_are_chosen(run: Run, ready: Stage) -> None:
    """Text for people, without colour where there is no terminal; nothing below the level."""
    path = ready("words", "one")
    outcome = run("run", path, "--until-idle", "0.5", "--log-format", "console")
    assert "[info     ] worker.stopped" in outcome.err
    assert "\x1b" not in outcome.err
    outcome = run("run", path, "--until-idle", "0.5", STREAMKIT_LOG_LEVEL="error")
    assert (outcome.status, outcome.err) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains(program: Program, ready: Stage, number: signal.Signals) -> None:
    """What is under way ends, is checkpointed and given back; status 0."""
    word = f"drained{number}"
    path = ready(word, "x", handler="print('begun', flush=True); await asyncio.sleep(1); print('done', flush=True)")
    with program("run", path) as child:
        begun(child)
        child.send_signal(number)
        out, err = child.communicate(timeout=240)
    assert child.returncode == 0
    assert out == "done\n"
    names = [event["event"] for event in logged(err)]
    assert names[names.index("worker.draining") :].count("shard.released") == 1
    assert names[-1] == "worker.stopped"
    assert logged(err)[-1]["handled"] == 1
    assert [event["cause"] for event in logged(err) if event["event"] == "worker.draining"] == [number.name]


def test_the_second_interrupt_exits_at_once(program: Program, ready: Stage) -> None:
    """Status 130, whatever the grace period."""
    with program("run", ready("stubborn", "x", handler=FOREVER), "--grace", "1h") as child:
        begun(child)
        child.send_signal(signal.SIGINT)
        assert child.stderr is not None
        assert any('"worker.draining"' in line for line in child.stderr)
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=240)
    assert child.returncode == 130


def test_a_handler_that_outlives_the_grace_period_is_left_for_the_next_worker(program: Program, ready: Stage) -> None:
    """The drain goes on without it."""
    with program("run", ready("slow", "x", handler=FOREVER), "--grace", "0.2") as child:
        begun(child)
        child.terminate()
        _, err = child.communicate(timeout=240)
    assert child.returncode == 0
    assert logged(err)[-1]["handled"] == 0


@pytest.mark.parametrize("missing", ["stream", "queue", "table"])
def test_a_missing_resource_is_one_line_and_status_2(
    run: Run, operate: Run, stage: Stage, client: Client, missing: str
) -> None:
    """It names the resource, and what makes it."""
    word = f"without{missing}"
    path = stage(word)
    assert operate("init", path, "--queue").status == 0
    if missing == "stream":
        client("kinesis").delete_stream(StreamName=word)
    elif missing == "queue":
        client("sqs").delete_queue(QueueUrl=client("sqs").get_queue_url(QueueName=f"{word}-dlq")["QueueUrl"])
    settings = {"STREAMKIT_CHECKPOINT_TABLE": "nowhere"} if missing == "table" else {}
    outcome = run("run", path, "--until-idle", "1", **settings)
    name = {"stream": word, "queue": f"{word}-dlq", "table": "nowhere"}[missing]
    assert outcome.status == 2
    assert name in outcome.complaint
    assert ("streamkit init" if missing == "table" else "create the") in outcome.complaint


def test_the_table_of_another_consumer_is_not_touched(run: Run, ready: Stage) -> None:
    """One line, status 2."""
    assert run("run", ready("mine"), "--until-idle", "0.5").status == 0
    outcome = run("run", ready("yours"), "--until-idle", "0.5", STREAMKIT_CHECKPOINT_TABLE="streamkit-mine")
    assert outcome.status == 2
    assert "expected the rows of consumer 'yours', got those of 'mine'" in outcome.complaint


def test_a_corrupt_checkpoint_row_is_one_line_and_status_2(run: Run, ready: Stage, client: Client) -> None:
    """It names table, row and attribute, and what is there stays as it is."""
    path = ready("torn", "one")
    assert run("run", path, "--until-idle", "0.5").status == 0
    dynamodb = client("dynamodb")
    rows = dynamodb.scan(TableName="streamkit-torn")["Items"]
    row = next(each for each in rows if each["sk"]["S"].startswith("shardId"))
    dynamodb.put_item(TableName="streamkit-torn", Item={**row, "epoch": {"S": "many"}})
    outcome = run("run", path, "--until-idle", "0.5")
    assert outcome.status == 2
    assert "streamkit-torn" in outcome.complaint
    assert "epoch" in outcome.complaint
    key = {"pk": row["pk"], "sk": row["sk"]}
    assert dynamodb.get_item(TableName="streamkit-torn", Key=key)["Item"] == {**row, "epoch": {"S": "many"}}


class _Refusing(BaseHTTPRequestHandler):
    """An AWS whose answer is no."""

    def do_POST(self) -> None:
        """Refuse."""
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"__type": "AccessDeniedException", "message": "not\\nyou"}'
        self.send_response(400)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Say nothing."""


@contextmanager
def refusing_endpoint() -> Generator[str]:
    """Serve refusals on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("command", ["run", "init", "resume"])
def test_missing_permissions_are_one_line_and_status_2(run: Run, command: str) -> None:
    """The line names the action to allow."""
    with refusing_endpoint() as url:
        outcome = run(command, "shop:orders", AWS_ENDPOINT_URL=url)
    assert outcome.status == 2
    action = {"run": "dynamodb:DescribeTable", "init": "kinesis:DescribeStreamSummary", "resume": "dynamodb:Query"}
    assert f"is not allowed (AccessDeniedException): allow {action[command]}" in outcome.complaint


def test_a_lifespan_that_fails_is_one_line_and_status_1(run: Run, ready: Stage, project: Path) -> None:
    """Named by class and place; its message may hold secrets."""
    (project / "resources.py").write_text(
        "from contextlib import asynccontextmanager\n"
        "@asynccontextmanager\n"
        "async def broken():\n"
        "    raise RuntimeError('password')\n"
        "    yield\n",
        encoding="utf-8",
    )
    path = ready("lively", settings="lifespan=__import__('resources').broken")
    outcome = run("run", path)
    assert outcome.status == 1
    assert outcome.complaint.startswith("unexpected RuntimeError at ")
    assert "resources.py:4; `streamkit --debug ...` shows" in outcome.complaint
    assert "password" not in outcome.err


def test_uvloop_turns_the_loop_where_it_is_installed(run: Run, project: Path) -> None:
    """No dependency: it is found, or it is not missed."""
    (project / "uvloop.py").write_text(
        "import asyncio\ndef new_event_loop():\n    print('uvloop')\n    return asyncio.new_event_loop()\n",
        encoding="utf-8",
    )
    assert run("run", "shop:orders", STREAMKIT_CHECKPOINT_TABLE="nowhere").out == "uvloop\n"


@pytest.mark.parametrize("url", ["here", "http://"])
def test_a_malformed_endpoint_is_one_line_and_status_2(run: Run, url: str) -> None:
    """It says which setting to correct."""
    outcome = run("run", "shop:orders", AWS_ENDPOINT_URL=url)
    assert outcome.status == 2
    assert "endpoint" in outcome.complaint.lower() or "AWS settings" in outcome.complaint


def test_an_endpoint_that_nobody_serves_is_one_line_and_status_1(run: Run) -> None:
    """It may come back: nothing the user wrote is wrong for certain."""
    outcome = run("run", "shop:orders", AWS_ENDPOINT_URL="http://127.0.0.1:1")
    assert outcome.status == 1
    assert "check AWS_ENDPOINT_URL, region and network" in outcome.complaint
