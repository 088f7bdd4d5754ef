"""One round of one application: start, drain, stand idle, let a second worker in, follow, lose the first.

put RECORDS -- start A -- all handled -- IDLE_SECONDS of nothing -- start B, put a trickle until B has shards
-- FOLLOW_SECONDS of trickle -- kill -9 A at a random moment -- B handles a record of every shard again
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import quantiles
from typing import Any

from benchmarks.kcl.applications import Application
from benchmarks.kcl.services import WRITES, Counted
from benchmarks.kcl.tree import Tree

RECORDS = 20_000
SIZE_BYTES = 1_000
SHARDS = 4
IDLE_SECONDS = 20.0
FOLLOW_SECONDS = 20.0
EVERY_SECONDS = 0.1
"""Between two puts of the trickle."""
LIMIT_SECONDS = 400.0
_TOP = 2**128


@dataclass(frozen=True, slots=True)
class Found:
    """What came out. Seconds, but for what says otherwise."""

    first: float
    """From the start of the process to the first record, with a table that is not there yet (ours is made before)."""
    drain: float
    """From the first record to the last one of all that had waited."""
    cpu: float
    """CPU from the start until all was handled."""
    memory_mb: float
    requests: float
    """DynamoDB requests a second, idle."""
    writes: float
    """The same, those that write."""
    idle_cpu: float
    """Part of a core, idle."""
    joined: float
    """From the start of the second worker to its first record."""
    median: float
    """From put to handler."""
    late: float
    """The same, 99 of 100."""
    stall: float
    """From kill -9 of the first worker until the last of its shards went on."""
    missing: int
    """Records handled by nobody."""


class Putter:
    """Puts records, each with its number, its shard, and when."""

    def __init__(self, stream: str) -> None:
        self._kinesis: Any = importlib.import_module("boto3").client("kinesis")
        self._stream = stream
        self.put = 0

    def create(self) -> None:
        """Make the stream."""
        self._kinesis.create_stream(StreamName=self._stream, ShardCount=SHARDS)
        until(lambda: self._summary()["StreamStatus"] == "ACTIVE")

    def _summary(self) -> Mapping[str, Any]:
        found: Mapping[str, Mapping[str, Any]] = self._kinesis.describe_stream_summary(StreamName=self._stream)
        return found["StreamDescriptionSummary"]

    def many(self, count: int) -> None:
        """Put so many, evenly over the shards."""
        for first in range(0, count, 500):
            entries = [self._entry() for _ in range(min(500, count - first))]
            refused = self._kinesis.put_records(StreamName=self._stream, Records=entries)["FailedRecordCount"]
            if refused:
                raise RuntimeError(f"expected every record taken, got {refused} refused")

    def _entry(self) -> dict[str, Any]:
        shard = self.put % SHARDS
        text = json.dumps({"at": time.time(), "n": self.put, "key": shard})
        self.put += 1
        place = str(_TOP // SHARDS * shard + 1)
        return {"Data": text.ljust(SIZE_BYTES).encode(), "PartitionKey": str(shard), "ExplicitHashKey": place}

    @contextmanager
    def trickle(self) -> Generator[None]:
        """Put one record after the other, for as long as it lasts."""
        over = threading.Event()

        def run() -> None:
            while not over.wait(EVERY_SECONDS):
                self.many(1)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@dataclass(frozen=True, slots=True)
class Handled:
    """A line of a handler."""

    at: float
    put: float
    number: int
    shard: int


class Log:
    """What one worker has handled so far."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "handled"

    def lines(self) -> list[Handled]:
        """Return it, in order of handling."""
        text = self._path.read_text(encoding="utf-8") if self._path.exists() else ""
        rows = [line.split() for line in text.splitlines(keepends=True) if line.endswith("\n")]
        return [Handled(float(at), float(put), int(number), int(shard)) for at, put, number, shard in rows]


def until(condition: Callable[[], object]) -> None:
    """Poll until it holds. Raises TimeoutError."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        if time.monotonic() >= deadline:
            raise TimeoutError(f"expected it within {LIMIT_SECONDS:.0f} s")
        time.sleep(0.05)


def play(application: Application, *, folder: Path, counted: Counted, chance: Random) -> Found:
    """Play one round. Raises TimeoutError if it does not get to its end."""
    putter = Putter(application.name)
    putter.create()
    putter.many(RECORDS)
    application.prepare()
    began = time.time()
    first = application.worker("a")
    tree, logs = Tree(first.pid), [Log(folder / "a"), Log(folder / "b")]
    workers = [first]
    try:
        until(lambda: len(logs[0].lines()) >= RECORDS)
        drained, cpu = logs[0].lines(), tree.cpu
        idle = _idle(tree, counted)
        with putter.trickle():
            joining = time.time()
            workers.append(application.worker("b"))
            until(lambda: len({each.shard for each in logs[1].lines()}) >= SHARDS // 2)
            joined = logs[1].lines()[0].at - joining
            following = time.time()
            time.sleep(FOLLOW_SECONDS + chance.random() * 10)
            stall = _kill(first.pid, logs)
        until(lambda: len(_numbers(logs)) >= putter.put)
        waits = [each.at - each.put for log in logs for each in log.lines() if following <= each.put < stall[0] - 2]
    finally:
        tree.close()
        for worker in workers:
            _end(worker.pid)
            worker.wait()
    return Found(
        first=drained[0].at - began,
        drain=drained[-1].at - drained[0].at,
        cpu=cpu,
        memory_mb=tree.peak,
        requests=idle["requests"],
        writes=idle["writes"],
        idle_cpu=idle["cpu"],
        joined=joined,
        median=quantiles(waits, n=100)[49],
        late=quantiles(waits, n=100)[98],
        stall=stall[1],
        missing=putter.put - len(_numbers(logs)),
    )


def _idle(tree: Tree, counted: Counted) -> dict[str, float]:
    """Let nothing come for a while, and look what that costs each second."""
    time.sleep(5.0)
    before, cpu = Counter(counted.requests), tree.cpu
    time.sleep(IDLE_SECONDS)
    sent = Counter(counted.requests)
    sent.subtract(before)
    return {
        "requests": sent.total() / IDLE_SECONDS,
        "writes": sum(sent[name] for name in WRITES) / IDLE_SECONDS,
        "cpu": (tree.cpu - cpu) / IDLE_SECONDS,
    }


def _kill(process: int, logs: Sequence[Log]) -> tuple[float, float]:
    """Kill the first worker; return when, and the seconds until the second has gone on with each of its shards."""
    recent = time.time() - 5.0
    shards = {each.shard for each in logs[0].lines() if each.at > recent}
    _end(process)
    killed = time.time()
    until(lambda: shards <= {each.shard for each in logs[1].lines() if each.put > killed})
    later = [each for each in logs[1].lines() if each.at > killed]
    return killed, max(min(each.at for each in later if each.shard == shard) for shard in shards) - killed


def _numbers(logs: Sequence[Log]) -> set[int]:
    return {each.number for log in logs for each in log.lines()}


def _end(process: int) -> None:
    """Kill a worker with all it started."""
    try:
        os.killpg(process, signal.SIGKILL)
    except ProcessLookupError:
        return
