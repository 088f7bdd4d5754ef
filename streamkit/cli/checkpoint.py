"""`streamkit checkpoint`: look at positions, move them, skip one record."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click
import msgspec

from streamkit.cli.dlq.choosing import moment, the_consumer
from streamkit.cli.figures import columns, short, span
from streamkit.cli.loading import config_option
from streamkit.cli.steering import changed, standing, steering, timeout_option, wait_option
from streamkit.cli.subjects import hear, the_shard
from streamkit.clock import SystemChance, SystemClock
from streamkit.consumer import Kinesis
from streamkit.core.positions import Since
from streamkit.errors import ConfigurationError

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from streamkit.consumer import Consumer
    from streamkit.core.leasing import ShardRow
    from streamkit.core.positions import Start
    from streamkit.ports import Ports

_SET = "an operator sets its position"
_RESET = "an operator resets its position: run the same `streamkit checkpoint reset` again"
_SKIP = "an operator skips a record"

path_argument = click.argument("path", metavar="MODULE:CONSUMER")
shard_option = click.option("--shard", required=True, metavar="ID", help="The shard, by id or number.")


def _digits(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if not (value.isascii() and value.isdigit() and len(value) <= 129):  # noqa: PLR2004 - the most that AWS allows
        raise click.BadParameter(f"expected digits, got {value!r}.", ctx, param)
    return value


number_option = click.option(
    "--sequence", required=True, metavar="NUMBER", callback=_digits, help="The record's sequence number."
)


@click.group()
def checkpoint() -> None:
    """Look at positions, move them, skip one record.

    \b
    streamkit checkpoint show consumers.flights:flights
    streamkit checkpoint reset consumers.flights:flights --to 2h --wait
    streamkit checkpoint skip consumers.flights:flights --shard 3 --sequence 4959033827149...

    Nothing is changed under a worker's hands: a shard that one owns is refused. With --wait its owner is asked to
    let go, and workers take the shard up again after the change.
    """


@checkpoint.command()
@path_argument
@click.option("--json", "as_json", is_flag=True, help="As one JSON array.")
@config_option
def show(path: str, config: Path | None, *, as_json: bool) -> None:
    """Show every shard's position.

    AHEAD is how many records after the frontier are settled already, GEN how often an operator has moved the shard.

    \b
    streamkit checkpoint show consumers.flights:flights --json | jq '.[].frontier'
    """
    rows = asyncio.run(_rows(the_consumer(path, config)))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode([_entry(row) for row in rows])))
        return
    now = SystemClock().now().timestamp()
    heads = ("SHARD", "STATE", "EPOCH", "GEN", "ARRIVED", "AHEAD", "PARKED", "FRONTIER")
    for line in columns(heads, [_line(row, now) for row in rows], left=(0, 1, 7)):
        click.echo(line)


@checkpoint.command("set")
@path_argument
@shard_option
@number_option
@wait_option
@timeout_option
@config_option
def set_position(path: str, config: Path | None, shard: str, sequence: str, timeout: float, *, wait: bool) -> None:
    """Let a shard go on right after one record.

    Everything up to it counts as settled: moved forward, what lies between is never handled; moved back, it is
    handled again. The stream must still have the record.

    \b
    streamkit checkpoint set consumers.flights:flights --shard 3 --sequence 4959033827149...
    """
    from streamkit.runtimes import places

    consumer = the_consumer(path, config)

    async def run() -> ShardRow:
        async with _world(consumer) as ports, steering(consumer) as (at, steer):
            seen = the_shard(await at.leases.rows(), shard)
            record = await places.the_record(ports.source, seen, sequence)
            row = await standing(steer, seen.id, _SET, wait=wait, within=timeout)
            return await changed(steer, row, places.settled_up_to(row, record), held=_SET)

    row = asyncio.run(run())
    click.echo(f"shard {row.id}: goes on after {sequence}, generation {row.generation}")


@checkpoint.command()
@path_argument
@click.option("--shard", metavar="ID", help="This shard only, by id or number.")
@click.option("--to", "place", required=True, metavar="WHERE", help="oldest, latest, an age (2h) or a moment.")
@wait_option
@timeout_option
@config_option
def reset(path: str, config: Path | None, shard: str | None, place: str, timeout: float, *, wait: bool) -> None:
    """Read again from a moment, from the oldest record, or from now on.

    \b
    streamkit checkpoint reset consumers.flights:flights --to oldest
    streamkit checkpoint reset consumers.flights:flights --to 2h --wait
    streamkit checkpoint reset consumers.flights:flights --to 2026-01-31T12:00Z --shard 3

    Records are handled again, in order, as if they were new; dedupe by business keys still holds. Shards that have
    ended are read again, too, where the stream still has them.
    """
    consumer = the_consumer(path, config)
    for line in asyncio.run(_reset(consumer, shard, _start(place), wait=wait, within=timeout)):
        click.echo(line)


@checkpoint.command()
@path_argument
@shard_option
@number_option
@wait_option
@timeout_option
@config_option
def skip(path: str, config: Path | None, shard: str, sequence: str, timeout: float, *, wait: bool) -> None:
    """Send one record to the dead-letter queue, unhandled.

    Its letter is durable before the position passes it; the records before it stay unsettled. `streamkit dlq redrive`
    takes it up again.

    \b
    streamkit checkpoint skip consumers.flights:flights --shard 3 --sequence 4959033827149... --wait
    """
    consumer = the_consumer(path, config)
    row, number = asyncio.run(_skip(consumer, shard, sequence, wait=wait, within=timeout))
    click.echo(f"shard {row.id}: {number} records of number {sequence} are in the dead-letter queue")


async def _rows(consumer: Consumer) -> list[ShardRow]:
    async with steering(consumer) as (at, _):
        return sorted(await at.leases.rows(), key=lambda row: row.id)


def _world(consumer: Consumer) -> AbstractAsyncContextManager[Ports]:
    from streamkit.aws.world import AwsWorld

    return AwsWorld(clock=SystemClock(), chance=SystemChance()).open(_polling(consumer), hear)


def _polling(consumer: Consumer) -> Consumer:
    """Return the consumer as one that polls: an operator's look at a shard must not take over the worker's own."""
    source = consumer.source
    return (
        consumer.using(source=msgspec.structs.replace(source, fan_out=False))
        if isinstance(source, Kinesis)
        else consumer
    )


def _start(place: str) -> Start:
    if place == "oldest":
        return "TRIM_HORIZON"
    if place == "latest":
        return Since(SystemClock().now().timestamp())
    found = moment(place)
    if found is None:
        expected = "expected oldest, latest, an age such as 2h, or a moment such as 2026-01-31T12:00Z"
        raise click.BadParameter(f"{expected}, got {place!r}.", param_hint="--to")
    return Since(found)


async def _reset(consumer: Consumer, shard: str | None, start: Start, *, wait: bool, within: float) -> list[str]:
    """Hold all shards first, then move them: a child must not run while its parent is moved back."""
    from streamkit.runtimes import places

    async with _world(consumer) as ports, steering(consumer) as (at, steer):
        rows = await at.leases.rows()
        listed = {each.id for each in await ports.source.shards()}
        named = [the_shard(rows, shard)] if shard else [row for row in rows if row.state != "ended" or row.id in listed]
        async with asyncio.TaskGroup() as group:
            standing_by = [
                group.create_task(standing(steer, row.id, _RESET, wait=wait, within=within)) for row in named
            ]
        held = [each.result() for each in standing_by]
        lines: list[str] = []
        for row in sorted(held, key=lambda row: row.id):
            wanted = places.started_at(row, start)
            if row.state == "ended":
                wanted = msgspec.structs.replace(wanted, state="open")
            done = await changed(steer, row, wanted, held=_RESET)
            stands = f", stands still: {done.halted}" if done.state == "halted" else ""
            lines.append(f"shard {row.id}: reads again from {_said(start)}, generation {done.generation}{stands}")
        return lines


async def _skip(consumer: Consumer, shard: str, number: str, *, wait: bool, within: float) -> tuple[ShardRow, int]:
    from datetime import timedelta

    from streamkit.runtimes import places
    from streamkit.runtimes.setup import rules_of

    decoding = rules_of(consumer, chance=SystemChance(), retention=timedelta(days=1)).decoding
    async with _world(consumer) as ports, steering(consumer) as (at, steer):
        if ports.dead_letters is None:
            raise ConfigurationError(f"consumer {consumer.name}: expected dead_letters=Sqs(...) to skip to, got none")
        seen = the_shard(await at.leases.rows(), shard)
        row = await standing(steer, seen.id, _SKIP, wait=wait, within=within)
        most = consumer.checkpoint.window
        wanted, records = await places.skipped(consumer, ports.source, row, number, decoding=decoding, most=most)
        arn, now = at.registration.stream.arn, SystemClock().now().timestamp()
        queue, ledger = ports.dead_letters, at.ledger
        wanted = await places.send_skipped(consumer, wanted, records, queue, ledger, stream_arn=arn, now=now)
        return await changed(steer, row, wanted, held=_SKIP), len(records)


def _line(row: ShardRow, now: float) -> list[str]:
    frontier = row.progress.frontier
    return [
        short(row.id),
        row.state,
        str(row.epoch),
        str(row.generation),
        "-" if row.frontier_arrived is None else f"{span(now - row.frontier_arrived)} ago",
        str(_ahead(row)),
        str(len(row.parked)),
        f"from {_said(row.start)}" if frontier is None else frontier.sequence_number,
    ]


def _entry(row: ShardRow) -> dict[str, object]:
    frontier = row.progress.frontier
    return {
        "shard": row.id,
        "state": row.state,
        "why": row.halted,
        "owner": row.owner,
        "epoch": row.epoch,
        "generation": row.generation,
        "start": _said(row.start),
        "frontier": frontier and frontier.sequence_number,
        "subsequence": frontier and frontier.subsequence,
        "frontier_arrived": row.frontier_arrived,
        "ahead": _ahead(row),
        "parked": row.parked,
    }


def _ahead(row: ShardRow) -> int:
    return sum(byte.bit_count() for byte in row.progress.done)


def _said(start: Start) -> str:
    return start.at.isoformat(timespec="seconds") if isinstance(start, Since) else "the oldest record"
