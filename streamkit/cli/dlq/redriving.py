"""`streamkit dlq redrive`: letters through the handler once more."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Literal

import click

from streamkit.cli.dlq.choosing import filters, limit_option, queue_of, the_consumer, wanted
from streamkit.cli.figures import columns, many
from streamkit.cli.loading import config_option
from streamkit.cli.subjects import hear
from streamkit.clock import SystemChance, SystemClock
from streamkit.core.sorting import counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from streamkit.aws.desk import Desk, Letters
    from streamkit.aws.sqs import SqsSuccesses
    from streamkit.consumer import Consumer
    from streamkit.core.letters import Letter
    from streamkit.ports import Report
    from streamkit.runtimes.redrive import Redrive
    from streamkit.runtimes.redrive_terms import Options, Result, Tools

_STUCK = 70
_STAYED = 1
_INTERRUPTED = 130
_HOLD_SECONDS = 60.0


@click.command()
@click.argument("path", metavar="MODULE:CONSUMER")
@filters
@limit_option()
@click.option("--rate", type=click.FloatRange(0, min_open=True), metavar="N", help="Records a second, at most.")
@click.option("--dry-run", is_flag=True, help="Only show what would run.")
@click.option("--verbose", is_flag=True, help="Write events to standard error, as a worker does.")
@config_option
def redrive(path: str, config: Path | None, limit: int, rate: float | None, **options: Any) -> int:  # noqa: ANN401 - click's options
    """Run dead letters through the handler once more.

    The consumer's own rules hold: retries, time-outs, filters, business keys, on_dead_letter. Records come with
    `record.redriven` set, and are older than what was handled since. A letter is deleted after its effect is noted in
    the checkpoint table, by the record's id: run this twice, or kill it, and nothing that was noted is done again. A
    letter that fails again stays as it is.

    \b
    streamkit dlq redrive consumers.flights:flights --dry-run
    streamkit dlq redrive consumers.flights:flights --reason "TimeoutError" --rate 50
    streamkit dlq redrive consumers.flights:flights --letter 3f9a51

    Letters of one key run in stream order; a parked one never before the first of its key. A parked key whose letters
    have all left is handled by workers again; its shard stands still for a moment before. The handler runs here, so
    this machine needs what it needs.

    Exit status: 0 if every letter that was meant has left the queue, 1 if some stayed, 2 for something you have to
    correct.
    """
    from datetime import timedelta

    from streamkit.runtimes.redrive_terms import Options

    consumer = the_consumer(path, config)
    plan = Options(wanted=wanted(options), most=limit, rate=rate, patience=timedelta(seconds=30))
    report = _reporter() if options["verbose"] else hear
    try:
        return asyncio.run(_redrive(consumer, plan, report, dry=options["dry_run"]))
    except asyncio.CancelledError:
        return _INTERRUPTED


async def _redrive(consumer: Consumer, plan: Options, report: Report, *, dry: bool) -> int:
    from streamkit.aws.desk import Subject, desk, letters, successes
    from streamkit.runtimes.redrive import Redrive

    at_queue, chance = queue_of(consumer), SystemChance()
    queue = at_queue.queue
    subject = Subject(consumer.table, consumer.name, queue)
    async with (
        desk(subject, clock=SystemClock(), chance=chance, report=report) as at,
        letters(at_queue, chance=chance, report=report) as opened,
        successes(consumer, chance=chance, report=report) as told,
    ):
        tools = _tools(at, opened, told, report)
        run = Redrive(consumer, tools, plan)
        if dry:
            return _show_plan(await run.preview(), queue)
        _heed_signals(run)
        result = await _with_progress(run)
        hidden = await opened.queue.hidden()
        if consumer.on_dead_letter == "park" and result.complete and not (hidden or result.stopped):
            result = await _unpark(consumer, at, result, Redrive(consumer, tools, plan))
    return _show(result, queue, hidden=hidden)


async def _unpark(consumer: Consumer, at: Desk, result: Result, again: Redrive) -> Result:
    """Let keys go that have no letters left, their shards standing still for a last look at the queue."""
    from streamkit.cli.steering import steering
    from streamkit.runtimes.unparking import hold_parked, let_go, parked_keys

    done = parked_keys(await at.leases.rows()) - result.remaining
    if not done:
        return result
    has = "parked key has" if len(done) == 1 else "parked keys have"
    click.echo(f"{len(done):,} {has} no letters left: the shards stand still until that is sure")
    async with steering(consumer) as (_, steer):
        held = await hold_parked(at.leases, steer, done, within=_HOLD_SECONDS)
        sure: frozenset[str] = frozenset()
        try:
            last = await again.run()
            sure = done - last.remaining if last.complete and not last.stopped else sure
        finally:
            await let_go(steer, held, sure)
    click.echo(f"{many(len(sure), 'key')} parked no more")
    return result + last


def _tools(at: Desk, opened: Letters, told: SqsSuccesses | None, report: Report) -> Tools:
    from streamkit.runtimes.redrive_terms import Tools

    return Tools(
        mailbox=opened.mailbox,
        redriven=at.redriven,
        ledger=at.ledger,
        clock=at.clock,
        chance=SystemChance(),
        report=report,
        on_stuck=lambda: os._exit(_STUCK),
        successes=told,
        payloads=opened.payloads,
    )


def _heed_signals(run: Redrive) -> None:
    """Let what is under way end at the first SIGTERM or SIGINT; leave at once at the next."""
    loop, me = asyncio.get_running_loop(), asyncio.current_task()

    def interrupted() -> None:
        if run.result.stopped and me is not None:
            me.cancel()
        run.stop("interrupted")

    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, interrupted)


async def _with_progress(run: Redrive) -> Result:
    """Run, with a bar on a terminal."""
    with click.progressbar(length=1, label="redriving", file=sys.stderr, show_pos=True) as bar:

        def advance() -> None:
            bar.length = max(1, run.total)
            bar.update(1)

        run.advance = advance
        return await run.run()


def _show_plan(found: Sequence[Letter], queue: str) -> int:
    keys = len({each.record.key for each in found})
    click.echo(f"queue {queue}: {many(len(found), 'letter')} would run, of {many(keys, 'key')}")
    for number, condition, reason in counted(found):
        click.echo(f"{number:>8,}  {condition}: {reason}")
    return 0


def _show(result: Result, queue: str, *, hidden: int) -> int:
    """Say what became of them."""
    rows = [
        ("handled", result.handled),
        ("filtered", result.filtered),
        ("done before, dropped", result.dropped),
        *((f"stayed: {reason}", number) for reason, number in result.stayed.most_common(10)),
        ("left alone", result.left),
    ]
    click.echo(f"queue {queue}:")
    shown = [(f"{number:,}", what) for what, number in rows if number]
    for line in columns(("", ""), shown, left=(1,))[1:] if shown else ["nothing to redrive"]:
        click.echo(f"  {line}")
    if hidden:  # what was held here is put back
        click.echo(
            f"  about {hidden:,} more are out of sight: somebody works on them, or was killed within two minutes"
        )
    if result.stopped:
        click.echo(click.style(f"stopped: {result.stopped}", fg="red"))
    return _STAYED if result.stopped or result.stayed else 0


def _reporter() -> Report:
    from streamkit.logs import reporter

    terminal = sys.stderr.isatty()
    form: Literal["console", "json"] = "console" if terminal else "json"
    colours = terminal and not os.environ.get("NO_COLOR")
    return reporter(form, "info", clock=SystemClock(), stream=sys.stderr, colours=colours)
