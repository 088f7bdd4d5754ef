"""Lines that CloudWatch takes for metrics: well formed, within its limits, and true."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

from streamkit.core.rules import Tally
from streamkit.metrics import CHECKPOINT, HANDLER, ITERATOR_AGE, Sample, catalogue
from streamkit.runtimes.health.emf import MOST_METRICS, Emitter
from streamkit.runtimes.health.meters import Meters
from streamkit.testing import Recorder

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
UNITS = {"Count", "Bytes", "Milliseconds"}


def well_formed(line: str) -> dict[str, Any]:
    """Hold a line against AWS's schema of the format; return it.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    assert line.count("\n") == 1
    assert len(line.encode()) < 256 * 1024
    found: dict[str, Any] = json.loads(line)
    assert set(found["_aws"]) == {"Timestamp", "CloudWatchMetrics"}
    assert isinstance(found["_aws"]["Timestamp"], int)
    [directive] = found["_aws"]["CloudWatchMetrics"]
    assert set(directive) == {"Namespace", "Dimensions", "Metrics"}
    assert re.fullmatch(r"[\w.\-/#:]{1,255}", directive["Namespace"])
    for dimensions in directive["Dimensions"]:
        assert 1 <= len(dimensions) <= 30
        assert all(isinstance(found[name], str) and 1 <= len(found[name]) <= 1024 for name in dimensions)
    assert 1 <= len(directive["Metrics"]) <= MOST_METRICS
    names = [each["Name"] for each in directive["Metrics"]]
    assert len(names) == len(set(names))
    assert {each["Unit"] for each in directive["Metrics"]} <= UNITS
    assert all(isinstance(found[name], int | float) for name in names)
    assert set(found) == {"_aws", "Consumer", *names}
    return found


def test_counters_are_of_the_time_since_the_line_before() -> None:
    """And what never counted is left out; what counted before and not since is 0."""
    lines: list[str] = []
    meters, emitter = Meters("orders", Recorder()), Emitter("orders", lines.append)
    emitter.emit(meters.samples(), NOW)
    assert lines == []
    meters.tally += Tally(received=10, handled=7, dead=1)
    emitter.emit(meters.samples(), NOW)
    meters.tally += Tally(received=5, handled=5)
    emitter.emit(meters.samples(), NOW)
    first, second = map(well_formed, lines)
    assert (first["Consumer"], first["_aws"]["Timestamp"]) == ("orders", 1769860800000)
    assert (first["RecordsReceived"], first["RecordsHandled"], first["RecordsDeadLettered"]) == (10, 7, 1)
    assert (second["RecordsReceived"], second["RecordsHandled"], second["RecordsDeadLettered"]) == (5, 5, 0)
    assert "RecordsRetried" not in first


def test_durations_are_milliseconds() -> None:
    """Gauges as they are; of a histogram how many, the mean, and what all but one in a hundred stayed below."""
    lines: list[str] = []
    meters, emitter = Meters("orders", Recorder(), timed=True), Emitter("orders", lines.append)
    assert meters.handler is not None
    meters.handler.note(0.2, 200)
    emitter.emit([*meters.samples(), Sample(ITERATOR_AGE.series, ("orders",), 1.5)], NOW)
    meters.handler.note(99.0)
    emitter.emit(meters.samples(), NOW)
    first, second = map(well_formed, lines)
    assert first["IteratorAge"] == 1500
    assert (first["HandlerCount"], first["HandlerMean"], first["HandlerP99"]) == (200, 1.0, 1.0)
    assert (second["HandlerCount"], second["HandlerMean"], second["HandlerP99"]) == (1, 99_000, 60_000)


def test_all_there_is_fits_in_one_line() -> None:
    """Whatever the catalogue grows to."""
    lines: list[str] = []
    counts = (1,) * 17
    samples = [
        Sample(name, ("orders", *metric.labels[1:]), 1.0, counts if metric.kind == "histogram" else ())
        for name, metric in catalogue().items()
    ]
    Emitter("orders", lines.append).emit(samples, NOW)
    found = well_formed(lines[0])
    assert len(found) == 2 + len(catalogue()) + 2 * len([HANDLER, CHECKPOINT])
