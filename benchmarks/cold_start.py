"""What importing costs a cold start: CPU of fresh processes, side by side, over `import boto3` and one client.

    python -m benchmarks.cold_start [--rounds 7]

Modules are compiled before, and in the order of life: the handler's module first, the SDK's client last, for streamkit
makes it at the first event. A package without its bytecode (`__pycache__`) pays for compiling it at every cold start.

Powertools is fetched from PyPI into .cache/ for the comparison, and left out where it cannot be had. No product of this
repository depends on it.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / ".cache" / "peers"
BYTECODE = ROOT / ".cache" / "bytecode"
POWERTOOLS = "aws-lambda-powertools==3.37.0"
CLIENT = "import boto3; boto3.client('dynamodb', region_name='us-east-1')"
CONSUMER = """
from streamkit import Kinesis, Record, Sqs, consumer
@consumer("flights", source=Kinesis("flights"), dead_letters=Sqs("flights-dlq"))
async def flights(record: Record) -> None: ...
lambda_handler = flights.lambda_handler
"""
FIRST = """
import streamkit.aws.function, streamkit.runtimes.function.container
"""
READY = "a consumer, ready for its first event"
PEER = "Powertools batch and idempotency"
SUBJECTS = {
    "python alone": "",
    "boto3 and one client": CLIENT,
    "a consumer's module": CONSUMER,
    READY: f"{CONSUMER}\n{FIRST}\n{CLIENT}",
    "Powertools batch": f"from aws_lambda_powertools.utilities.batch import BatchProcessor\n{CLIENT}",
    PEER: (
        "from aws_lambda_powertools.utilities.batch import BatchProcessor\n"
        "from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer, idempotent_function\n"
        f"{CLIENT}"
    ),
}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    subjects = dict(SUBJECTS) if has_powertools() else {k: v for k, v in SUBJECTS.items() if "Powertools" not in k}
    found: dict[str, list[float]] = {name: [] for name in subjects}
    for program in subjects.values():  # compiled once, as a deployed package is
        _cpu_milliseconds(program)
    for _ in range(rounds):
        for name, program in subjects.items():
            found[name].append(_cpu_milliseconds(program))
    base = median(found["boto3 and one client"])
    print(f"CPU, medians of {rounds} interleaved rounds, Python {sys.version.split()[0]}\n")
    print("| | ms | over boto3 and one client |")
    print("|---|---|---|")
    for name, samples in found.items():
        over = f"{median(samples) - base:+.0f}" if name not in ("python alone", "a consumer's module") else ""
        print(f"| {name} | {median(samples):.0f} | {over} |")
    if PEER in found:
        print(f"\nstreamkit over Powertools: {(median(found[READY]) - base) / (median(found[PEER]) - base):.2f}")


def _cpu_milliseconds(program: str) -> float:
    """Run a program in a fresh interpreter; return its user and system time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        "PYTHONPATH": f"{ROOT}:{PEERS}",
        "PYTHONPYCACHEPREFIX": str(BYTECODE),
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, stdin=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)


def has_powertools() -> bool:
    """Fetch it unless it is there; say whether it is."""
    if not (PEERS / "aws_lambda_powertools").exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(PEERS)]
        done = subprocess.run([*command, POWERTOOLS, "jmespath", "typing_extensions"], check=False, timeout=120)
        if done.returncode:
            print("Powertools cannot be had here and is left out\n")
    return (PEERS / "aws_lambda_powertools").exists()


if __name__ == "__main__":
    main()
