"""A stage for worker processes: a stream, a consumer that leaves a line per effect, and what is there to be seen.

Handlers of gated records wait until the gate is opened, so that a test decides what is under way, not a clock.
"""

# ruff: noqa: ANN401 - the SDK has no types

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import boto3

from streamkit.core.envelope import read

CONSUMER = """
import asyncio, os
from pathlib import Path
from streamkit import Kinesis, Poison, Record, Sqs, consumer

EFFECTS = os.open("effects", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
GATE = Path("gate")

@consumer("{name}", source=Kinesis("{name}"), dead_letters=Sqs("{queue}"))
async def records(record: Record) -> None:
    while b"gated" in record.data and not GATE.exists():
        await asyncio.sleep(0.01)
    if b"poison" in record.data:
        raise Poison("bad from the start")
    os.write(EFFECTS, f"{{os.getpid()}} {{record.key}} {{record.shard}} {{record.sequence_number}}\\n".encode())
"""
PATH = "staged:records"
PROGRAM = (sys.executable, "-c", "from streamkit.cli import main; main()")
SETTINGS = {"STREAMKIT_GRACE": "500ms", "STREAMKIT_CHECKPOINT_INTERVAL": "200ms"}
SHARDS = 2
LIMIT_SECONDS = 60


class Place(NamedTuple):
    """Where a record is in its stream."""

    shard: str
    number: int


class Put(NamedTuple):
    """A record that was put."""

    key: str
    place: Place
    poison: bool


class Effect(NamedTuple):
    """What a handler did, in the order of doing."""

    process: int
    key: str
    place: Place


class Process:
    """A `streamkit` process and its events."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.id = process.pid
        self._process = process
        self._log = log

    def kill(self) -> None:
        """Send SIGKILL; returning means that nothing of it runs any more."""
        self._process.kill()
        self._process.wait(LIMIT_SECONDS)

    def stop(self) -> None:
        """Send SIGTERM, and wait until it ends in good order."""
        self._process.terminate()
        self.end()

    def end(self) -> None:
        """Wait until it ends by itself, in good order."""
        status = self._process.wait(LIMIT_SECONDS)
        assert status == 0, self._log.read_text(encoding="utf-8")

    def events(self, *names: str) -> list[dict[str, Any]]:
        """Return what it reported so far: all of it, or what is of these names."""
        *lines, _torn = self._log.read_text(encoding="utf-8").split("\n")
        assert all(line.startswith("{") for line in lines), lines
        found: list[dict[str, Any]] = [json.loads(line) for line in lines]
        return [event for event in found if not names or event["event"] in names]

    @property
    def name(self) -> str:
        """What it is called in the checkpoint table."""
        [started] = self.events("worker.started")
        return str(started["worker"])

    def shards(self) -> list[str]:
        """Return the shards it holds."""
        held: dict[str, bool] = {}
        for event in self.events("shard.taken", "shard.released", "shard.lost", "shard.ended"):
            held[event["shard"]] = event["event"] == "shard.taken"
        return [shard for shard, holds in held.items() if holds]


class Stage:
    """A stream of two shards, its consumer in a folder, and processes that end with the stage.

    `variables` lead the SDK to an endpoint, whatever the environment says.
    """

    def __init__(self, name: str, *, queue: str, folder: Path, variables: Mapping[str, str]) -> None:
        self.name = name
        self.queue = queue
        self._folder = folder
        self._variables = variables
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        (self._folder / "staged.py").write_text(CONSUMER.format(name=self.name, queue=self.queue), encoding="utf-8")
        self.kinesis.create_stream(StreamName=self.name, ShardCount=SHARDS)
        self._stack.callback(self.kinesis.delete_stream, StreamName=self.name)
        self._await_active()
        self.process("init", PATH, "--queue").end()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # What happens

    def process(self, *arguments: str, lease: str = "10s") -> Process:
        """Start `streamkit ARGUMENTS`."""
        log = self._folder / f"{time.monotonic_ns()}.log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("STREAMKIT_")}
        environment = {**inherited, **self._variables, **SETTINGS, "STREAMKIT_CHECKPOINT_LEASE": lease}
        with log.open("wb") as sink:
            child = subprocess.Popen(
                [*PROGRAM, *arguments], cwd=self._folder, env=environment, stdout=subprocess.DEVNULL, stderr=sink
            )
        self._stack.enter_context(child)
        self._stack.callback(child.kill)
        return Process(child, log)

    def worker(self, *options: str, lease: str = "10s") -> Process:
        """Start a worker."""
        return self.process("run", PATH, "--log-format", "json", *options, lease=lease)

    def put(self, payloads: Sequence[tuple[str, bytes]]) -> list[Put]:
        """Put payloads by key, in one request; return them in the order of the stream."""
        entries = [{"PartitionKey": key, "Data": data} for key, data in payloads]
        answer = self.kinesis.put_records(StreamName=self.name, Records=entries)
        assert answer["FailedRecordCount"] == 0
        places = [Place(each["ShardId"], int(each["SequenceNumber"])) for each in answer["Records"]]
        put = [Put(key, place, b"poison" in data) for (key, data), place in zip(payloads, places, strict=True)]
        return sorted(put, key=lambda each: each.place.number)

    def split(self) -> str:
        """Split the first shard in the middle; return its id."""
        shard = self.kinesis.list_shards(StreamName=self.name)["Shards"][0]
        keys = shard["HashKeyRange"]
        middle = (int(keys["StartingHashKey"]) + int(keys["EndingHashKey"])) // 2
        self.kinesis.split_shard(StreamName=self.name, ShardToSplit=shard["ShardId"], NewStartingHashKey=str(middle))
        self._await_active()
        return str(shard["ShardId"])

    def open_gate(self) -> None:
        """Let the gated records pass."""
        (self._folder / "gate").touch()

    # What is to be seen

    def effects(self) -> list[Effect]:
        """Return every effect so far."""
        file = self._folder / "effects"
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        return [
            Effect(int(process), key, Place(shard, int(number)))
            for process, key, shard, number in (line.split() for line in lines)
        ]

    def dead_letters(self) -> list[Place]:
        """Take every letter out of the queue; return where their records were."""
        url = self._client("sqs").get_queue_url(QueueName=self.queue)["QueueUrl"]
        records = [read(body).record for body in self._messages(url)]
        return [Place(record.shard, record.sequence) for record in records]

    def _messages(self, url: str) -> Iterator[str]:
        sqs = self._client("sqs")
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                yield message["Body"]
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

    @cached_property
    def kinesis(self) -> Any:
        """A client, whose SDK has no types."""
        return self._client("kinesis")

    def _client(self, service: str) -> Any:
        url = self._variables.get(f"AWS_ENDPOINT_URL_{service.upper()}") or self._variables["AWS_ENDPOINT_URL"]
        return self._stack.enter_context(closing(boto3.client(service, endpoint_url=url, region_name="us-east-1")))

    def _await_active(self) -> None:
        def active() -> bool:
            answer = self.kinesis.describe_stream_summary(StreamName=self.name)
            return bool(answer["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE")

        eventually(active, "the stream is active")


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Poll until a condition holds; fail if it does not within a minute."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"expected that {what}, waited {LIMIT_SECONDS} s in vain"
        time.sleep(0.05)
