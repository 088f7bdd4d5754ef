"""What the commands that change rows share: opening a consumer's rows, and standing by until they are free."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import click

from streamkit.aws.desk import Subject, desk
from streamkit.cli.subjects import hear
from streamkit.clock import SystemChance, SystemClock
from streamkit.errors import ConfigurationError, Refused
from streamkit.runtimes.steering import Steering

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from streamkit.aws.desk import Desk
    from streamkit.consumer import Consumer
    from streamkit.core.leasing import ShardRow

wait_option = click.option(
    "--wait", is_flag=True, help="If a worker owns the shard, ask it to let go, and give the shard back afterwards."
)
timeout_option = click.option(
    "--timeout",
    type=click.FloatRange(1),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for a worker: it looks once a lease, and lets handlers end.",
)


@asynccontextmanager
async def steering(consumer: Consumer) -> AsyncGenerator[tuple[Desk, Steering]]:
    """Open the rows of a consumer. Raises `ConfigurationError`."""
    clock, chance = SystemClock(), SystemChance()
    async with desk(Subject(consumer.table, consumer.name), clock=clock, chance=chance, report=hear) as at:
        lease = consumer.checkpoint.lease.total_seconds()
        yield (
            at,
            Steering(at.leases, at.leases, at.members, clock=clock, chance=chance, lease_seconds=lease),
        )


async def standing(steer: Steering, shard: str, why: str, *, wait: bool, within: float) -> ShardRow:
    """Return the row of a shard that nobody works on; with `wait`, one that nobody will take either."""
    return await (steer.hold(shard, why, within=within) if wait else steer.free(shard))


async def changed(steer: Steering, row: ShardRow, wanted: ShardRow, *, held: str) -> ShardRow:
    """Write a change, opening the row if it was halted for this. Raises `ConfigurationError` if it moved meanwhile."""
    names = (
        "start",
        "progress",
        "generation",
        "marked",
        "frontier_arrived",
        "caught_up_at",
        "parked",
        "state",
        "halted",
    )
    changes = {name: getattr(wanted, name) for name in names}
    if row.halted == held:
        changes |= {"state": "open", "halted": None}
    try:
        return await steer.amend(row, **changes)
    except Refused:
        raise ConfigurationError(
            f"shard {row.id}: expected it to stand still, a worker took it meanwhile; nothing was changed: say --wait"
        ) from None
