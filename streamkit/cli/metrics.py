"""`streamkit metrics`: the catalogue of what streamkit counts and measures, and the page made from it."""

from __future__ import annotations

import click
import msgspec

from streamkit.metrics import BUCKETS, Metric, catalogue

_HEAD = """\
# Metrics

Made from `streamkit/metrics.py` by `streamkit metrics --markdown`; a test compares.

`streamkit run --health 8080` serves them on `/metrics` in the text format of Prometheus (extra `streamkit[metrics]`),
where durations are in seconds ([operations.md](operations.md#for-machines)). `STREAMKIT_METRICS=emf` writes them as
lines that CloudWatch takes for metrics ([there](operations.md#for-cloudwatch)), where durations are in milliseconds.
Names and labels are a contract: they change with a new major version only. Labels are few: no shard, key or worker is
one (`streamkit status` shows those). Under `--processes` each sample has the label `process` too, from 0.
"""


class Entry(msgspec.Struct, frozen=True):
    """One metric of the catalogue."""

    prometheus: str
    cloudwatch: str
    kind: str
    unit: str
    labels: tuple[str, ...]
    meaning: str


@click.command()
@click.option("--json", "form", flag_value="json", help="As one JSON array.")
@click.option("--markdown", "form", flag_value="markdown", help="As the page docs/metrics.md.")
def metrics(*, form: str | None) -> None:
    """List every metric of a worker or function.

    \b
    streamkit metrics
    streamkit metrics --json | jq -r '.[].prometheus'
    """
    if form == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(entries())))
    elif form == "markdown":
        click.echo(markdown(), nl=False)
    else:
        for entry in entries():
            click.echo(f"{entry.kind:9} {entry.prometheus:41} {entry.meaning}")


def entries() -> list[Entry]:
    """Return the catalogue."""
    return [_entry(metric) for metric in catalogue().values()]


def markdown() -> str:
    """Return the page docs/metrics.md."""
    head = ["| Prometheus | CloudWatch | Kind, unit | Labels | Meaning |", "|---|---|---|---|---|"]
    bounds = ", ".join(f"{bound:g}" for bound in BUCKETS)
    tail = (
        f"\nHistograms have buckets up to {bounds} seconds, and one above.\n"
        "For CloudWatch each becomes `...Count`, `...Mean` and `...P99`.\n"
    )
    return "\n".join([_HEAD, *head, *map(_row, entries()), tail])


def _row(entry: Entry) -> str:
    cells = (
        f"`{entry.prometheus}`",
        f"`{entry.cloudwatch}`",
        f"{entry.kind}, {entry.unit}",
        ", ".join(entry.labels),
        entry.meaning,
    )
    return f"| {' | '.join(cells)} |"


def _entry(metric: Metric) -> Entry:
    return Entry(metric.series, metric.title, metric.kind, metric.unit, metric.labels, metric.meaning)
