"""`streamkit status`: how a consumer is doing, told from its table alone."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

import click
import msgspec

from streamkit.cli.figures import COLOURS, columns, count, elided, short, span
from streamkit.cli.loading import config_option
from streamkit.cli.subjects import hear, optional_consumers, table_option, watched
from streamkit.core.memory import Halt
from streamkit.core.overview import Observer, Overview, ShardView
from streamkit.errors import Unregistered

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from streamkit.aws.desk import Desk, Subject
    from streamkit.ports import Report as Heard

NEEDS_A_LOOK = 1
WIDTH = 80
_BEAT = 0.5
"""Of a lease: a worker beats four times a lease, and one late heartbeat is no silence."""
_PAUSE_SECONDS = 0.25
_NAMED = 5
"""Of many that need a look: enough to start with."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What is told of one consumer: the JSON of `--json`, one of a list."""

    consumer: str
    stream: str
    table: str
    overview: Overview
    halts: tuple[Halt, ...] = ()
    """Where a function of the consumer stands still."""


@click.command()
@optional_consumers
@table_option
@click.option("--patience", type=click.FloatRange(0), metavar="SECONDS", help="How long to watch for heartbeats.")
@click.option("--max-lag", type=click.FloatRange(0), metavar="SECONDS", help="A shard further behind needs a look.")
@click.option("--json", "as_json", is_flag=True, help="As one JSON array, an entry for each consumer.")
@click.option("--all", "everything", is_flag=True, help="Shards that have ended, too.")
@config_option
def status(  # noqa: PLR0913 - click's options
    *,
    paths: tuple[str, ...],
    tables: tuple[str, ...],
    patience: float | None,
    max_lag: float | None,
    as_json: bool,
    everything: bool,
    config: Path | None,
) -> int:
    """Show how consumers are doing.

    Reads the checkpoint table and counts the letters in the queue; workers are not asked. A worker lives if its
    counter moves while this watches: up to half its lease (which is 10 seconds, usually), less if all are seen sooner.

    \b
    streamkit status consumers.flights:flights
    streamkit status --table streamkit-flights --json | jq '.[].overview.attention'
    streamkit status consumers.flights:flights --max-lag 300 || page-somebody

    LAG is the age up to which nothing is unsettled ("<" where nobody reads, so that it may be less), OLDEST the age
    of the oldest record read and not settled, READ how many were read and wait; EPOCH grows with every change of owner.
    Figures are those of the last checkpoint.

    Exit status: 0 all is well, 1 something needs a look (named at the end), 2 for something you have to correct.
    """
    subjects = watched(paths, tables, config)
    reports = asyncio.run(_reports(subjects, patience, report=hear))
    reports = [msgspec.structs.replace(each, overview=_with_limit(each.overview, max_lag)) for each in reports]
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(reports)))
    else:
        click.echo("\n\n".join(page(each, everything=everything) for each in reports), color=_colour())
    return NEEDS_A_LOOK if any(each.overview.attention for each in reports) else 0


def _colour() -> bool | None:
    return False if os.environ.get("NO_COLOR") or not sys.stdout.isatty() else None


async def _reports(subjects: Sequence[Subject], patience: float | None, *, report: Heard) -> list[Report]:
    """Watch all of them at once."""
    found: dict[int, Report] = {}

    async def one(place: int, each: Subject) -> None:
        found[place] = await observed(each, patience, report)

    async with asyncio.TaskGroup() as group:
        for place, each in enumerate(subjects):
            group.create_task(one(place, each))
    return [found[place] for place in sorted(found)]


async def observed(subject: Subject, patience: float | None, report: Heard) -> Report:
    """Watch one until all its workers were seen to beat, or patience is at its end."""
    try:
        return await _observed(subject, patience, report)
    except Unregistered:
        return await _function_alone(subject, report)


async def _function_alone(subject: Subject, report: Heard) -> Report:
    """Return where a function stands still that no worker was before. Raises `Unregistered` if it does nowhere."""
    from streamkit.aws.desk import halts

    found = await halts(subject, report=report)
    if not found:
        raise Unregistered(
            f"expected a registration in table {subject.table}, got none: no worker has started on it yet, and no "
            "function stands still"
        )
    stream = found[0].stream.rpartition(":")[2]
    alone = Overview(shards=(), workers=(), letters=None, attention=())
    consumer = subject.consumer or "-"
    return with_halts(Report(consumer=consumer, stream=stream, table=subject.table, overview=alone), found)


def with_halts(report: Report, found: Sequence[Halt]) -> Report:
    """Name where functions stand still."""
    lines = [
        f"{each.shard or each.stream} stands still in its function, from record {each.sequence} on: {each.why}"
        for each in found[:_NAMED]
    ]
    more = [f"and {len(found) - _NAMED} more"] if len(found) > _NAMED else []
    attention = (*report.overview.attention, *lines, *more)
    overview = msgspec.structs.replace(report.overview, attention=attention)
    return msgspec.structs.replace(report, overview=overview, halts=tuple(found))


async def _observed(subject: Subject, patience: float | None, report: Heard) -> Report:
    from streamkit.aws.desk import desk
    from streamkit.clock import SystemChance, SystemClock

    async with desk(subject, clock=SystemClock(), chance=SystemChance(), report=report) as at:
        observer, look = Observer(), await at.look()
        observer.note(look)
        patience = _BEAT * observer.lease(look) if patience is None else patience
        until = look.monotonic + patience
        while look.monotonic < until and not observer.has_seen_all(look):
            await asyncio.sleep(min(_PAUSE_SECONDS, patience))
            look = await at.look()
            observer.note(look)
        return with_halts(reported(at, observer.overview(look, patience=patience)), await at.halts.standing())


def reported(at: Desk, overview: Overview) -> Report:
    """Name whose overview it is."""
    registration = at.registration
    return Report(
        consumer=registration.consumer,
        stream=registration.stream.name,
        table=at.subject.table,
        overview=overview,
    )


def _with_limit(overview: Overview, max_lag: float | None) -> Overview:
    """Name the shards that are further behind than they may be."""
    if max_lag is None:
        return overview
    late = [each for each in overview.shards if (each.lag_seconds or 0.0) > max_lag]
    lines = [f"{each.shard} is {span(each.lag_seconds)} behind, more than {span(max_lag)}" for each in late[:_NAMED]]
    more = [f"and {len(late) - _NAMED} more shards"] if len(late) > _NAMED else []
    return msgspec.structs.replace(overview, attention=(*overview.attention, *lines, *more))


# The page


def page(report: Report, *, everything: bool = False) -> str:
    """Return what a person reads, in 80 columns."""
    view = report.overview
    names = {each.worker: f"w{number}" for number, each in enumerate(view.workers, 1)}
    shown = [each for each in view.shards if everything or each.state != "ended"]
    ended = len(view.shards) - len(shown)
    heads = ("SHARD", "STATE", "LAG", "OLDEST", "READ", "RATE/S", "RETRIED", "DEAD", "OWNER", "EPOCH")
    lines = [
        f"{click.style(report.consumer, bold=True)}  stream {report.stream}, table {report.table}",
        "",
        *columns(heads, [_shard_line(each, names) for each in shown], left=(0, 1, 8)),
        *([f"{ended} shards have ended (--all shows them)"] if ended else []),
        "",
        *_workers(view, names),
        "",
        *_totals(view),
        *(
            click.style(click.wrap_text(f"! {line}", WIDTH, subsequent_indent="  "), fg="red")
            for line in view.attention
        ),
    ]
    return "\n".join(lines)


def _shard_line(each: ShardView, names: dict[str, str]) -> list[str]:
    bound = "<" if each.state in {"free", "halted", "waiting", "silent"} and each.lag_seconds else ""
    return [
        short(each.shard),
        click.style(each.state, fg=COLOURS[each.state]),
        bound + span(each.lag_seconds),
        span(each.oldest_seconds),
        count(each.waiting),
        count(each.rate),
        count(each.retried),
        count(each.dead),
        names.get(each.owner or "", "-"),
        str(each.epoch),
    ]


def _workers(view: Overview, names: dict[str, str]) -> list[str]:
    if not view.workers:
        return ["no worker runs"]
    heads = ("", "WORKER", "HEARTBEAT", "SHARDS", "RATE/S", "UP")
    rows = [
        [
            names[each.worker],
            elided(each.worker),
            {"beating": f"{span(each.beat_seconds)} ago", "unseen": "not seen", "silent": "SILENT"}[each.pulse],
            str(each.shards),
            count(each.rate),
            span(each.up_seconds),
        ]
        for each in view.workers
    ]
    return columns(heads, rows, left=(0, 1))


def _totals(view: Overview) -> list[str]:
    lags = [each.lag_seconds for each in view.shards if each.lag_seconds is not None]
    parts = [
        f"{sum(each.state != 'ended' for each in view.shards)} shards",
        f"lag {span(max(lags, default=None))}",
        f"{count(sum(each.rate or 0.0 for each in view.shards))} records/s",
        f"{count(sum(each.settled or 0 for each in view.shards))} settled",
        f"{count(sum(each.dead or 0 for each in view.shards))} dead-lettered",
    ]
    if view.letters is not None:
        parts.append(f"{view.letters:,} in the queue")
    return [click.wrap_text(", ".join(parts), WIDTH)]
