"""The command line, called as a function where that is enough and as a program where it is not."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import pytest

from streamkit.cli import main
from tests.nursery import Child, Nursery

SHOP = """
from streamkit import Kinesis, Record, Sqs, consumer

@consumer("orders", source=Kinesis("orders"), dead_letters=Sqs("orders-dlq"))
async def orders(record: Record) -> None:
    print(record.text(), flush=True)

@consumer("returns", source=Kinesis("returns"), dead_letters=Sqs("returns-dlq"))
async def returns(record: Record) -> None:
    pass

def handle(record: Record) -> None:
    pass
"""


LONGEST_SECONDS = 240
"""Of a program: less than its test has, and no judgement on a busy machine."""


class Outcome(NamedTuple):
    """What became of a command."""

    status: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line that says what is wrong; fails the test if there is another, or a traceback."""
        lines = [line for line in self.err.splitlines() if not line.startswith("{")]
        assert len(lines) == 1, self.err
        assert lines[0].startswith("streamkit: error: ")
        return lines[0].removeprefix("streamkit: error: ")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory to work in, with a module of consumers; what is imported from it is forgotten afterwards."""
    (tmp_path / "shop.py").write_text(SHOP, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in [name for name in os.environ if name.startswith("STREAMKIT_")]:
        monkeypatch.delenv(name)
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def call(project: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Call the command line in this process."""
    del project

    def streamkit(*arguments: str) -> Outcome:
        with pytest.raises(SystemExit) as left:
            main(arguments)
        out, err = capsys.readouterr()
        return Outcome(int(left.value.code or 0), out, err)

    return streamkit


@pytest.fixture(scope="module")
def world(nursery: Nursery) -> Iterator[Mapping[str, str]]:
    """The variables of an embedded endpoint, one for each file of tests."""
    with nursery.endpoint() as exports:
        yield exports


@pytest.fixture
def program(nursery: Nursery, project: Path, world: Mapping[str, str]) -> Iterator[Callable[..., Child]]:
    """Run the command line as a program that works in the embedded world; killed if it does not end at all."""
    watches: list[threading.Timer] = []

    def start(*arguments: str, **variables: str) -> Child:
        child = nursery.start(*arguments, folder=project, environment={**os.environ, **world, **variables})
        watches.append(threading.Timer(LONGEST_SECONDS, child.kill))
        watches[-1].start()
        return child

    yield start
    for watch in watches:
        watch.cancel()


@pytest.fixture
def run(program: Callable[..., Child]) -> Callable[..., Outcome]:
    """Run the command line as a program, up to its end."""

    def streamkit(*arguments: str, **variables: str) -> Outcome:
        with program(*arguments, **variables) as child:
            out, err = child.communicate()
        return Outcome(child.wait(), out, err)

    return streamkit


@pytest.fixture
def operate(
    call: Callable[..., Outcome], world: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """Call what an operator uses, in this process and in the embedded world: a tenth of the price of a program."""

    def streamkit(*arguments: str, **variables: str) -> Outcome:
        with monkeypatch.context() as patch:
            for name, value in {**world, **variables}.items():
                patch.setenv(name, value)
            return call(*arguments)

    return streamkit


@pytest.fixture
def client(world: Mapping[str, str]) -> Iterator[Callable[[str], Any]]:
    """Make boto3 clients of the embedded world."""
    made: list[Any] = []

    def make(service: str) -> Any:
        made.append(boto3.client(service, endpoint_url=world["AWS_ENDPOINT_URL"], region_name="us-east-1"))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def stage(client: Callable[[str], Any], project: Path) -> Callable[..., str]:
    """Make a stream and a module whose consumer reads it; return the path of the consumer.

    Names end in the caller's word, so that tests of one world do not meet.
    """

    def make(word: str, *, handler: str = "print(record.text(), flush=True)", settings: str = "") -> str:
        kinesis = client("kinesis")
        kinesis.create_stream(StreamName=word, ShardCount=1)
        source = f"""
import asyncio, os
from streamkit import *

@consumer("{word}", source=Kinesis("{word}"), dead_letters=Sqs("{word}-dlq"), {settings})
async def {word}(record):
    {handler}
"""
        (project / f"of_{word}.py").write_text(source, encoding="utf-8")
        return f"of_{word}:{word}"

    return make
