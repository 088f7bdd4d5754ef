"""What `/livez`, `/readyz` and `/metrics` say of a snapshot."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from streamkit.metrics import BUCKETS, PROCESS, catalogue
from streamkit.runtimes.health.server import Page

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from prometheus_client.core import Metric as Family

    from streamkit.metrics import Metric, Sample

WITHOUT_EXTRA = "expected the extra of metrics, got none: pip install 'streamkit[metrics]' (/livez and /readyz work)\n"


def verdict(complaints: Sequence[str]) -> Page:
    """Return "ok", or with status 503 one line for each complaint."""
    if not complaints:
        return Page(b"ok\n")
    return Page("".join(f"{each}\n" for each in complaints).encode(), HTTPStatus.SERVICE_UNAVAILABLE)


def exposition(samples: Sequence[Sample]) -> Page:
    """Return the samples in the text format of Prometheus. One with a label more is of a supervised process."""
    try:
        from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
    except ModuleNotFoundError:
        return Page(WITHOUT_EXTRA.encode(), HTTPStatus.NOT_IMPLEMENTED)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(samples))
    return Page(generate_latest(registry), kind=CONTENT_TYPE_PLAIN_0_0_4)


def raw(samples: Sequence[Sample]) -> Page:
    """Return the samples for a supervisor."""
    return Page(msgspec.json.encode(samples), kind="application/json")


class _Collected:
    """Samples, as prometheus-client asks for them."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._samples = samples

    def collect(self) -> Iterator[Family]:
        """Give one family for each metric that has samples, in the order of the catalogue."""
        found: dict[str, list[Sample]] = {}
        for sample in self._samples:
            found.setdefault(sample.metric, []).append(sample)
        for name, metric in catalogue().items():
            if name in found:
                yield _family(metric, found[name])


def _family(metric: Metric, samples: Sequence[Sample]) -> Family:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    labels = [*metric.labels, PROCESS][: len(samples[0].labels)]
    if metric.kind == "histogram":
        spread = HistogramMetricFamily(metric.series, metric.meaning, labels=labels)
        for sample in samples:
            spread.add_metric(sample.labels, list(_cumulated(sample.counts)), sample.value)
        return spread
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.series, metric.meaning, labels=labels)
    for sample in samples:
        family.add_metric(sample.labels, sample.value)
    return family


def _cumulated(counts: Sequence[int]) -> Iterator[tuple[str, float]]:
    """Give how many fell at or below each bound."""
    total = 0
    for bound, count in zip([*map(str, BUCKETS), "+Inf"], counts, strict=True):
        total += count
        yield bound, total
