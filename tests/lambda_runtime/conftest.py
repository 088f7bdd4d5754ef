"""A function under Lambda's own runtime, invoked over HTTP."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest

from streamkit.clock import SystemChance
from streamkit.core.envelope import read
from tests.lambda_runtime.fetch import CLIENT, EMULATOR, ROOT, missing

MODULE = """
import asyncio, contextlib, os, time
from streamkit import Kinesis, Poison, Record, Sqs, consumer

EFFECTS = os.open("effects", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

@contextlib.asynccontextmanager
async def opened():
    os.write(EFFECTS, f"opened {{os.getpid()}}\\n".encode())
    yield

@consumer("{name}", source=Kinesis("stream"), dead_letters=Sqs("{name}"), lifespan=opened)
async def records(record: Record) -> None:
    if record.data == b"poison":
        raise Poison("bad")
    if record.data == b"slow":
        await asyncio.sleep(3600)
    if record.data == b"spin":
        time.sleep(3600)
    os.write(EFFECTS, record.data + b"\\n")

@consumer("{name}", source=Kinesis("stream"), dead_letters=Sqs("{name}"))
def threaded(record: Record) -> None:
    if record.data == b"spin":
        time.sleep(3600)
    os.write(EFFECTS, record.data + b"\\n")

lambda_handler = records.lambda_handler
threaded_handler = threaded.lambda_handler
"""
LIMIT_SECONDS = 20


class Runtime:
    """A function in the emulator; each of its tests has its own name, table and queue."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self.name = f"test-{SystemChance().token()[:12]}"
        self._folder = folder
        self._variables = dict(variables)
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        (folder / "staged.py").write_text(MODULE.format(name=self.name), encoding="utf-8")
        self._provision()

    def start(self, *, handler: str = "lambda_handler", timeout: int = 4, **settings: str) -> None:
        """Start the emulator; the first invocation starts the runtime."""
        self._port, api = _free_port(), _free_port()
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("STREAMKIT_")},
            **self._variables,
            "PYTHONPATH": f"{self._folder}:{CLIENT}:{ROOT}",
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(timeout),
            "STREAMKIT_PARTIAL_RESPONSES": "true",
            **{f"STREAMKIT_{name}": value for name, value in settings.items()},
        }
        command = [
            *(str(EMULATOR), "--runtime-interface-emulator-address", f"127.0.0.1:{self._port}"),
            *("--runtime-api-address", f"127.0.0.1:{api}"),
            *(sys.executable, "-m", "awslambdaric", f"staged.{handler}"),
        ]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def stop(self) -> None:
        """Stop it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def invoke(self, event: Mapping[str, Any]) -> Any:
        """Invoke over HTTP; return the answer, or the text of what went wrong."""
        url = f"http://127.0.0.1:{self._port}/2015-03-31/functions/function/invocations"
        request = urllib.request.Request(url, data=json.dumps(event).encode())
        until = time.monotonic() + LIMIT_SECONDS
        while True:
            try:
                with urllib.request.urlopen(request, timeout=LIMIT_SECONDS) as answer:  # noqa: S310 - see above
                    return _parsed(answer.read().decode())
            except urllib.error.URLError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)

    def effects(self) -> list[str]:
        """Return the lines that handlers left."""
        file = self._folder / "effects"
        return file.read_text(encoding="utf-8").splitlines() if file.exists() else []

    def letters(self) -> list[tuple[bytes, str]]:
        """Return payload and condition of each dead letter."""
        sqs = self._client("sqs")
        url = sqs.get_queue_url(QueueName=self.name)["QueueUrl"]
        messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        found = [read(message["Body"]) for message in messages]
        return [(letter.record.data, letter.verdict.condition) for letter in found]

    def log(self) -> str:
        """Return what emulator and function wrote."""
        return (self._folder / "log").read_text(encoding="utf-8")

    def _provision(self) -> None:
        self._client("sqs").create_queue(QueueName=self.name)
        self._client("dynamodb").create_table(
            TableName=f"streamkit-{self.name}",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
            BillingMode="PAY_PER_REQUEST",
        )

    def _client(self, service: str) -> Any:
        return boto3.client(service, endpoint_url=self._variables["AWS_ENDPOINT_URL"], region_name="us-east-1")


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def runtime(embedded: Mapping[str, str], tmp_path: Path) -> Iterator[Runtime]:
    """Lambda's runtime interface client and emulator, or a reason why not."""
    why_not = missing()
    if why_not is not None:
        pytest.skip(why_not)
    runtime = Runtime(tmp_path, embedded)
    try:
        yield runtime
    finally:
        runtime.stop()
