"""`streamkit resume`: let shards go on that stand still until a person acts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click
from msgspec.structs import replace

from streamkit.cli.init import tell
from streamkit.cli.loading import config_option, configured, consumers_argument
from streamkit.cli.subjects import the_shard
from streamkit.errors import ConfigurationError, Refused, Unanswered
from streamkit.runtimes.gaps import HALTED_BY_GAP

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from streamkit.consumer import Consumer
    from streamkit.core.leasing import ShardRow
    from streamkit.ports import Chance, Clock, Leases


@click.command()
@consumers_argument
@click.option("--shard", metavar="ID", help="This shard only.")
@config_option
def resume(paths: tuple[str, ...], shard: str | None, config: Path | None) -> None:
    """Let halted and paused shards go on.

    They go on from where they stopped.

    \b
    streamkit resume consumers.flights:flights
    streamkit resume consumers.flights:flights --shard shardId-000000000003

    A shard halts for on_dead_letter="halt", for on_gap="halt", and for `streamkit pause`. Exit status 2 if none is
    halted.
    """
    for consumer in configured(paths, config=config).consumers:
        asyncio.run(_resume(consumer, shard))


async def _resume(consumer: Consumer, shard: str | None) -> None:
    from streamkit.aws.clients import Aws, AwsSettings
    from streamkit.aws.table import TableLeases, TableRegistry
    from streamkit.clock import SystemChance, SystemClock

    async with Aws(settings=AwsSettings(), report=tell) as aws:
        dynamodb = await aws.call("dynamodb")
        registry = TableRegistry(dynamodb, consumer.table)
        registration = await registry.existing()
        if registration.consumer != consumer.name:
            raise ConfigurationError(
                f"table {consumer.table}: expected the rows of consumer {consumer.name!r}, "
                f"got those of {registration.consumer!r}"
            )
        leases = TableLeases(dynamodb, await registry.layout(registration.stream))
        rows = await leases.rows()
        named = shard and the_shard(rows, shard).id
        for row in halted(rows, named, consumer.table):
            await reopen(row, leases, SystemChance(), SystemClock())
            click.echo(f"consumer {consumer.name}: shard {row.id} goes on; it was halted: {row.halted}")


def halted(rows: Sequence[ShardRow], shard: str | None, table: str) -> list[ShardRow]:
    """Return the halted rows, or that of `shard`. Raises `ConfigurationError` if there is none."""
    known = [row.id for row in rows]
    if shard is not None and shard not in known:
        raise ConfigurationError(f"--shard: expected one of the shards in table {table}, got {shard!r}")
    found = [row for row in rows if row.state == "halted" and shard in (None, row.id)]
    if not found:
        which = f"shard {shard}" if shard else f"any of {len(known)} shards"
        raise ConfigurationError(f"table {table}: expected {which} to be halted, got none; nothing was changed")
    return found


async def reopen(row: ShardRow, leases: Leases, chance: Chance, clock: Clock) -> None:
    """Open a halted row; returning means it is durable. Whoever opens one halted by a gap has taken note of the gap.

    Raises `ConfigurationError` if somebody else was there.
    """
    seen = clock.now().timestamp() if row.halted == HALTED_BY_GAP else row.caught_up_at
    wanted = replace(row, state="open", halted=None, caught_up_at=seen, revision=row.revision + 1, token=chance.token())
    try:
        try:
            await leases.write(row, wanted)
        except Unanswered:  # it may have happened: the very same write, once more, tells
            await leases.write(row, wanted)
    except Refused as refused:
        if refused.row is None or refused.row.token != wanted.token:
            raise ConfigurationError(f"shard {row.id}: expected it to stand still, got a change; look again") from None
