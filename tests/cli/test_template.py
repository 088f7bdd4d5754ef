"""What deploys a worker: the image, and the template of an ECS service. Linted only: nothing here builds or deploys."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from streamkit.aws import schema
from streamkit.cli.template import HEALTH_CHECK

DOCKERFILE = (Path(__file__).resolve().parents[2] / "Dockerfile").read_text(encoding="utf-8")
TOOLS = Path(sys.executable).parent
Call = Callable[..., Any]


def tool(name: str) -> str:
    """A linter that is here, beside Python or on the path; skips the test where it is not."""
    found = shutil.which(name, path=str(TOOLS)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def test_the_image_has_no_root_and_a_health_check() -> None:
    """In two stages from a slim base of a named version; the last user is a number, so that platforms can tell."""
    stages = re.findall(r"^FROM (\S+)", DOCKERFILE, flags=re.MULTILINE)
    assert stages == ["python:3.13-slim"] * 2
    final = DOCKERFILE.rpartition("FROM ")[2]
    assert re.findall(r"^USER (\S+)", final, flags=re.MULTILINE) == ["10001"]
    assert "ADD " not in DOCKERFILE
    assert HEALTH_CHECK in final
    assert "STREAMKIT_HEALTH=8080" in final
    assert "not built" in DOCKERFILE.lower()


def test_the_image_pleases_hadolint(tmp_path: Path) -> None:
    """Where it is installed."""
    file = tmp_path / "Dockerfile"
    file.write_text(DOCKERFILE, encoding="utf-8")
    done = subprocess.run([tool("hadolint"), str(file)], stdout=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(("status", "fine"), [(200, True), (503, False)])
def test_the_health_check_fails_when_livez_does(status: int, *, fine: bool) -> None:
    """Its very command, at a server of our own."""

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/livez" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        check = HEALTH_CHECK.replace("8080", str(server.server_address[1]))
        done = subprocess.run([sys.executable, "-c", check], stderr=subprocess.DEVNULL, check=False)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert (done.returncode == 0) is fine


def test_the_template_runs_the_consumer_as_it_has_to_be_run(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped later than its grace period ends, watched by /livez, with the rights of `streamkit iam`."""
    monkeypatch.setenv("STREAMKIT_GRACE", "40s")
    resources = json.loads(call("template", "ecs", "shop:orders").out)["Resources"]
    [worker] = resources["Task"]["Properties"]["ContainerDefinitions"]
    assert worker["Command"] == ["shop:orders"]
    assert worker["StopTimeout"] > 40
    assert worker["HealthCheck"]["Command"] == ["CMD", "python", "-c", HEALTH_CHECK]
    [inline] = resources["TaskRole"]["Properties"]["Policies"]
    allowed = [(each["Sid"], each["Action"]) for each in inline["PolicyDocument"]["Statement"]]
    printed = json.loads(call("iam", "shop:orders").out)["Statement"]
    assert allowed == [(each["Sid"], each["Action"]) for each in printed]


FUNCTIONS = """
from datetime import datetime, UTC
from streamkit import DynamoDBStream, Kinesis, Record, Sqs, consumer

URL = "https://sqs.eu-north-1.amazonaws.com/210987654321/letters"
ARN = "arn:aws:kinesis:eu-west-1:210987654321:stream/theirs"

@consumer("orders", source=Kinesis("orders"), dead_letters=Sqs("orders-dlq"))
async def orders(record: Record) -> None: ...

@consumer("in.turn", source=Kinesis(ARN, start=datetime(2026, 1, 1, tzinfo=UTC)), dead_letters=Sqs("dlq.fifo"),
          on_success=Sqs("told"), parallelization_factor=1)
async def in_turn(record: Record) -> None: ...

@consumer("routes", source=DynamoDBStream("routes", start="LATEST"), dead_letters=Sqs(URL))
async def routes(record: Record) -> None: ...

@consumer("moments", source=DynamoDBStream("routes", start=datetime(2026, 1, 1, tzinfo=UTC)))
async def moments(record: Record) -> None: ...

@consumer("once", source=Kinesis("orders"), mode="at_most_once")
async def once(record: Record) -> None: ...

@consumer("silent", source=Kinesis("orders"))
async def silent(record: Record) -> None: ...

lambda_handler = orders.lambda_handler
in_turn_handler = in_turn.lambda_handler
routes_handler = routes.lambda_handler
moments_handler = moments.lambda_handler
once_handler = once.lambda_handler
"""


@pytest.fixture
def functions(project: Path) -> None:
    """Make a module of consumers that are to be functions."""
    (project / "functions.py").write_text(FUNCTIONS, encoding="utf-8")


@pytest.mark.usefixtures("functions")
def test_the_templates_please_cfn_lint(call: Call, tmp_path: Path) -> None:
    """All in one run, which is what it costs."""
    asked = [("ecs", "shop:orders"), *(("lambda", f"functions:{name}") for name in ("orders", "in_turn", "routes"))]
    files = [tmp_path / f"{index}.json" for index, _ in enumerate(asked)]
    for file, command in zip(files, asked, strict=True):
        file.write_text(call("template", *command).out, encoding="utf-8")
    done = subprocess.run([tool("cfn-lint"), *map(str, files)], stdout=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.usefixtures("functions")
def test_the_template_of_a_function_sets_its_mapping_up_as_the_page_says(call: Call) -> None:
    """docs/lambda.md: partial responses, in the mapping and declared; nothing is given up by the mapping."""
    resources = json.loads(call("template", "lambda", "functions:orders").out)["Resources"]
    mapping, function = resources["Mapping"]["Properties"], resources["Function"]["Properties"]
    page = (Path(__file__).resolve().parents[2] / "docs" / "lambda.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", page.partition("The function:")[0], flags=re.MULTILINE))
    assert len(rows) == 4
    for name, value in rows.items():
        assert json.dumps(mapping[name]).replace('"', "") == value
    assert function["Environment"]["Variables"]["STREAMKIT_PARTIAL_RESPONSES"] == "true"
    assert function["Handler"] == "functions.lambda_handler"
    assert function["Timeout"] == 360
    assert resources["Queue"]["Properties"]["QueueName"] == "orders-dlq"
    assert {"RecordsAreLate", "TheFunctionFails", "RecordsAreDead"} <= resources.keys()


@pytest.mark.usefixtures("functions")
def test_the_table_and_queue_of_a_template_are_those_of_init(call: Call) -> None:
    """Of the shape that is checked at a worker's start; both outlive the stack."""
    resources = json.loads(call("template", "lambda", "functions:orders").out)["Resources"]
    table, queue = resources["Table"]["Properties"], resources["Queue"]["Properties"]
    assert {each["AttributeName"]: each["KeyType"] for each in table["KeySchema"]} == schema.KEYS
    assert table["TimeToLiveSpecification"] == {"AttributeName": schema.EXPIRES, "Enabled": True}
    assert (table["TableName"], table["BillingMode"]) == ("streamkit-orders", "PAY_PER_REQUEST")
    assert (queue["MessageRetentionPeriod"], queue["SqsManagedSseEnabled"]) == (14 * 86_400, True)
    assert resources["Table"]["DeletionPolicy"] == resources["Queue"]["DeletionPolicy"] == "Retain"


@pytest.mark.usefixtures("functions")
def test_a_declared_factor_cannot_be_raised_in_the_mapping_alone(call: Call) -> None:
    """Records would be dropped: docs/lambda.md. One that is not declared may be what the mapping likes."""
    declared, free = (json.loads(call("template", "lambda", f"functions:{name}").out) for name in ("in_turn", "orders"))
    assert declared["Parameters"]["ParallelizationFactor"]["MaxValue"] == 1
    variables = declared["Resources"]["Function"]["Properties"]["Environment"]["Variables"]
    assert variables["STREAMKIT_PARALLELIZATION_FACTOR"] == "1"
    assert variables["STREAMKIT_ON_SUCCESS"] == {"Ref": "Successes"}
    assert declared["Resources"]["Function"]["Properties"]["FunctionName"] == "in-turn"
    assert free["Parameters"]["ParallelizationFactor"]["MaxValue"] == 10
    variables = free["Resources"]["Function"]["Properties"]["Environment"]["Variables"]
    assert "STREAMKIT_PARALLELIZATION_FACTOR" not in variables


@pytest.mark.usefixtures("functions")
def test_a_bucket_for_large_payloads_is_the_functions_too(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it was said; it is looked for, not made, and only written to."""
    monkeypatch.setenv("STREAMKIT_DEAD_LETTERS_BUCKET", "large-payloads")
    resources = json.loads(call("template", "lambda", "functions:orders").out)["Resources"]
    variables = resources["Function"]["Properties"]["Environment"]["Variables"]
    assert variables["STREAMKIT_DEAD_LETTERS_BUCKET"] == "large-payloads"
    [inline] = resources["Role"]["Properties"]["Policies"]
    [kept] = [each for each in inline["PolicyDocument"]["Statement"] if each["Sid"] == "KeepLargePayloads"]
    arn = "arn:${AWS::Partition}:s3:::large-payloads/dead-letters/orders/*"
    assert (kept["Action"], kept["Resource"]) == (["s3:PutObject"], {"Fn::Sub": arn})
    assert not [each for each in resources.values() if each["Type"] == "AWS::S3::Bucket"]


@pytest.mark.usefixtures("functions")
def test_the_role_of_a_function_may_do_what_is_printed_for_it(call: Call) -> None:
    """And no more."""
    [inline] = json.loads(call("template", "lambda", "functions:orders").out)["Resources"]["Role"]["Properties"][
        "Policies"
    ]
    printed = json.loads(call("iam", "functions:orders", "--function", "orders").out)["Statement"]
    allowed = [(each["Sid"], each["Action"]) for each in inline["PolicyDocument"]["Statement"]]
    assert allowed == [(each["Sid"], each["Action"]) for each in printed]


@pytest.mark.usefixtures("functions")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("silent", "expected `lambda_handler = silent.lambda_handler` for Lambda, got none"),
        ("once", "mode: in a function expected 'at_least_once', got 'at_most_once'"),
        ("moments", "expected 'TRIM_HORIZON' or 'LATEST'"),
    ],
)
def test_what_cannot_be_a_function_gets_no_template(call: Call, name: str, said: str) -> None:
    """One line says why."""
    outcome = call("template", "lambda", f"functions:{name}")
    assert outcome.status == 2
    assert said in outcome.complaint
