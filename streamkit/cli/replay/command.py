"""The command: what is to be replayed, and what became of it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import click
import msgspec

from streamkit.cli.dlq.choosing import moment, the_consumer
from streamkit.cli.figures import columns, short
from streamkit.cli.loading import config_option
from streamkit.cli.replay.progress import Progress
from streamkit.cli.subjects import hear
from streamkit.cli.ward import wards
from streamkit.clock import SystemChance, SystemClock
from streamkit.core.replay import Replay, said_moment

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from streamkit.aws.world import AwsWorld
    from streamkit.consumer import Consumer
    from streamkit.ports import Ports, Registration
    from streamkit.runtimes.apart.ward import Ward
    from streamkit.runtimes.replay import Replaying, Result

_STUCK = 70
_NOT_ALL = 1
_INTERRUPTED = 130
_NUMBER = re.compile(r"[0-9]{1,12}")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Asked(msgspec.Struct, frozen=True):
    """What a command asks for."""

    replay: Replay
    key: str | None
    share: float
    again: bool


def _the_moment(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, float]:
    found = SystemClock().now().timestamp() if value == "now" else moment(value)
    if found is None:
        expected = "expected an age such as 90m, 2h, 3d, or a moment such as 2026-01-31T12:00Z"
        raise click.BadParameter(f"{expected}, got {value!r}.", ctx, param)
    return value, found


def _the_id(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None and not _ID.fullmatch(value):
        expected = "expected up to 64 letters, digits, '_', '.' or '-'"
        raise click.BadParameter(f"{expected}, got {value!r}.", ctx, param)
    return value


@click.command()
@click.argument("path", metavar="MODULE:CONSUMER")
@click.option("--from", "since", required=True, metavar="T", callback=_the_moment, help="Arrived then or later.")
@click.option(
    "--to", "until", default="now", show_default=True, metavar="T", callback=_the_moment, help="Arrived before then."
)
@click.option("--shard", metavar="ID", help="Of this shard only, by id or number; not of its children.")
@click.option("--key", metavar="KEY", help="Of this key only.")
@click.option("--id", "named", metavar="NAME", callback=_the_id, help="What the replay is known by; else a digest.")
@click.option("--again", is_flag=True, help="Begin a finished replay anew.")
@click.option("--dry-run", is_flag=True, help="Only read and count.")
@click.option(
    "--share",
    type=click.IntRange(1, 100),
    default=40,
    show_default=True,
    metavar="PERCENT",
    help="Of a shard's reads (5 calls, 2 MB a second), which all its readers share.",
)
@click.option(
    "--grace", type=click.FloatRange(0), default=25.0, metavar="SECONDS", help="For handlers, when told to stop."
)
@click.option("--verbose", is_flag=True, help="Write events to standard error, as a worker does.")
@config_option
def replay(path: str, config: Path | None, *, dry_run: bool, grace: float, verbose: bool, **options: Any) -> int:  # noqa: ANN401
    """Run a range of the stream's history through the handler once more.

    T is an age (90m, 2h, 3d) or a moment (2026-11-20T10:00Z; UTC if it names no zone). What arrived at --from or later
    and before --to is handled by the same handler under the same rules: lanes, retries, filter, dead letters. Records
    come with `record.replayed` set, and are older than what was handled since; the age of a record ends no retry.

    The live consumer is not disturbed: the replay has rows of its own in the checkpoint table, and takes --share
    percent of each shard's reads.

    \b
    streamkit replay consumers.flights:flights --from 2h --dry-run
    streamkit replay consumers.flights:flights --from 2026-11-20T10:00Z --to 2026-11-20T12:00Z
    streamkit replay consumers.flights:flights --from 3h --to 2h --key N14228 --share 80

    It ends by itself. Interrupted or killed, the same command goes on where it was, with the range as it was
    resolved at first; said again after the end, it does nothing (--again begins anew). Started on several machines
    it is shared. The handler runs here, so this machine needs what it needs.

    Exit status: 0 if every record was handled, 1 if some went to the dead-letter queue, may be gone from the stream, or
    a shard stands still, 2 for something you have to correct, 130 if it was interrupted.
    """
    from streamkit.runtimes.replay import of_key

    consumer, asked = the_consumer(path, config), _asked(path, options)
    report: Any = _reporter() if verbose else _untold
    if dry_run:
        return asyncio.run(_count(of_key(consumer, asked.key), asked))
    ward = wards([consumer], [path], config)
    return asyncio.run(_replay(of_key(consumer, asked.key), asked, ward, report, grace=grace))


def _asked(path: str, options: dict[str, Any]) -> Asked:
    from streamkit.runtimes.replay import key_digest

    (since, from_epoch), (until, to_epoch) = options["since"], options["until"]
    shard: str | None = options["shard"]
    if shard is not None and _NUMBER.fullmatch(shard):
        shard = f"shardId-{int(shard):012}"
    key: str | None = options["key"]
    words = "\n".join([path, since, until, shard or "", "" if key is None else f"={key}"])
    wanted = Replay(
        id=options["named"] or sha256(words.encode()).hexdigest()[:8],
        said=f"--from {since} --to {until}",
        since=from_epoch,
        until=to_epoch,
        begun=SystemClock().now().timestamp(),
        shard=shard,
        key=key_digest(key),
    )
    return Asked(wanted, key, options["share"] / 100, options["again"])


@asynccontextmanager
async def _opened(consumer: Consumer, asked: Asked) -> AsyncGenerator[tuple[AwsWorld, Ports, Registration | None]]:
    """Open what the consumer works through, and its own registration if it has one."""
    from streamkit.aws.world import AwsWorld

    world = AwsWorld(clock=SystemClock(), chance=SystemChance(), share=asked.share)
    async with world.open(consumer, hear) as ports:
        yield world, ports, await ports.registry.recorded()


async def _count(consumer: Consumer, asked: Asked) -> int:
    """Read the range, and say what would run."""
    from streamkit.runtimes.replay import checked
    from streamkit.runtimes.tallying import count

    async with _opened(consumer, asked) as (_, ports, _own):
        wanted = checked(asked.replay, await ports.source.identify(), now=asked.replay.begun)
        counts = await count(consumer, ports.source, wanted, clock=SystemClock())
    click.echo(f"consumer {consumer.name}: {wanted.range} would be replayed:")
    rows = [
        (short(each.shard), f"{each.records:,}", f"{each.bytes:,}", _span(each.first, each.last)) for each in counts
    ]
    rows.append(("all", f"{sum(each.records for each in counts):,}", f"{sum(each.bytes for each in counts):,}", ""))
    for line in columns(("SHARD", "RECORDS", "BYTES", "ARRIVED"), rows, left=(0, 3)):
        click.echo(line)
    return 0


def _span(first: float | None, last: float | None) -> str:
    return "" if first is None or last is None else f"{said_moment(first)} to {said_moment(last)}"


async def _replay(
    consumer: Consumer,
    asked: Asked,
    ward: Callable[[Consumer], Ward],
    report: Any,  # noqa: ANN401 - a Report
    *,
    grace: float,
) -> int:
    from datetime import timedelta

    from streamkit.aws.replays import replays
    from streamkit.runtimes.replay import Replaying, begun
    from streamkit.runtimes.worker import Options

    clock = SystemClock()
    async with _opened(consumer, asked) as (world, ports, own), replays(consumer.table) as at:
        registration = await begun(consumer, asked.replay, ports.source, at, own=own, clock=clock, again=asked.again)
        found = registration.replay or asked.replay
        if found.finished is not None:
            click.echo(f"replay {found.id}: {found.range} was finished {said_moment(found.finished)}; say --again")
            return 0
        resumed = found.begun != asked.replay.begun
        click.echo(f"replay {found.id}: {found.range}{', begun ' + said_moment(found.begun) if resumed else ''}")
        run = Replaying(
            consumer,
            world,
            registration,
            clock=clock,
            chance=SystemChance(),
            report=report,
            options=Options(grace=timedelta(seconds=grace), on_stuck=lambda: os._exit(_STUCK), ward=ward),
        )
        interrupted = _heed_signals(run)
        with Progress(clock=clock) as progress:
            run.told = progress.show
            result = await run.run()
        finished = await run.finish(at)
    return _tell(found, result, finished=finished, interrupted=interrupted.is_set())


def _heed_signals(run: Replaying) -> asyncio.Event:
    """Let what is under way end at the first SIGTERM or SIGINT; leave at once at the next."""
    told = asyncio.Event()

    def interrupted(name: str) -> None:
        if told.is_set():
            os._exit(_INTERRUPTED)
        told.set()
        run.drain(name)

    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, interrupted, each.name)
    return told


def _tell(replay: Replay, result: Result, *, finished: bool, interrupted: bool) -> int:
    """Say what became of it; return the exit status."""
    tally, headway = result.tally, result.headway
    rows = [
        (tally.handled, "handled"),
        (tally.filtered, "filtered"),
        (tally.duplicates, "done before, dropped"),
        (tally.dead, "dead letters"),
    ]
    for line in columns(("", ""), [(f"{number:,}", what) for number, what in rows if number], left=(1,))[1:]:
        click.echo(f"  {line}")
    if headway.settled > tally.handled + tally.filtered + tally.duplicates + tally.dead:
        click.echo(f"  in all its runs: {headway.settled:,} records, {headway.dead:,} dead letters")
    for why in headway.standing:
        click.echo(click.style(f"! {why}", fg="red"))
    if result.trimmed:
        click.echo(click.style("! records of the range may have been gone before they were read", fg="red"))
    if finished:
        click.echo(f"replay {replay.id}: finished")
    elif interrupted or not headway.standing:
        click.echo(f"replay {replay.id}: {headway.ended} of {headway.shards} shards done; the same command goes on")
    if interrupted and not finished:
        return _INTERRUPTED
    return 0 if finished and not (headway.dead or result.trimmed) else _NOT_ALL


def _untold(_: object) -> None:
    """Report nothing."""


def _reporter() -> Any:  # noqa: ANN401 - a Report
    import sys

    from streamkit.logs import reporter

    terminal = sys.stderr.isatty()
    colours = terminal and not os.environ.get("NO_COLOR")
    return reporter("console" if terminal else "json", "info", clock=SystemClock(), stream=sys.stderr, colours=colours)
