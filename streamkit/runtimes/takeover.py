"""Takes over the positions of a stopped KCL application: nothing lost, nothing repeated at the boundary.

watch the leases stand still --> plan a row for every shard --> write what is missing --> look at the leases once more
                                     positions checked against the stream

Written are rows of the consumer's own table only. Rows that are there already are left alone if they say the same, so
that an interrupted run is simply said again; if they say something else, only by `replacing` them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from streamkit.core import kcl
from streamkit.core.kpl import expand
from streamkit.core.positions import Position
from streamkit.errors import ConfigurationError
from streamkit.runtimes.places import the_record

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from streamkit.core.kcl import Lease, Step
    from streamkit.core.leasing import Member, ShardRow
    from streamkit.core.positions import Start
    from streamkit.core.records import Record
    from streamkit.ports import Leases, Source
    from streamkit.runtimes.steering import Steering

_AT_ONCE = 16


async def stopped(look: Callable[[], Awaitable[Sequence[Lease]]], *, seconds: float) -> Sequence[Lease]:
    """Return the leases after having seen them stand still for so long. Raises `ConfigurationError` if they move."""
    before = await look()
    await asyncio.sleep(seconds)
    after = await look()
    expect_still(before, after)
    return after


def expect_still(before: Sequence[Lease], after: Sequence[Lease]) -> None:
    """Raise `ConfigurationError` if leases moved between two looks."""
    if moved := kcl.awake(before, after):
        owners = sorted({lease.owner or "nobody" for lease in after if lease.shard in moved})
        raise ConfigurationError(
            f"expected a stopped application, got one at work: {len(moved)} leases moved while they were watched "
            f"({', '.join(moved[:3])}; of {', '.join(owners[:3])}); stop it, then say this again"
        )


async def planned(leases: Sequence[Lease], source: Source, *, start: Start | None, now: float) -> Sequence[Step]:
    """Return what becomes of every shard, each position confirmed by the record it names.

    Raises `ConfigurationError` if a lease leaves open where to begin.
    """
    try:
        steps = kcl.steps(leases, await source.shards(), start=start, now=now)
    except ValueError as open_:
        raise ConfigurationError(str(open_)) from open_
    confirmed: dict[str, Step] = {}
    waiting = iter(steps)

    async def some() -> None:
        for step in waiting:
            confirmed[step.row.id] = await _confirmed(step, source)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(_AT_ONCE, len(steps))):
            group.create_task(some())
    return [confirmed[step.row.id] for step in steps]


async def _confirmed(step: Step, source: Source) -> Step:
    """Look at the record that was handled last: its time is what tells later whether what followed was trimmed."""
    frontier = step.row.progress.frontier
    if frontier is None:
        return step
    try:
        record = await the_record(source, step.row, frontier.sequence_number)
    except ConfigurationError:
        gone = "the stream does not have the record at the checkpoint any more: what followed it may be gone too"
        return replace(step, warning=step.warning or gone)
    progress = replace(step.row.progress, frontier=_whole(frontier, record))
    return replace(step, row=replace(step.row, progress=progress, frontier_arrived=record.arrived))


def _whole(frontier: Position, record: Record) -> Position:
    """Return the place after the whole record, if the checkpoint covers all that is in it: KCL counts a plain one 0."""
    last = expand(record)[-1].subsequence
    return Position(frontier.sequence_number) if frontier.covers(record.sequence, last) else frontier


class Written(msgspec.Struct, frozen=True):
    """What was done to the consumer's rows."""

    made: int
    found: int
    """That were there and said the same."""
    replaced: int


async def write(
    steps: Sequence[Step], leases: Leases, members: Sequence[Member], steer: Steering, *, replacing: bool
) -> Written:
    """Make the rows. Raises `ConfigurationError`, before anything is written, if some say otherwise and may not be."""
    there = {row.id: row for row in await leases.rows()}
    alive = {member.worker for member in members if member.state == "alive"}
    others = [step.row for step in steps if step.row.id in there and not same(there[step.row.id], step.row)]
    for row in others:
        _expect_replaceable(there[row.id], alive, replacing=replacing)
    for row in others:
        await _replace(there[row.id], row, steer)
    missing = [step.row for step in steps if step.row.id not in there]
    await leases.add(missing)
    return Written(len(missing), len(steps) - len(missing) - len(others), len(others))


def same(there: ShardRow, wanted: ShardRow) -> bool:
    """Say whether a row says what it is to say: where its shard goes on, and nothing settled since."""
    begins = there.progress.frontier is not None or there.state == "ended" or there.start == wanted.start
    return (there.progress.frontier, there.state) == (wanted.progress.frontier, wanted.state) and begins


def _expect_replaceable(there: ShardRow, alive: set[str], *, replacing: bool) -> None:
    if there.owner in alive:
        raise ConfigurationError(
            f"shard {there.id}: expected no worker on it, got {there.owner}; stop the workers first"
        )
    if not replacing:
        raise ConfigurationError(
            f"shard {there.id}: expected no position of the consumer's own, got {_place(there)}; --replace gives it up"
        )


def _place(row: ShardRow) -> str:
    frontier = row.progress.frontier
    return row.state if row.state != "open" else f"the one after {kcl.said(frontier)}" if frontier else f"{row.start}"


async def _replace(there: ShardRow, wanted: ShardRow, steer: Steering) -> None:
    await steer.amend(
        there,
        start=wanted.start,
        progress=wanted.progress,
        generation=there.generation + 1,
        frontier_arrived=wanted.frontier_arrived,
        caught_up_at=None,
        state=wanted.state,
        halted=None,
        parked=(),
    )
