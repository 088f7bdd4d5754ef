"""A stage for worker processes: a stream, a consumer that leaves a line per effect, and what is there to be seen."""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any, Self

import boto3

from streamkit.aws.rows import member_row
from streamkit.core.envelope import read
from streamkit.core.leasing import Member
from streamkit.core.letters import Letter
from tests.e2e.load import Load, Pace, Payload
from tests.e2e.process import Process, Start, Tail, anew
from tests.e2e.verdict import Effect, Evidence, Place, Take
from tests.e2e.waiting import eventually

CONSUMER = """
import asyncio, json, os, time
from streamkit import Kinesis, Poison, Record, Sqs, consumer

EFFECTS = os.open("effects", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

@consumer("{name}", source=Kinesis("{name}"), dead_letters=Sqs("{queue}"))
async def records(record: Record) -> None:
    began, what = time.time(), record.json()
    await asyncio.sleep(what["seconds"])
    if what["poison"]:
        raise Poison("bad from the start")
    line = record.key, what["turn"], record.shard, record.sequence_number, os.getpid(), began, time.time()
    os.write(EFFECTS, json.dumps(line).encode() + b"\\n")
"""
PATH = "staged:records"


class Stage:
    """A stream, its consumer in a folder, and processes that end with the stage.

    Its dead-letter queue is FIFO, which drops the letter that a successor sends again. `variables` lead the SDK to an
    endpoint, whatever the environment says.
    """

    source = CONSUMER
    """The module of the consumer, to be formatted with the names of stream and queue."""
    deadly = False
    """Whether its records kill."""

    def __init__(
        self, name: str, *, folder: Path, variables: Mapping[str, str], shards: int, start: Start = anew
    ) -> None:
        self.name = name
        self.processes: list[Process] = []
        """Every worker, in the order of their starts."""
        self._queue = f"{name}-dlq.fifo"
        self._folder = folder
        self._variables = variables
        self._shards = shards
        self._start = start
        self._stack = ExitStack()
        self._effects = Tail(folder / "effects")
        self._read: list[Effect] = []

    def __enter__(self) -> Self:
        source = self.source.format(name=self.name, queue=self._queue)
        (self._folder / "staged.py").write_text(source, encoding="utf-8")
        self._kinesis.create_stream(StreamName=self.name, ShardCount=self._shards)
        self._stack.callback(self._kinesis.delete_stream, StreamName=self.name)
        self._await_active()
        self._process("init", PATH, "--queue", settings={}).end()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # What happens

    def worker(self, lease: float, interval: float, *options: str) -> Process:
        """Start a worker with a lease and a checkpoint interval of so many seconds."""
        settings = {"CHECKPOINT_LEASE": f"{lease}s", "CHECKPOINT_INTERVAL": f"{interval}s"}
        arguments = ("run", PATH, "--log-format", "json", "--log-level", "debug", *options)
        self.processes.append(self._process(*arguments, settings=settings))
        return self.processes[-1]

    def load(self, chance: Random, pace: Pace | None = None) -> Load:
        """Put records for as long as the load is not left."""
        return Load(self.put, pace or Pace(), chance)

    def split(self, shard: str) -> None:
        """Split an open shard in the middle."""
        first, last = self.open_shards()[shard]
        middle = str((first + last) // 2 + 1)
        self._kinesis.split_shard(StreamName=self.name, ShardToSplit=shard, NewStartingHashKey=middle)
        self._await_active()

    def merge(self, shard: str, neighbour: str) -> None:
        """Merge two open neighbours."""
        self._kinesis.merge_shards(StreamName=self.name, ShardToMerge=shard, AdjacentShardToMerge=neighbour)
        self._await_active()

    def _process(self, *arguments: str, settings: Mapping[str, str]) -> Process:
        log = self._folder / f"{time.monotonic_ns()}.log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("STREAMKIT_")}
        ours = {f"STREAMKIT_{name}": value for name, value in settings.items()}
        environment = {**inherited, **self._variables, **ours}
        child = self._start(*arguments, folder=self._folder, environment=environment, log=log)
        self._stack.enter_context(child)
        self._stack.callback(child.kill)
        return Process(child, log, dying=self.deadly)

    def put(self, payloads: Sequence[Payload]) -> list[Place]:
        """Put records; return where each lies."""
        entries = [{"PartitionKey": key, "Data": data} for key, data in payloads]
        answer = self._kinesis.put_records(StreamName=self.name, Records=entries)
        assert answer["FailedRecordCount"] == 0, answer
        return [Place(each["ShardId"], int(each["SequenceNumber"])) for each in answer["Records"]]

    # What is to be seen

    def effects(self) -> Sequence[Effect]:
        """Return every effect so far."""
        self._read += map(_effect, self._effects.lines()[len(self._read) :])
        return self._read

    def open_shards(self) -> dict[str, tuple[int, int]]:
        """Return the hash keys of each open shard, in their order."""
        ranges = {
            each["ShardId"]: (int(each["HashKeyRange"]["StartingHashKey"]), int(each["HashKeyRange"]["EndingHashKey"]))
            for each in self._listed()
            if "EndingSequenceNumber" not in each["SequenceNumberRange"]
        }
        return dict(sorted(ranges.items(), key=lambda each: each[1]))

    def member(self, worker: str) -> Member:
        """Return the heartbeat row of a worker."""
        table = f"streamkit-{self.name}"
        items = self._client("dynamodb").scan(TableName=table, ConsistentRead=True)["Items"]
        [item] = [item for item in items if item["sk"]["S"] == worker]
        return member_row(table, item)

    def evidence(self, load: Load) -> Evidence:
        """Return everything that is left, and empty the queue."""
        takes = [
            Take(event.about["shard"], event.about["epoch"], process.id, event.at)
            for process in self.processes
            for event in process.events("shard.taken")
        ]
        names = ("ParentShardId", "AdjacentParentShardId")
        parents = {each["ShardId"]: [each[name] for name in names if each.get(name)] for each in self._listed()}
        return Evidence(load.put, self.effects(), self.dead_letters(), takes, parents)

    def _listed(self) -> list[dict[str, Any]]:
        return list(self._kinesis.list_shards(StreamName=self.name)["Shards"])

    def dead_letters(self) -> list[Place]:
        """Return the places of the records in the queue, and empty it."""
        return [Place(letter.record.shard, letter.record.sequence) for letter in self.letters()]

    def letters(self) -> list[Letter]:
        """Return what is in the queue, and empty it."""
        url = self._client("sqs").get_queue_url(QueueName=self._queue)["QueueUrl"]
        return [read(body) for body in self._messages(url)]

    def _messages(self, url: str) -> Iterator[str]:
        sqs = self._client("sqs")
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                yield message["Body"]
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

    @cached_property
    def _kinesis(self) -> Any:
        return self._client("kinesis")

    def _client(self, service: str) -> Any:
        url = self._variables.get(f"AWS_ENDPOINT_URL_{service.upper()}") or self._variables["AWS_ENDPOINT_URL"]
        return self._stack.enter_context(closing(boto3.client(service, endpoint_url=url, region_name="us-east-1")))

    def _await_active(self) -> None:
        def active() -> bool:
            answer = self._kinesis.describe_stream_summary(StreamName=self.name)
            return bool(answer["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE")

        eventually(active, "the stream is active")


def _effect(line: str) -> Effect:
    key, turn, shard, number, process, began, ended = json.loads(line)
    return Effect(key, turn, Place(shard, int(number)), process, began, ended)
