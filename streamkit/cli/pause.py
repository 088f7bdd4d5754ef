"""`streamkit pause`: let shards stand still until `streamkit resume`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from streamkit.cli.loading import config_option, configured, consumers_argument
from streamkit.cli.steering import steering, timeout_option
from streamkit.cli.subjects import the_shard

if TYPE_CHECKING:
    from pathlib import Path

    from streamkit.consumer import Consumer


@click.command()
@consumers_argument
@click.option("--shard", metavar="ID", help="This shard only, by id or number.")
@timeout_option
@config_option
def pause(paths: tuple[str, ...], shard: str | None, timeout: float, config: Path | None) -> None:
    """Let shards stand still until `streamkit resume`.

    Workers finish what is under way, checkpoint and give the shards back; nothing is lost or repeated. They go on
    running, and look for the request once a lease. The stream goes on dropping what is older than its retention.

    \b
    streamkit pause consumers.flights:flights
    streamkit pause consumers.flights:flights --shard 3
    """
    for consumer in configured(paths, config=config).consumers:
        asyncio.run(_pause(consumer, shard, timeout))


async def _pause(consumer: Consumer, shard: str | None, within: float) -> None:
    from streamkit.runtimes.steering import PAUSED

    async with steering(consumer) as (at, steer):
        rows = await at.leases.rows()
        named = [the_shard(rows, shard)] if shard else sorted(rows, key=lambda row: row.id)
        wanted = [row for row in named if row.state == "open"]
        if not wanted:
            click.echo(f"consumer {consumer.name}: nothing to pause, {len(named)} shards stand still already")

        async def one(name: str) -> None:
            row = await steer.hold(name, PAUSED, within=within)
            click.echo(f"consumer {consumer.name}: shard {name} {row.halted or row.state}")

        async with asyncio.TaskGroup() as group:
            for row in wanted:
                group.create_task(one(row.id))
