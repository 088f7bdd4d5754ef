"""The catalogue of metrics is a contract: names, kinds and labels, and no more series than anybody can keep."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from streamkit import metrics
from streamkit.cli.metrics import entries, markdown
from streamkit.metrics import Metric, catalogue

ROOT = Path(__file__).resolve().parent.parent
BOUNDED = {metrics.CONSUMER, metrics.SERVICE}
"""The labels there are: none grows with shards, keys or workers."""


def test_names_are_unique_in_both_worlds() -> None:
    """No metric stands behind another of its name."""
    made = [each for each in vars(metrics).values() if isinstance(each, Metric)]
    assert len(catalogue()) == len(made) == len({each.title for each in made})


@pytest.mark.parametrize("metric", catalogue().values(), ids=lambda metric: str(metric.name))
def test_a_metric_is_named_as_prometheus_has_it_and_says_what_it_means(metric: Metric) -> None:
    """With its unit, and `_total` where it counts: https://prometheus.io/docs/practices/naming/."""
    assert re.fullmatch(r"streamkit_[a-z]+(_[a-z]+)*", metric.series)
    assert metric.series.endswith("_total") == (metric.kind == "counter")
    assert metric.unit == "count" or f"_{metric.unit}" in metric.series
    assert metric.meaning[0].isupper() or metric.meaning[0] == "1"
    assert metric.meaning.endswith(".")
    assert set(metric.labels) <= BOUNDED


def test_the_page_is_up_to_date() -> None:
    """Otherwise: `streamkit metrics --markdown > docs/metrics.md`."""
    assert (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8") == markdown()
    assert len(entries()) == len(catalogue())
