"""docs/performance.md and its plot, from what was measured."""

from collections.abc import Iterable, Sequence
from statistics import median
from xml.sax.saxutils import escape

from benchmarks.measure import SPREAD, Series
from benchmarks.suites import Goal, Table

NAMES = {
    "boto3": "bare boto3 loop",
    "aioboto3": "bare aioboto3 loop",
    "async-kinesis": "async-kinesis 3.0.1, checkpoints in memory",
    "async": "**streamkit**, async handler",
    "sync": "**streamkit**, plain handler in a thread",
    "batch": "**streamkit**, batch handler",
    "unsaved": "streamkit without worker and checkpoints",
    "raw": "fetching without decoding (the server's limit)",
    "boto3-polls": "boto3",
    "polls": "**streamkit**'s readers",
    "boto3-changes": "boto3 and TypeDeserializer, both images",
    "images": "**streamkit**, both images read",
    "untouched": "**streamkit**, images not asked for",
    "powertools": "Powertools' BatchProcessor, without idempotency",
    "lambda": "**streamkit**, what was handled remembered in DynamoDB",
    "aws_kinesis_agg": "aws_kinesis_agg 1.2.3",
    "expand": "**streamkit**",
}


def ratio(series: Series, base: Series) -> str:
    """Return the ratio, or why there is none."""
    if base.void or not series.cpu:
        return ""
    middle, spread = series.ratio(base)
    return f"{middle:.2f}" if spread <= SPREAD else f"spread {spread:.0%}"


def verdict(series: Series, base: Series, goal: Goal | None) -> str:
    """Say whether the goal of a row is reached."""
    if goal is None or not series.cpu or base.void:
        return ""
    middle, spread = series.ratio(base)
    if spread > SPREAD:
        return "not told"
    reached = "stretch" if middle <= goal.stretch else "must" if middle <= goal.must else "**missed**"
    return f"{reached} (must {goal.must:.2f}, stretch {goal.stretch:.2f})"


def rows(table: Table, found: Sequence[Series]) -> Iterable[str]:
    """Return one table in Markdown."""
    base = found[0]
    described = f"{table.calls:,} {table.unit}s" if table.calls else f"{table.case.records:,} records, {table.case}"
    yield f"### {table.title[0].upper()}{table.title[1:]}\n\n{described}.\n"
    yield f"| | CPU us a {table.unit} | {table.unit}s/s | ratio | goal |\n|---|---:|---:|---:|---|"
    for each in found:
        name = NAMES[each.subject]
        if each.void:
            yield f"| {name} | void: {each.void} | | | |"
            continue
        numbers = f"{median(each.cpu):.2f} | {median(each.rate):,.0f}"
        goal = next((goal for goal in table.goals if (goal.subject, goal.base) == (each.subject, None)), None)
        yield f"| {name} | {numbers} | {ratio(each, base)} | {verdict(each, base, goal)} |"
    yield ""
    by_name = {each.subject: each for each in found}
    for goal in table.goals:
        if goal.base is not None and goal.base in by_name:
            one, other = by_name[goal.subject], by_name[goal.base]
            told = ratio(one, other) or f"no ratio, {other.void or one.void}"
            yield f"{NAMES[goal.subject]} beside {NAMES[goal.base]}: {told}, {verdict(one, other, goal)}.\n"


def plot(table: Table, found: Sequence[Series]) -> str:
    """Return the bars of one table as SVG."""
    bars = [(NAMES[each.subject].replace("*", ""), median(each.cpu)) for each in found if each.cpu]
    top, height, width = max(value for _, value in bars), 26, 420
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="820" height="{len(bars) * height + 44}">',
        "<style>text { font: 13px sans-serif }</style>",
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="8" y="20" style="font-weight: bold">CPU microseconds a record: {escape(table.title)}</text>',
    ]
    for index, (name, value) in enumerate(bars):
        y, colour = 34 + index * height, "#1f6feb" if name.startswith("streamkit") else "#9aa4b2"
        length = max(1.0, value / top * width)
        lines += [
            f'<text x="300" y="{y + 15}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="308" y="{y}" width="{length:.1f}" height="{height - 6}" fill="{colour}"/>',
            f'<text x="{314 + length:.1f}" y="{y + 15}">{value:.1f}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])
