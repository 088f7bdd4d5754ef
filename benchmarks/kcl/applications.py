"""The same application twice: a line in a file for each record, a checkpoint every two seconds.

The KCL as its users of Python run it: its MultiLangDaemon, and a record processor made with kclpy.
"""

from __future__ import annotations

import os
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.kcl.services import PEERS, jars

WRITE = """
def handle(data, out=open("handled", "a", buffering=1)):
    record = json.loads(data)
    print(time.time(), record["at"], record["n"], record["key"], file=out)
"""
PROCESSOR = f"""
import json, time
from amazon_kclpy import kcl
from amazon_kclpy.v3 import processor
{WRITE}
class Processor(processor.RecordProcessorBase):
    def initialize(self, given):
        self.checkpointed = 0.0

    def process_records(self, given):
        for record in given.records:
            handle(record.binary_data)
        if time.monotonic() - self.checkpointed >= 2.0:
            given.checkpointer.checkpoint()
            self.checkpointed = time.monotonic()

    def lease_lost(self, given):
        pass

    def shard_ended(self, given):
        given.checkpointer.checkpoint()

    def shutdown_requested(self, given):
        given.checkpointer.checkpoint()

kcl.KCLProcess(Processor()).run()
"""
CONSUMER = f"""
import json, time
from streamkit import Kinesis, Sqs, consumer
{WRITE}
@consumer("{{name}}", source=Kinesis("{{stream}}"), dead_letters=Sqs("{{name}}-dlq"))
async def work(record):
    handle(record.data)
"""
PROPERTIES = """
executableName = {python} processor.py
streamName = {stream}
applicationName = {name}
processingLanguage = python
initialPositionInStream = TRIM_HORIZON
AwsCredentialsProvider = DefaultCredentialsProvider
regionName = us-east-1
kinesisEndpoint = {kinesis}
dynamoDBEndpoint = {dynamodb}
cloudWatchEndpoint = {kinesis}
metricsLevel = NONE
retrievalMode = POLLING
"""
TUNED = """
failoverTimeMillis = 3000
leaseTakerIntervalMillis = 1000
shardSyncIntervalMillis = 2000
idleTimeBetweenReadsInMillis = 250
leasesRecoveryAuditorExecutionFrequencyMillis = 2000
parentShardPollIntervalMillis = 1000
"""


class Application(ABC):
    """One application on one stream; workers run in folders of their own."""

    title: str

    def __init__(self, name: str, *, folder: Path, variables: Mapping[str, str]) -> None:
        self.name = name
        self._folder = folder
        self._variables = {**os.environ, **variables}

    def worker(self, name: str) -> subprocess.Popen[bytes]:
        """Start a worker in a process group of its own; what it handles is in the folder of its name."""
        folder = self._folder / name
        folder.mkdir()
        self._write(folder)
        with (folder / "log").open("wb") as log:
            return subprocess.Popen(
                self._command(), cwd=folder, env=self._variables, stdout=log, stderr=log, start_new_session=True
            )

    @abstractmethod
    def prepare(self) -> None:
        """Make what has to be there before the first worker."""

    @abstractmethod
    def _write(self, folder: Path) -> None:
        """Write the program."""

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """Return how it is run."""


class Streamkit(Application):
    """Ours, with its defaults: a lease of 10 s."""

    title = "**streamkit**"

    def prepare(self) -> None:
        """Make table and queue."""
        folder = self._folder / "init"
        folder.mkdir()
        self._write(folder)
        command = [sys.executable, "-m", "streamkit", "init", "program:work", "--queue"]
        subprocess.run(command, cwd=folder, env=self._variables, check=True, capture_output=True)

    def _write(self, folder: Path) -> None:
        text = CONSUMER.replace("{name}", self.name).replace("{stream}", self.name)
        (folder / "program.py").write_text(text, encoding="utf-8")

    def _command(self) -> Sequence[str]:
        return [sys.executable, "-m", "streamkit", "run", "program:work"]


class Kcl(Application):
    """The KCL by its defaults."""

    title = "KCL 3.1.3, kclpy"
    settings = ""

    def prepare(self) -> None:
        """Nothing: it makes its own tables."""

    def _write(self, folder: Path) -> None:
        (folder / "processor.py").write_text(PROCESSOR, encoding="utf-8")
        text = PROPERTIES.format(
            python=PEERS / "bin" / "python",
            stream=self.name,
            name=self.name,
            kinesis=self._variables["AWS_ENDPOINT_URL"],
            dynamodb=self._variables["AWS_ENDPOINT_URL_DYNAMODB"],
        )
        (folder / "kcl.properties").write_text(text + self.settings, encoding="utf-8")

    def _command(self) -> Sequence[str]:
        daemon = "software.amazon.kinesis.multilang.MultiLangDaemon"
        return ["java", "-Daws.cborEnabled=false", "-cp", f"{jars()}/*", daemon, "--properties-file", "kcl.properties"]


class TunedKcl(Kcl):
    """The KCL with a lease of 3 s and its timers short."""

    title = "the same, tuned"
    settings = TUNED


class TunedStreamkit(Streamkit):
    """Ours with a lease of 3 s."""

    title = "**streamkit**, lease of 3 s"

    def _command(self) -> Sequence[str]:
        return ["env", "STREAMKIT_CHECKPOINT_LEASE=3s", *super()._command()]


APPLICATIONS: Mapping[str, type[Application]] = {
    "streamkit": Streamkit,
    "streamkit-3s": TunedStreamkit,
    "kcl": Kcl,
    "kcl-tuned": TunedKcl,
}
