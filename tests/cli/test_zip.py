"""`streamkit zip`: what it makes is a function, with nothing else than Lambda's runtime around it."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.functions.stage import kinesis

Call = Callable[..., Any]
RUNTIME = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3", "six")
"""What Lambda's Python has besides its standard library, as far as boto3 needs it."""

MODULE = """
from datetime import timedelta
from streamkit import Kinesis, Poison, Record, Retry, Sqs, consumer

once = Retry(attempts=2, initial=timedelta(milliseconds=1), maximum=timedelta(milliseconds=1))

@consumer("zipped", source=Kinesis("stream"), dead_letters=Sqs("zipped"), retry=once)
async def zipped(record: Record) -> None:
    if record.data == b"2":
        raise Poison("bad")
    if record.data == b"3" and record.attempt == 1:
        raise ValueError("not yet")

lambda_handler = zipped.lambda_handler
"""
PROGRAM = """
import importlib.util, sys
sys.path[:0] = [{unpacked!r}, {runtime!r}]
import shop_function, streamkit

class Context:
    def get_remaining_time_in_millis(self): return 30_000

print(shop_function.lambda_handler({event!r}, Context()))
print(all(sys.modules[name].__file__.startswith({unpacked!r}) for name in ("streamkit", "msgspec", "tenacity")))
print([name for name in ("aioboto3", "structlog", "click", "pip") if importlib.util.find_spec(name)])
print(streamkit.__cached__)
"""


@pytest.fixture
def packed(call: Call, project: Path) -> Path:
    """Make a zip; where pip finds nothing to put into it, say so and skip."""
    (project / "shop_function.py").write_text(MODULE, encoding="utf-8")
    outcome = call("zip", "shop_function:zipped")
    if outcome.status == 2 and outcome.complaint.startswith("pip: "):
        pytest.skip(outcome.complaint)
    assert outcome.status == 0, outcome.err
    size, unpacked = re.findall(r"([\d,]+) KB", outcome.out.splitlines()[0])
    assert int(size.replace(",", "")) < int(unpacked.replace(",", "")) < 5_000
    assert "handler shop_function.lambda_handler" in outcome.out
    return project / "zipped.zip"


def test_the_zip_and_boto3_are_a_function(
    packed: Path, tmp_path: Path, world: Mapping[str, str], client: Callable[[str], Any]
) -> None:
    """Under an interpreter that sees nothing else: a poison record is a letter, one that fails is tried again."""
    unpacked, runtime = tmp_path / "task", tmp_path / "runtime"
    with zipfile.ZipFile(packed) as file:
        file.extractall(unpacked)
    runtime.mkdir()
    for name in RUNTIME:
        found = importlib.util.find_spec(name)
        assert found is not None
        place = Path(str(found.origin))
        whole = place.parent if place.name == "__init__.py" else place
        (runtime / whole.name).symlink_to(whole)
    provision(client)
    program = PROGRAM.format(unpacked=str(unpacked), runtime=str(runtime), event=kinesis(1, 2, 3))
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program],
        env={**os.environ, **world, "STREAMKIT_PARTIAL_RESPONSES": "true"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer, ours, strangers, bytecode = [line for line in done.stdout.splitlines() if not line.startswith('{"')]
    assert (answer, ours, strangers) == ("{'batchItemFailures': []}", "True", "[]")
    assert Path(bytecode).is_file()
    assert Path(bytecode).read_bytes()[4:8] == b"\x01\x00\x00\x00", "bytecode that is checked against its source's time"
    sqs = client("sqs")
    assert len(sqs.receive_message(QueueUrl=sqs.get_queue_url(QueueName="zipped")["QueueUrl"])["Messages"]) == 1


def provision(client: Callable[[str], Any]) -> None:
    """Make table and queue."""
    client("sqs").create_queue(QueueName="zipped")
    client("dynamodb").create_table(
        TableName="streamkit-zipped",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
        BillingMode="PAY_PER_REQUEST",
    )


def test_what_pip_cannot_find_is_one_line_and_no_zip(call: Call, project: Path) -> None:
    """It names what was asked for."""
    (project / "shop_function.py").write_text(MODULE, encoding="utf-8")
    outcome = call("zip", "shop_function:zipped", "--with", "./nowhere")
    assert outcome.status == 2
    assert "./nowhere" in outcome.complaint
    assert not (project / "zipped.zip").exists()


def test_a_consumer_without_a_handler_for_lambda_gets_no_zip(call: Call) -> None:
    """Before anything is fetched."""
    outcome = call("zip", "shop:orders")
    assert outcome.status == 2
    assert "expected `lambda_handler = orders.lambda_handler` for Lambda, got none" in outcome.complaint
