"""CPU a record: streamkit's whole path against a bare boto3 loop that only iterates.

    make bench

Both read the same one-shard stream of the embedded endpoint, each run a fresh process, in turn. CPU is user + system
of the whole process; runs over a short and a long stream are subtracted, so that start-up and idling cancel out. A run
that did not see every record voids the benchmark.
"""

import json
import os
import statistics
import subprocess
import sys
import uuid
from typing import Any, cast

from streamkit.testing.endpoint import endpoint_process

SHORT, LONG = 20_000, 100_000
PAYLOAD = b"x" * 100
KEYS = 1_000
ROUNDS = 5
SUBJECTS = ("boto3", "streamkit")


def fill(stream: str, records: int) -> None:
    """Put so many records of 100 bytes, over 1,000 keys."""
    import boto3

    kinesis = cast("Any", boto3).client("kinesis")
    kinesis.create_stream(StreamName=stream, ShardCount=1)
    kinesis.get_waiter("stream_exists").wait(StreamName=stream)
    for first in range(0, records, 500):
        batch = [{"Data": PAYLOAD, "PartitionKey": str(n % KEYS)} for n in range(first, first + 500)]
        if kinesis.put_records(StreamName=stream, Records=batch)["FailedRecordCount"]:
            sys.exit("expected every record to be put")


def cpu_seconds(subject: str, stream: str, records: int) -> float:
    """Run one subject over one stream; return the CPU it took. Exits if it did not see every record."""
    environment = {**os.environ, "BENCH_STREAM": stream}
    if subject == "boto3":
        command = [sys.executable, "-m", "benchmarks.subjects", stream]
    else:
        environment["STREAMKIT_CHECKPOINT_TABLE"] = f"bench-{uuid.uuid4().hex}"
        path = "benchmarks.subjects:counter"
        subprocess.run(
            [sys.executable, "-m", "streamkit", "init", path], env=environment, check=True, capture_output=True
        )
        command = [sys.executable, "-m", "streamkit", "run", path, "--until-idle", "1", "--log-format", "json"]
    before = os.times()
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    after = os.times()
    seen = int(done.stdout) if subject == "boto3" else json.loads(done.stderr.splitlines()[-1])["handled"]
    if seen != records:
        sys.exit(f"void: {subject} saw {seen} of {records} records")
    return after.children_user - before.children_user + after.children_system - before.children_system


def main() -> None:
    """Measure in turn and print medians."""
    with endpoint_process("--no-limits") as exports:
        os.environ.update(exports)
        streams = {SHORT: "bench-short", LONG: "bench-long"}
        for records, stream in streams.items():
            fill(stream, records)
        slopes: dict[str, list[float]] = {subject: [] for subject in SUBJECTS}
        for _ in range(ROUNDS):
            for subject in SUBJECTS:
                short, long = (cpu_seconds(subject, stream, records) for records, stream in streams.items())
                slopes[subject].append((long - short) / (LONG - SHORT) * 1e6)
    for subject, values in slopes.items():
        low, middle, high = min(values), statistics.median(values), max(values)
        sys.stdout.write(
            f"{subject:<10} {middle:6.2f} us of CPU a record (from {low:.2f} to {high:.2f}, {ROUNDS} rounds)\n"
        )
    ratios = [mine / bare for bare, mine in zip(slopes["boto3"], slopes["streamkit"], strict=True)]
    sys.stdout.write(f"{'ratio':<10} {statistics.median(ratios):6.2f} (from {min(ratios):.2f} to {max(ratios):.2f})\n")


if __name__ == "__main__":
    main()
