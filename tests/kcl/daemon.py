"""The real KCL, run as its users do: the MultiLangDaemon of PyPI's kclpy-ext, over an embedded endpoint.

Nothing of it is installed here: `KCLPY_JARS` names the folder of its jars (amazon_kclpy/jars), or it is found where
`pip install kclpy-ext` put it. Its protocol with a record processor is JSON lines over standard input and output, which
`PROCESSOR` speaks by itself.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

PROCESSOR = '''
"""A record processor that leaves a line for each record, and checkpoints after those whose payload says so."""
import base64, json, sys

def answer(**message):
    print(json.dumps(message), flush=True)

def checkpoint(number, sub):
    answer(action="checkpoint", sequenceNumber=number, subSequenceNumber=sub)
    return json.loads(sys.stdin.readline()).get("error")

shard = ""
for line in sys.stdin:
    asked = json.loads(line)
    action = asked["action"]
    if action == "initialize":
        shard = asked["shardId"]
    elif action == "processRecords":
        for record in asked["records"]:
            text = base64.b64decode(record["data"]).decode()
            number, sub = record["sequenceNumber"], record.get("subSequenceNumber")
            done = checkpoint(number, sub) if text.endswith("!") else "not asked"
            with open("processed", "a") as file:
                print(json.dumps([shard, number, sub, text, done]), file=file)
    elif action == "shardEnded":
        checkpoint(None, None)
    answer(action="status", responseFor=action)
'''

PROPERTIES = """
executableName = {python} {folder}/processor.py
streamName = {stream}
applicationName = {application}
processingLanguage = python
initialPositionInStream = TRIM_HORIZON
AwsCredentialsProvider = DefaultCredentialsProvider
regionName = us-east-1
kinesisEndpoint = {kinesis}
dynamoDBEndpoint = {endpoint}
cloudWatchEndpoint = {endpoint}
metricsLevel = NONE
maxRecords = 10
idleTimeBetweenReadsInMillis = 250
shardSyncIntervalMillis = 2000
leasesRecoveryAuditorExecutionFrequencyMillis = 2000
failoverTimeMillis = 4000
retrievalMode = POLLING
"""


def jars() -> Path | None:
    """Return the folder of the KCL's jars, if there is one, and a Java to run them."""
    if shutil.which("java") is None:
        return None
    named = os.environ.get("KCLPY_JARS")
    found = find_spec("amazon_kclpy") if named is None else None
    folder = Path(named) if named else Path(found.origin or "").parent / "jars" if found else None
    return folder if folder is not None and any(folder.glob("amazon-kinesis-client-multilang-*.jar")) else None


@contextmanager
def daemon(
    folder: Path, *, stream: str, application: str, variables: Mapping[str, str]
) -> Generator[subprocess.Popen[bytes]]:
    """Run the KCL on a stream, working in `folder`; killed at the end, as a crashed application would be."""
    (folder / "processor.py").write_text(PROCESSOR, encoding="utf-8")
    text = PROPERTIES.format(
        python=sys.executable,
        folder=folder,
        stream=stream,
        application=application,
        endpoint=variables["AWS_ENDPOINT_URL"],
        kinesis=variables["AWS_ENDPOINT_URL_KINESIS"],
    )
    (folder / "kcl.properties").write_text(text, encoding="utf-8")
    command = [
        "java",
        "-Daws.cborEnabled=false",
        "-cp",
        f"{jars()}/*",
        "software.amazon.kinesis.multilang.MultiLangDaemon",
        "--properties-file",
        "kcl.properties",
    ]
    with (folder / "kcl.log").open("wb") as log:
        child = subprocess.Popen(command, cwd=folder, env={**os.environ, **variables}, stdout=log, stderr=log)
        try:
            yield child
        finally:
            child.kill()
            child.wait()
