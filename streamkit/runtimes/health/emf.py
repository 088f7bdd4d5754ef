"""Metrics as lines on standard output that CloudWatch takes for metrics: the embedded metric format.

One line a consumer and interval, or invocation: counters of that time, gauges of its end, durations in milliseconds. A
counter that has counted nothing since the process started is left out: CloudWatch charges by the name.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import msgspec

from streamkit.metrics import BUCKETS, catalogue
from streamkit.runtimes.waiting import came

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from streamkit.metrics import Metric, Sample
    from streamkit.ports import Clock
    from streamkit.runtimes.health.snapshot import Crewed

NAMESPACE = "streamkit"
DIMENSION = "Consumer"
MOST_METRICS = 100
"""Of one line, as CloudWatch has it."""
_PERCENTILE = 0.99
_MILLISECONDS = 1000.0
_UNITS = {"count": "Count", "bytes": "Bytes", "seconds": "Milliseconds"}

Line = dict[str, object]


class Emitter:
    """Writes what became of one consumer since the line before."""

    def __init__(self, consumer: str, write: Callable[[str], None]) -> None:
        self._consumer = consumer
        self._write = write
        self._before: Mapping[tuple[str, tuple[str, ...]], Sample] = {}

    def emit(self, samples: Iterable[Sample], now: datetime) -> None:
        """Write a line, if there is anything to tell."""
        current = {(each.metric, each.labels): each for each in samples}
        told = list(_told(current.values(), self._before))
        self._before = current
        if told:
            self._write(msgspec.json.encode(_line(self._consumer, told, now)).decode() + "\n")


@asynccontextmanager
async def emitting(crews: Sequence[Crewed], *, clock: Clock, every: float, stop: asyncio.Event) -> AsyncGenerator[None]:
    """Write lines every so many seconds, and a last one in the end."""
    from asyncio import TaskGroup

    emitters = [(crew, Emitter(crew.name, to_stdout)) for crew in crews]

    def emit() -> None:
        now = clock.now()
        for crew, emitter in emitters:
            emitter.emit(crew.samples(now), now)

    async def repeat() -> None:
        while not await came(stop, within=every):
            emit()

    async with TaskGroup() as group:
        repeating = group.create_task(repeat())
        try:
            yield
        finally:
            repeating.cancel()
            emit()


def to_stdout(line: str) -> None:
    """Write a line at once; an output that is closed does not stop the work."""
    with suppress(OSError, ValueError):
        sys.stdout.write(line)
        sys.stdout.flush()


def _line(consumer: str, told: Sequence[tuple[str, str, float]], now: datetime) -> Line:
    definitions = [{"Name": name, "Unit": unit} for name, unit, _ in told]
    directive = {"Namespace": NAMESPACE, "Dimensions": [[DIMENSION]], "Metrics": definitions}
    about = {"Timestamp": int(now.timestamp() * _MILLISECONDS), "CloudWatchMetrics": [directive]}
    return {"_aws": about, DIMENSION: consumer, **{name: value for name, _, value in told}}


def _told(
    samples: Iterable[Sample], before: Mapping[tuple[str, tuple[str, ...]], Sample]
) -> Iterator[tuple[str, str, float]]:
    """Give name, unit and value of each metric; labels besides the consumer are added up."""
    known, counted = catalogue(), dict[str, float]()
    for sample in samples:
        metric, earlier = known[sample.metric], before.get((sample.metric, sample.labels))
        unit = _UNITS[metric.unit]
        if metric.kind == "histogram":
            yield from _durations(metric, sample, earlier)
        elif metric.kind == "gauge":
            yield metric.title, unit, sample.value * (_MILLISECONDS if metric.unit == "seconds" else 1)
        elif sample.value:
            value = sample.value - (earlier.value if earlier else 0.0)
            counted[metric.title] = counted.get(metric.title, 0.0) + value
    for metric in known.values():
        if metric.title in counted:
            yield metric.title, _UNITS[metric.unit], counted[metric.title]


def _durations(metric: Metric, sample: Sample, earlier: Sample | None) -> Iterator[tuple[str, str, float]]:
    """Give how many durations there were since, their mean, and a bound that all but one in a hundred kept."""
    since = [now - (earlier.counts[bucket] if earlier else 0) for bucket, now in enumerate(sample.counts)]
    if count := sum(since):
        spent = sample.value - (earlier.value if earlier else 0.0)
        yield f"{metric.title}Count", "Count", count
        yield f"{metric.title}Mean", "Milliseconds", round(spent / count * _MILLISECONDS, 3)
        yield f"{metric.title}P99", "Milliseconds", _bound(since, count) * _MILLISECONDS


def _bound(counts: Sequence[int], count: int) -> float:
    """Return the upper bound in seconds of the bucket with the percentile; of the last one, the lower."""
    passed = 0
    for bound, here in zip(BUCKETS, counts, strict=False):
        passed += here
        if passed >= _PERCENTILE * count:
            return bound
    return BUCKETS[-1]
