"""`streamkit migrate`: positions of another library, taken over."""

from __future__ import annotations

import asyncio
from math import ceil
from typing import TYPE_CHECKING

import click

from streamkit.cli.dlq.choosing import moment, the_consumer
from streamkit.cli.figures import columns, short, span
from streamkit.cli.loading import config_option
from streamkit.cli.subjects import hear
from streamkit.clock import SystemChance, SystemClock
from streamkit.core.positions import Since
from streamkit.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from streamkit.consumer import Consumer
    from streamkit.core.kcl import Lease, Step
    from streamkit.core.lineage import Stream
    from streamkit.core.positions import Start
    from streamkit.ports import Ports, Registration

_MOVED = 1


@click.group()
def migrate() -> None:
    """Take the positions of another library over.

    \b
    streamkit migrate from-kcl flights-app --consumer consumers.flights:flights --dry-run
    """


def _start(ctx: click.Context, param: click.Parameter, value: str | None) -> Start | None:
    if value is None:
        return None
    if value == "oldest":
        return "TRIM_HORIZON"
    found = moment(value)
    if found is None:
        expected = "expected oldest, an age such as 2h, or a moment such as 2026-01-31T12:00Z"
        raise click.BadParameter(f"{expected}, got {value!r}.", ctx, param)
    return Since(found)


@migrate.command("from-kcl")
@click.argument("table")
@click.option("--consumer", "path", required=True, metavar="MODULE:CONSUMER", help="Who goes on from there.")
@click.option(
    "--watch",
    type=click.FloatRange(0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long the leases have to stand still: longer than the application's failoverTimeMillis.",
)
@click.option(
    "--start", metavar="T", callback=_start, help="Where shards begin that KCL left at LATEST or AT_TIMESTAMP."
)
@click.option("--replace", "replacing", is_flag=True, help="Give up positions that the consumer has of its own.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@config_option
def from_kcl(  # noqa: PLR0913 - one for each option
    table: str, path: str, config: Path | None, watch: float, start: Start | None, *, replacing: bool, dry_run: bool
) -> int:
    """Go on where a stopped KCL application ended.

    TABLE is the application's lease table: it has the application's name. Versions 1 to 3 of the KCL are understood,
    sub-records of KPL aggregates included. It is only read; the application can be started again as it was.

    \b
    streamkit init consumers.flights:flights
    streamkit migrate from-kcl flights-app --consumer consumers.flights:flights --dry-run
    streamkit migrate from-kcl flights-app --consumer consumers.flights:flights
    streamkit run consumers.flights:flights

    The first record that the consumer handles of a shard is the first one after KCL's checkpoint. Refused while
    the leases move, and if the consumer has other positions of its own. Interrupted, say it again. Start no
    worker before it is done.

    Exit status: 0 if the positions are taken over, 1 if the application moved on meanwhile, 2 for something you have to
    correct.
    """
    return asyncio.run(_from_kcl(table, the_consumer(path, config), watch, start, replacing=replacing, dry=dry_run))


async def _from_kcl(
    table: str, consumer: Consumer, watch: float, start: Start | None, *, replacing: bool, dry: bool
) -> int:
    from streamkit.aws import kcl
    from streamkit.aws.clients import Aws
    from streamkit.aws.desk import PATIENT
    from streamkit.aws.world import AwsWorld
    from streamkit.runtimes.takeover import expect_still, planned, stopped

    clock = SystemClock()
    world = AwsWorld(clock=clock, chance=SystemChance())
    async with Aws(settings=PATIENT, report=lambda _: None) as aws, world.open(consumer, hear) as ports:
        call, stream = await aws.call("dynamodb"), await ports.source.identify()

        async def look() -> Sequence[Lease]:
            return await kcl.leases(call, table, stream)

        click.echo(f"table {table}: watching its leases for {watch:g} s")
        seen = await stopped(look, seconds=watch)
        now = clock.now().timestamp()
        steps = await planned(seen, ports.source, start=start, now=now)
        _show(steps, now)
        if dry:
            click.echo("nothing was written")
            return 0
        click.echo(await _written(consumer, ports, stream, steps, replacing=replacing))
        try:
            expect_still(seen, await look())
        except ConfigurationError as moved:
            click.echo(click.style(f"! {moved}, with --replace", fg="red"))
            return _MOVED
    return 0


async def _written(consumer: Consumer, ports: Ports, stream: Stream, steps: Sequence[Step], *, replacing: bool) -> str:
    from streamkit.cli.steering import steering
    from streamkit.runtimes.takeover import write

    await ports.registry.register(await _registration(consumer, ports, stream, steps))
    async with steering(consumer) as (at, steer):
        done = await write(steps, at.leases, await at.members.members(), steer, replacing=replacing)
    parts = [(done.made, "made"), (done.replaced, "replaced"), (done.found, "there already")]
    said = ", ".join(f"{number} {what}" for number, what in parts if number)
    return f"table {consumer.table}: {said}; `streamkit run` goes on from there"


async def _registration(consumer: Consumer, ports: Ports, stream: Stream, steps: Sequence[Step]) -> Registration:
    """Return the consumer's registration, as it is or is to be. Raises `ConfigurationError` if it is another's."""
    from streamkit.ports import Registration
    from streamkit.runtimes.crew import SHARDS_A_BUCKET
    from streamkit.runtimes.identity import same_stream

    found = await ports.registry.recorded()
    if found is None:
        return Registration(consumer.name, stream, "TRIM_HORIZON", ceil(max(1, len(steps)) / SHARDS_A_BUCKET))
    if found.consumer != consumer.name:
        raise ConfigurationError(
            f"table {consumer.table}: expected the rows of consumer {consumer.name!r}, got those of {found.consumer!r}"
        )
    same_stream(found.stream, stream, table=consumer.table)
    return found


def _show(steps: Sequence[Step], now: float) -> None:
    """Say what becomes of every shard."""
    rows = [(short(step.row.id), step.was, _becomes(step, now)) for step in steps]
    for line in columns(("SHARD", "KCL", "STREAMKIT"), rows, left=(0, 1, 2)):
        click.echo(line)
    for step in steps:
        if step.warning is not None:
            click.echo(click.style(f"! {step.row.id}: {step.warning}", fg="red"))


def _becomes(step: Step, now: float) -> str:
    row = step.row
    if row.state == "ended":
        return "ended"
    if row.progress.frontier is not None:
        arrived = row.frontier_arrived
        return "goes on after it" + ("" if arrived is None else f", {span(now - arrived)} behind")
    if isinstance(row.start, Since):
        return f"begins {row.start.at.isoformat(timespec='seconds')}"
    return "begins with the oldest record"
