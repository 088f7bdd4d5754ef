"""The public face: what may be imported, how little importing it costs, and that every name says what it is."""

from __future__ import annotations

import subprocess
import sys

import pytest

import streamkit

NAMES = {
    "Batch", "Change", "Checkpoint", "ConfigurationError", "Consumer", "DynamoDBStream", "Failed", "Guard", "Kinesis",
    "Letter", "Outage", "Partial", "Poison", "Record", "Retry", "Sqs", "StreamkitError", "Transaction", "Unavailable",
    "Undecodable", "consumer",
}  # fmt: skip
"""Others write code against these: adding one is a decision, removing one a break."""

COSTLY = ("aioboto3", "aiobotocore", "boto3", "botocore", "moto", "structlog", "tenacity", "click", "streamkit.testing")

PROBE = """
import sys, socket
def refuse(*args, **kw): raise AssertionError("a socket was opened")
socket.socket.connect = refuse
import streamkit
from streamkit import Kinesis, Poison, Record, Sqs, consumer
@consumer("flights", source=Kinesis("flights"), dead_letters=Sqs("flights-dlq"))
async def flights(record: Record) -> None: ...
print([name for name in {costly!r} if name in sys.modules])
"""


def test_the_names_are_these() -> None:
    """No more, no fewer."""
    assert set(streamkit.__all__) == NAMES
    assert all(hasattr(streamkit, name) for name in NAMES)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_name_says_what_it_is(name: str) -> None:
    """In its docstring."""
    assert getattr(streamkit, name).__doc__ or name == "consumer"


def test_making_a_consumer_opens_no_socket_and_imports_no_sdk() -> None:
    """A Lambda cold start pays for none of it."""
    probe = PROBE.format(costly=COSTLY)
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
