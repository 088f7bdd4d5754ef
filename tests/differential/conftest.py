"""Two worlds to compare: ours, and kinesis-local from npm in .cache/node.

Where Node is missing the suite is skipped, but not in CI (CI=true): there it fails.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

VERSION = "0.6.2"
HERE = Path(__file__).resolve().parent
HOME = HERE.parents[1] / ".cache" / "node" / f"kinesis-local-{VERSION}"
PACKAGE = HOME / "node_modules" / "kinesis-local"
START_SECONDS = 30
Kinesis = Any  # boto3 has no types


def unavailable(reason: str) -> NoReturn:
    """Skip, or fail where nothing may be skipped."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def installed() -> Path:
    """Install kinesis-local once and return its program."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        unavailable("node and npm are not on the PATH")
    if not HOME.exists():
        building = HOME.with_name(f"{HOME.name}.{os.getpid()}")
        building.mkdir(parents=True)
        install = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(building), f"kinesis-local@{VERSION}"]
        done = subprocess.run(install, capture_output=True, text=True, check=False, cwd=building)
        if done.returncode:
            unavailable(f"kinesis-local cannot be installed: {done.stderr.strip()[-200:]}")
        try:
            building.rename(HOME)
        except OSError:
            shutil.rmtree(building)  # another run was faster
    return PACKAGE / "main.js"


def free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="session")
def kinesis_local() -> Iterator[str]:
    """Run kinesis-local on this machine alone and yield its address."""
    program = installed()
    plain, tls = free_ports(2)
    settings = {
        "KINESIS_MOCK_PLAIN_PORT": str(plain),
        "KINESIS_MOCK_TLS_PORT": str(tls),
        "KINESIS_MOCK_CERT_PATH": str(PACKAGE / "server.json"),
        "LOG_LEVEL": "ERROR",
        "SHARD_LIMIT": "1000",
    }
    changes = ("CREATE_STREAM", "DELETE_STREAM", "MERGE_SHARDS", "SPLIT_SHARD", "UPDATE_SHARD_COUNT")
    settings |= {f"{change}_DURATION": "1ms" for change in changes}
    command = ["node", "--require", str(HERE / "loopback.cjs"), str(program)]
    with subprocess.Popen(command, env={**os.environ, **settings}, stdout=subprocess.DEVNULL) as child:
        try:
            url = f"http://127.0.0.1:{plain}"
            answering(url)
            yield url
        finally:
            child.terminate()


def answering(url: str) -> None:
    """Wait until the address answers."""
    kinesis = client(url)
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            kinesis.list_streams()
        except (BotoCoreError, ClientError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            kinesis.close()
            return


def client(url: str) -> Kinesis:
    """Make a boto3 client that hides nothing by trying again."""
    session = boto3.Session(aws_access_key_id="any", aws_secret_access_key="any", region_name="us-east-1")
    return session.client("kinesis", endpoint_url=url, config=Config(retries={"total_max_attempts": 1}))


@pytest.fixture(scope="session")
def ours(embedded: Mapping[str, str]) -> Iterator[Any]:
    """Yield a client of our endpoint."""
    kinesis = client(embedded["AWS_ENDPOINT_URL"])
    yield kinesis
    kinesis.close()


@pytest.fixture(scope="session")
def theirs(kinesis_local: str) -> Iterator[Any]:
    """Yield a client of kinesis-local."""
    kinesis = client(kinesis_local)
    yield kinesis
    kinesis.close()
