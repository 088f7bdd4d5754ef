"""What one consumer's process counts: the tally it keeps anyway, the events it reports anyway, and two durations."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING

from streamkit import metrics
from streamkit.core.rules import Tally
from streamkit.events import CheckpointWritten
from streamkit.metrics import BUCKETS, COUNTED, DELAYED, Metric, Sample

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from streamkit.events import Event
    from streamkit.ports import Report
    from streamkit.runtimes.shard import ShardRun


class Spread:
    """Counts durations by bucket."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS) + 1)
        self._sum = 0.0

    def note(self, seconds: float, times: int = 1) -> None:
        """Take in so many durations that took so long together."""
        self._counts[bisect_left(BUCKETS, seconds / times)] += times
        self._sum += seconds

    def sample(self, metric: Metric, *labels: str) -> Sample:
        """Return what was counted so far."""
        return Sample(metric.series, labels, self._sum, tuple(self._counts))


class Meters:
    """Counts for one consumer in one process. Costs nothing a record: a look-up an event, an addition an attempt."""

    def __init__(self, consumer: str, report: Report, *, timed: bool = False) -> None:
        """Events are passed on to `report`. `timed`: somebody looks at durations, so handlers are timed."""
        self.consumer = consumer
        self.tally = Tally()
        self.handler = Spread() if timed else None
        self._checkpoint = Spread()
        self._pass_on = report
        self._counts: Counter[tuple[Metric, tuple[str, ...]]] = Counter()

    def time_handlers(self) -> None:
        """Somebody looks at durations from now on."""
        self.handler = self.handler or Spread()

    def note(self, event: Event) -> None:
        """Count an event, and pass it on."""
        kind = type(event)
        if isinstance(event, CheckpointWritten):
            self._checkpoint.note(event.took_seconds)
        elif (counter := COUNTED.get(kind)) is not None:
            self._counts[counter, (self.consumer,)] += 1
        elif (service := DELAYED.get(kind)) is not None:
            throttled = getattr(event, "error", "") == "Throttled"
            self._counts[metrics.THROTTLED if throttled else metrics.UNANSWERED, (self.consumer, service)] += 1
        self._pass_on(event)

    def samples(self) -> Iterator[Sample]:
        """Give what was counted so far."""
        for metric, count in self._tallied():
            yield Sample(metric.series, (self.consumer,), count)
        for metric in dict.fromkeys(COUNTED.values()):
            yield Sample(metric.series, (self.consumer,), self._counts[metric, (self.consumer,)])
        for metric in (metrics.THROTTLED, metrics.UNANSWERED):
            for service in dict.fromkeys(DELAYED.values()):
                labels = (self.consumer, service)
                yield Sample(metric.series, labels, self._counts[metric, labels])
        yield self._checkpoint.sample(metrics.CHECKPOINT, self.consumer)
        if self.handler is not None:
            yield self.handler.sample(metrics.HANDLER, self.consumer)

    def _tallied(self) -> Iterator[tuple[Metric, int]]:
        tally = self.tally
        yield metrics.RECEIVED, tally.received
        yield metrics.RECEIVED_BYTES, tally.received_bytes
        yield metrics.HANDLED, tally.handled
        yield metrics.FILTERED, tally.filtered
        yield metrics.DUPLICATES, tally.duplicates
        yield metrics.RETRIED, tally.retried
        yield metrics.DEAD, tally.dead


def gauges(consumer: str, runs: Collection[ShardRun], *, now: float) -> Iterator[Sample]:
    """Give how the shards run at present stand; `now` in seconds since the epoch."""
    labels = (consumer,)
    yield Sample(metrics.SHARDS.series, labels, len(runs))
    yield Sample(metrics.PAUSED.series, labels, sum(run.paused for run in runs))
    yield Sample(metrics.WAITING.series, labels, sum(run.waiting for run in runs))
    behind = [run.behind for run in runs if run.behind is not None]
    if behind:
        yield Sample(metrics.ITERATOR_AGE.series, labels, max(behind))
    ages = [now - arrived for run in runs if (arrived := run.oldest) is not None]
    yield Sample(metrics.OLDEST.series, labels, max([0.0, *ages]))
