"""The catalogue of metrics: what streamkit counts and measures about itself. A contract, as that of events is.

Labels are few and bounded: the consumer, the kind of service, and under a supervisor the process. Never a shard, a key
or a worker's name: `streamkit status` shows those (rule 31).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from streamkit.events import (
    CheckpointDelayed,
    CoordinationDelayed,
    Event,
    HandlerTimedOut,
    HoleNoticed,
    LettersDelayed,
    MemoryDelayed,
    ReadDelayed,
    RecordsTrimmed,
    ShardHalted,
    ShardLost,
    ShardReleased,
    ShardTaken,
    SuccessesDelayed,
    WorkerFenced,
)

Kind = Literal["counter", "gauge", "histogram"]
Unit = Literal["count", "bytes", "seconds"]

CONSUMER, SERVICE, PROCESS = "consumer", "service", "process"

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of every histogram, in seconds; above the last one is one bucket more."""


class Metric(msgspec.Struct, frozen=True):
    """Something counted or measured."""

    name: str
    kind: Kind
    unit: Unit
    meaning: str
    labels: tuple[str, ...] = (CONSUMER,)

    @property
    def series(self) -> str:
        """Its name in Prometheus, where durations are in seconds."""
        unit = "" if self.unit == "count" else f"_{self.unit}"
        return f"streamkit_{self.name}{unit}{'_total' if self.kind == 'counter' else ''}"

    @property
    def title(self) -> str:
        """Its name in CloudWatch, where durations are in milliseconds."""
        return self.name.title().replace("_", "") + ("Bytes" if self.unit == "bytes" else "")


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """What a metric is at one moment, for one choice of labels."""

    metric: str
    labels: tuple[str, ...]
    """Values, in the order of the metric's labels."""
    value: float
    """Of a histogram the sum."""
    counts: tuple[int, ...] = ()
    """Of a histogram how many fell into each bucket, the one above the last bound included."""


RECEIVED = Metric(
    "records_received", "counter", "count", "Records read from the stream, those handled before included."
)
RECEIVED_BYTES = Metric("received", "counter", "bytes", "Payload read from the stream, decompressed.")
HANDLED = Metric("records_handled", "counter", "count", "Records whose handler succeeded.")
FILTERED = Metric("records_filtered", "counter", "count", "Records that `where` rejected.")
DUPLICATES = Metric("duplicates_suppressed", "counter", "count", "Records handled before, dropped without the handler.")
RETRIED = Metric("records_retried", "counter", "count", "Failures of a handler after which the record is tried again.")
DEAD = Metric("records_dead_lettered", "counter", "count", "Records whose letter the dead-letter queue has.")

SHARDS = Metric("shards_held", "gauge", "count", "Shards run here at present.")
PAUSED = Metric("shards_paused", "gauge", "count", "Those of them that stand still because everything fails.")
WAITING = Metric("records_waiting", "gauge", "count", "Records read in and not behind the frontier of their shard.")
ITERATOR_AGE = Metric(
    "iterator_age", "gauge", "seconds", "How far reading is behind the tip of the stream: the shard furthest behind."
)
OLDEST = Metric(
    "oldest_unsettled_age", "gauge", "seconds", "Age of the oldest record read and not settled; 0 if all are settled."
)
LIVE = Metric("live", "gauge", "count", "1 if /livez says so, else 0.")
READY = Metric("ready", "gauge", "count", "1 if /readyz says so, else 0.")

TAKEN = Metric("shards_taken", "counter", "count", "Shards taken (`shard.taken`).")
RELEASED = Metric("shards_released", "counter", "count", "Shards given back (`shard.released`).")
LOST = Metric("shards_lost", "counter", "count", "Shards that another worker took over (`shard.lost`).")
HALTED = Metric("shards_halted", "counter", "count", "Shards that wait for a person from then on (`shard.halted`).")
FENCED = Metric("workers_fenced", "counter", "count", "Times this worker had to begin anew (`worker.fenced`).")
GAPS = Metric("gaps", "counter", "count", "Ranges trimmed or lost sight of (`records.trimmed`, `hole.noticed`).")
TIMED_OUT = Metric("handlers_timed_out", "counter", "count", "Attempts over their time-out (`handler.timed_out`).")
THROTTLED = Metric(
    "requests_throttled",
    "counter",
    "count",
    "Requests put off because a service throttles: stream, table or queue (`read.delayed` and the like).",
    (CONSUMER, SERVICE),
)
UNANSWERED = Metric(
    "requests_failed",
    "counter",
    "count",
    "Requests put off because a service refused or did not answer: stream, table or queue.",
    (CONSUMER, SERVICE),
)

HANDLER = Metric(
    "handler",
    "histogram",
    "seconds",
    "Duration of handler calls, failures included. Calls in a row that never wait are timed together and count with"
    " their mean.",
)
CHECKPOINT = Metric("checkpoint", "histogram", "seconds", "From the start of a checkpoint's write until it is durable.")

COUNTED: dict[type[Event], Metric] = {
    ShardTaken: TAKEN,
    ShardReleased: RELEASED,
    ShardLost: LOST,
    ShardHalted: HALTED,
    WorkerFenced: FENCED,
    RecordsTrimmed: GAPS,
    HoleNoticed: GAPS,
    HandlerTimedOut: TIMED_OUT,
}
"""Counters of events: one each time."""

DELAYED: dict[type[Event], str] = {
    ReadDelayed: "stream",
    CheckpointDelayed: "table",
    CoordinationDelayed: "table",
    MemoryDelayed: "table",
    LettersDelayed: "queue",
    SuccessesDelayed: "queue",
}
"""Events that tell of a service that throttles or does not answer."""


def catalogue() -> dict[str, Metric]:
    """Return every metric by its name in Prometheus, in the order of this file."""
    return {each.series: each for each in globals().values() if isinstance(each, Metric)}
