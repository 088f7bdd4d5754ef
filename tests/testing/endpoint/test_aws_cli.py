"""The AWS command line against the endpoint.

It is installed beside the project, into .cache/, because it brings dependencies of its own.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

Json = Any
VERSION = "1.46.2"
HOME = Path(__file__).resolve().parents[3] / ".cache" / f"awscli-{VERSION}-py{sys.version_info[0]}{sys.version_info[1]}"
COMMANDS = """
import contextlib, io, json, sys
from awscli.clidriver import main

for line in sys.stdin:
    sys.argv = ["aws", *json.loads(line)]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        status = main()
    print(json.dumps([status, out.getvalue()]), flush=True)
"""
"""Runs one command line after the other: a program for each would be sixteen times a second of loading."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="session")
def command_line() -> Path:
    """Install the AWS command line once; without a package index there is none to test."""
    if not HOME.exists():
        building = HOME.with_name(f"{HOME.name}.{os.getpid()}")
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run(
            [*install, "--target", str(building), f"awscli=={VERSION}"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            reason = f"the AWS command line cannot be installed: {done.stderr.strip()[-200:]}"
            (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
        try:
            building.rename(HOME)
        except OSError:
            assert HOME.exists()  # another run was faster
    return HOME


@pytest.fixture
def aws(command_line: Path, environment: Mapping[str, str]) -> Iterator[Callable[..., Any]]:
    """Run the AWS command line with the endpoint's exports and return its JSON."""
    with subprocess.Popen(
        [sys.executable, "-c", COMMANDS],
        env={**os.environ, **environment, "PYTHONPATH": str(command_line), "AWS_CLI_AUTO_PROMPT": "off"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:

        def run(*arguments: str) -> Json:
            assert child.stdin is not None
            assert child.stdout is not None
            print(json.dumps([*arguments, "--output", "json"]), file=child.stdin, flush=True)
            status, out = json.loads(child.stdout.readline())
            assert status == 0, arguments
            return json.loads(out) if out.startswith("{") else None

        yield run


def test_the_aws_command_line_works_by_the_exports(aws: Callable[..., Any], environment: Mapping[str, str]) -> None:
    """Kinesis by ours, DynamoDB, SQS and S3 by moto; version 1 needs --endpoint-url for SQS as well."""
    aws("kinesis", "create-stream", "--stream-name", "cli", "--shard-count", "1")
    aws("kinesis", "wait", "stream-exists", "--stream-name", "cli")
    put = aws("kinesis", "put-record", "--stream-name", "cli", "--partition-key", "k", "--data", "hello")
    at = aws(
        *("kinesis", "get-shard-iterator", "--stream-name", "cli", "--shard-id", put["ShardId"]),
        *("--shard-iterator-type", "TRIM_HORIZON"),
    )
    (record,) = aws("kinesis", "get-records", "--shard-iterator", at["ShardIterator"])["Records"]
    assert record["SequenceNumber"] == put["SequenceNumber"]
    assert aws("kinesis", "list-shards", "--stream-name", "cli")["Shards"][0]["ShardId"] == put["ShardId"]
    aws(
        *("dynamodb", "create-table", "--table-name", "cli", "--billing-mode", "PAY_PER_REQUEST"),
        *("--key-schema", "AttributeName=pk,KeyType=HASH"),
        *("--attribute-definitions", "AttributeName=pk,AttributeType=S"),
    )
    aws("dynamodb", "put-item", "--table-name", "cli", "--item", '{"pk": {"S": "a"}}')
    assert aws("dynamodb", "scan", "--table-name", "cli")["Count"] == 1
    sqs = ("sqs", "--endpoint-url", environment["AWS_ENDPOINT_URL"])  # version 1 prefers SQS's old host names
    queue = aws(*sqs, "create-queue", "--queue-name", "cli")["QueueUrl"]
    aws(*sqs, "send-message", "--queue-url", queue, "--message-body", "hello")
    assert aws(*sqs, "receive-message", "--queue-url", queue)["Messages"][0]["Body"] == "hello"
    aws("s3", "mb", "s3://cli-bucket")
    assert [bucket["Name"] for bucket in aws("s3api", "list-buckets")["Buckets"]] == ["cli-bucket"]
