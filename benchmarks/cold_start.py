"""What importing costs a cold start: CPU of fresh processes, side by side, over `import boto3` and one client.

    python -m benchmarks.cold_start [--rounds 15]

As in Lambda: an interpreter sees the SDK and one deployed package, with bytecode, and nothing else. streamkit's is what
`streamkit zip` makes; Powertools' is fetched from PyPI, and left out where it cannot be had. Imports come in the order
of life: the handler's module first, the SDK's client last, for streamkit makes it at the first event.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import resource
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(__file__).resolve().parent.parent / ".cache"
RUNTIME, TASK, PEERS = CACHE / "cold" / "runtime", CACHE / "cold" / "task", CACHE / "peers"
SDK = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3", "six")
POWERTOOLS = ("aws-lambda-powertools==3.37.0", "jmespath", "typing_extensions")
CONSUMER = """
from streamkit import Kinesis, Record, Sqs, consumer
@consumer("flights", source=Kinesis("flights"), dead_letters=Sqs("flights-dlq"))
async def flights(record: Record) -> None: ...
lambda_handler = flights.lambda_handler
"""
CLIENT = "import boto3; boto3.client('dynamodb', region_name='us-east-1')"
FIRST = "import flights, streamkit.aws.function, streamkit.runtimes.function.container"
"""All that a consumer has loaded when it handles its first event: a test of functions counts the modules."""
BATCH = "from aws_lambda_powertools.utilities.batch import BatchProcessor"
IDEMPOTENCY = "from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer, idempotent_function"
ALLOWED, WISHED = 60.0, 15.0
"""Milliseconds over boto3 and one client."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A program, and the package it finds beside the SDK."""

    name: str
    program: str
    package: Path | None = None


BARE = Subject("python alone", "")
BASE = Subject("boto3 and one client", CLIENT)
MODULE = Subject("a consumer's module", "import flights", TASK)
READY = Subject("a consumer, ready for its first event", f"{FIRST}\n{CLIENT}", TASK)
PEER = Subject("Powertools batch and idempotency", f"{BATCH}\n{IDEMPOTENCY}\n{CLIENT}", PEERS)
THEIRS = (Subject("Powertools batch", f"{BATCH}\n{CLIENT}", PEERS), PEER)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    _lay_out()
    subjects = (BARE, BASE, MODULE, READY, *(THEIRS if has_powertools() else ()))
    for subject in subjects:  # what has no bytecode yet gets it
        _cpu_milliseconds(subject)
    found: dict[str, list[float]] = {subject.name: [] for subject in subjects}
    for _ in range(rounds):
        for subject in subjects:
            found[subject.name].append(_cpu_milliseconds(subject))
    _print(found, rounds)


def _print(found: dict[str, list[float]], rounds: int) -> None:
    least = {name: min(samples) for name, samples in found.items()}  # whatever else runs only adds
    base, silent = least[BASE.name], (BARE.name, MODULE.name)
    print(f"CPU, the least of {rounds} interleaved rounds, Python {sys.version.split()[0]}\n")
    print("| | ms | over boto3 and one client |")
    print("|---|--:|--:|")
    for name, spent in least.items():
        print(f"| {name} | {spent:.0f} | {'' if name in silent else f'{spent - base:+.0f}'} |")
    over = least[READY.name] - base
    print(f"\nat most {ALLOWED:+.0f} ms: {'held' if over <= ALLOWED else 'missed'}; {WISHED:+.0f} ms is wished for")
    if PEER.name in least:
        print(f"streamkit over Powertools: {over / (least[PEER.name] - base):.2f}")


def _cpu_milliseconds(subject: Subject) -> float:
    """Run a program in a fresh interpreter; return its user and system time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    path = os.pathsep.join(str(each) for each in (subject.package, RUNTIME) if each is not None)
    environment = {**inherited, "PYTHONPATH": path, "AWS_EC2_METADATA_DISABLED": "true"}
    subprocess.run(
        [sys.executable, "-P", "-S", "-c", subject.program], check=True, env=environment, stdin=subprocess.DEVNULL
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)


def _lay_out() -> None:
    """Put the SDK into one folder, and what a function of streamkit's is made of into another."""
    shutil.rmtree(TASK.parent, ignore_errors=True)
    RUNTIME.mkdir(parents=True)
    for name in SDK:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise SystemExit(f"expected {name} to be installed, got none")
        place = Path(spec.origin)
        whole = place.parent if place.name == "__init__.py" else place
        (RUNTIME / whole.name).symlink_to(whole)
    folder = TASK.parent
    (folder / "flights.py").write_text(CONSUMER, encoding="utf-8")
    subprocess.run([sys.executable, "-m", "streamkit", "zip", "flights:flights"], check=True, cwd=folder)
    with zipfile.ZipFile(folder / "flights.zip") as packed:
        packed.extractall(TASK)


def has_powertools() -> bool:
    """Fetch it unless it is there; say whether it is."""
    if not (PEERS / "aws_lambda_powertools").exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(PEERS)]
        done = subprocess.run([*command, *POWERTOOLS], check=False, timeout=120)
        if done.returncode:
            print("Powertools cannot be had here and is left out\n")
    return (PEERS / "aws_lambda_powertools").exists()


if __name__ == "__main__":
    main()
