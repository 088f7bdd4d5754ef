"""Fresh processes in turn, round after round; medians, and how far they can be trusted."""

import json
import os
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles

ROOT = Path(__file__).resolve().parents[1]
SPREAD = 0.25
"""Between the quartiles of a ratio, as a part of it: beyond it no ratio is printed."""
PEERS = Path(os.environ.get("BENCH_PEERS", ROOT / ".cache" / "bench-peers"))
"""The environment of the peers, whose dependencies do not go with ours."""
LIMIT_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Case:
    """One stream: so many records of so many bytes (0: changes), in answers of so many, over keys and shards."""

    records: int
    size: int = 1_000
    answer: int = 1_000
    keys: int = 1_000
    shards: int = 1
    laps: int = 1
    """How often the records follow each other, with higher numbers."""

    def __str__(self) -> str:
        if not self.size:
            return f"with both images, answers of {self.answer:,}"
        shards = f", {self.shards} shards" if self.shards > 1 else ""
        return f"{self.size:,} B, answers of {self.answer:,}, {self.keys:,} keys{shards}"


@dataclass(slots=True)
class Series:
    """What one subject took in each round."""

    subject: str
    cpu: list[float] = field(default_factory=list[float])
    """Microseconds of CPU a record (or call)."""
    rate: list[float] = field(default_factory=list[float])
    """Records a second."""
    rss: list[float] = field(default_factory=list[float])
    """Peak memory, MiB."""
    void: str | None = None
    """Why it does not count."""

    def ratio(self, base: "Series") -> tuple[float, float]:
        """Return the median of the rounds' ratios, and the distance of its quartiles as a part of it."""
        ratios = [mine / theirs for mine, theirs in zip(self.cpu, base.cpu, strict=True)]
        middle = median(ratios)
        low, _, high = quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else (middle, middle, middle)
        return middle, (high - low) / middle


@contextmanager
def load(case: Case) -> Generator[Mapping[str, str]]:
    """Run a load server; yield the variables that lead a subject to it."""
    options = [f"--{name}={getattr(case, name)}" for name in ("records", "size", "answer", "keys", "shards", "laps")]
    command = [sys.executable, "-m", "benchmarks.load", *options]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        port = server.stdout.readline().strip() if server.stdout else ""
        try:
            yield {
                "AWS_ENDPOINT_URL_KINESIS": f"http://127.0.0.1:{port}",
                "AWS_ENDPOINT_URL_DYNAMODB_STREAMS": f"http://127.0.0.1:{port}",
                **({} if case.size else {"AWS_ENDPOINT_URL_DYNAMODB": f"http://127.0.0.1:{port}"}),
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": "bench",
                "AWS_SECRET_ACCESS_KEY": "bench",
                "BENCH_RECORDS": str(case.records),
                "BENCH_ANSWER": str(case.answer if case.records > case.answer else 0),
            }
        finally:
            server.terminate()


PEER_SUBJECTS = ("async-kinesis", "aws_kinesis_agg")
BARE = ("raw", "boto3", "aioboto3", "boto3-polls", "boto3-changes", *PEER_SUBJECTS)
LAMBDA = ("powertools", "lambda")


def command(subject: str) -> list[str]:
    """Return how a subject is started."""
    python = str(PEERS / "bin" / "python") if subject in PEER_SUBJECTS else sys.executable
    module = "bare" if subject in BARE else "functions" if subject in LAMBDA else "ours"
    return [python, "-m", f"benchmarks.{module}", subject]


def rounds(subjects: Sequence[str], environment: Mapping[str, str], *, times: int, expected: int) -> list[Series]:
    """Run the subjects in turn, so many times. One that does not see every record, or fails, is void."""
    series = [Series(subject) for subject in subjects]
    for turn in range(times):
        for each in series if turn % 2 == 0 else reversed(series):
            if each.void is None:
                _run(each, environment, expected)
    return series


def _run(series: Series, environment: Mapping[str, str], expected: int) -> None:
    if series.subject in PEER_SUBJECTS and not (PEERS / "bin" / "python").exists():
        series.void = "not installed: `make bench-peers`"
        return
    try:
        done = subprocess.run(
            command(series.subject),
            cwd=ROOT,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=True,
        )
        found = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        series.void = f"not through after {LIMIT_SECONDS} s"
        return
    except (subprocess.SubprocessError, IndexError, ValueError) as error:
        said = getattr(error, "stderr", None) or str(error)
        series.void = f"failed: {str(said).strip().splitlines()[-1][:100]}"
        return
    if found["seen"] != expected:
        series.void = f"handed over {found['seen']:,} of {expected:,} records"
        return
    series.cpu.append(found["cpu"])
    series.rate.append(found["rate"])
    series.rss.append(found["rss"])
