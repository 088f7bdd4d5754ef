"""What is measured: tables of cases and subjects. Every table is run in turn, round after round."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.measure import ROOT, Case, Series, load, rounds

BASE = "boto3"


@dataclass(frozen=True, slots=True)
class Goal:
    """What a row has to reach, as a ratio to the base: the table's first row, or another one."""

    subject: str
    must: float
    stretch: float
    base: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """One case with its subjects, the first of which is the base."""

    title: str
    case: Case
    subjects: Sequence[str]
    goals: Sequence[Goal] = ()
    unit: str = "record"
    calls: int = 0
    """Calls to make, where no records are read."""


ALL = ("boto3", "aioboto3", "async-kinesis", "async", "batch", "sync", "unsaved", "raw")
FEW = ("boto3", "async", "batch")
READING = (Goal("async", 0.25, 0.12), Goal("batch", 0.20, 0.10))
PEER = Goal("async", 1 / 8, 1 / 30, base="async-kinesis")


def tables(*, quick: bool) -> list[Table]:
    """Return what to measure, or a small part of it."""
    part = 5 if quick else 1
    reading = [
        Table("1 KB records", Case(40_000 // part), ALL, (*READING, PEER)),
        Table("100 B records", Case(80_000 // part, 100), FEW, READING),
        Table("10 KB records", Case(12_000 // part, 10_000), FEW, (Goal("async", 0.35, 0.15),)),
        Table("answers of 100", Case(40_000 // part, answer=100), FEW, (Goal("async", 0.80, 0.15),)),
        Table("answers of 10,000", Case(80_000 // part, 100, answer=10_000 // part), FEW, READING),
        Table("one key", Case(40_000 // part, keys=1), FEW, READING),
    ]
    calls = [
        Table(
            "empty polls of 200 quiet shards",
            Case(0, shards=200),
            ("boto3-polls", "polls"),
            (Goal("polls", 1.05, 0.30),),
            unit="poll",
            calls=4_000 // part,
        ),
        Table(
            "KPL aggregates of 100 user records",
            Case(0),
            ("aws_kinesis_agg", "expand"),
            (Goal("expand", 0.60, 0.20),),
            unit="user record",
            calls=200_000 // part,
        ),
        Table(
            "changes of a DynamoDB table",
            Case(20_000 // part, 0),
            ("boto3-changes", "images", "untouched"),
            (Goal("images", 0.25, 0.12), Goal("untouched", 0.08, 0.03)),
            unit="change",
        ),
        Table(
            "Lambda batches of 1,000",
            Case(0),
            ("powertools", "lambda"),
            (Goal("lambda", 1.0, 0.4),),
            calls=40_000 // part,
        ),
    ]
    return reading + calls


def growth(*, quick: bool) -> list[tuple[str, Table]]:
    """Return how cost is to be seen over shards and over keys."""
    shards = [1, 20] if quick else [1, 20, 200]
    keys = [1, 1_000] if quick else [1, 1_000, 100_000]
    return [
        *(
            (f"{n:,} shards", Table("", Case(max(80_000, 2_000 * n), 100, answer=200, shards=n), ("async",)))
            for n in shards
        ),
        *((f"{n:,} keys", Table("", Case(100_000, 100, keys=n), ("async",))) for n in keys),
    ]


def memory(*, quick: bool) -> list[tuple[str, Table]]:
    """Return streams of growing length: peak memory must not grow with them."""
    lengths = [20_000] if quick else [20_000, 80_000]
    return [(f"{n:,} records of 1 KB", Table("", Case(n), ("async",))) for n in lengths]


def run(table: Table, exports: Mapping[str, str], *, times: int) -> list[Series]:
    """Run one table."""
    expected = table.calls or table.case.records
    with load(table.case) as environment:
        told = {**exports, **environment, "BENCH_RECORDS": str(expected)}
        return rounds(table.subjects, told, times=times, expected=expected)


def latency(exports: Mapping[str, str]) -> dict[str, float]:
    """Return the milliseconds from put to handler."""
    command = [sys.executable, "-m", "benchmarks.latency"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | exports, check=True, capture_output=True, text=True, timeout=120
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found
