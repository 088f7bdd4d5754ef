"""Operators' changes of position: to a record, to a moment, past one record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from streamkit.core.kpl import expand
from streamkit.core.leasing import ShardRow
from streamkit.core.ledger import Tenure
from streamkit.core.letters import Condemned, Letter
from streamkit.core.positions import Position, Progress
from streamkit.core.records import Record
from streamkit.core.settlement import digest
from streamkit.core.window import Window
from streamkit.engine.screen import release
from streamkit.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from streamkit.consumer import Consumer
    from streamkit.core.positions import Place, Start
    from streamkit.ports import DeadLetters, Ledger, Source

_ANSWERS = 200
"""Most answers read in search of a record: an answer may be empty although records follow."""


def started_at(row: ShardRow, start: Start) -> ShardRow:
    """Return the row of a shard read anew from `start`: a new generation, nothing of it settled (rule 16)."""
    return replace(
        row,
        start=start,
        progress=Progress(),
        generation=row.generation + 1,
        marked=None,
        frontier_arrived=None,
        caught_up_at=None,
    )


def settled_up_to(row: ShardRow, record: Record) -> ShardRow:
    """Return the row of a shard settled up to and including a record: a new generation."""
    return replace(
        row,
        progress=Progress(Position(record.sequence_number)),
        generation=row.generation + 1,
        marked=None,
        frontier_arrived=record.arrived,
        caught_up_at=record.arrived,
    )


async def the_record(source: Source, row: ShardRow, number: str) -> Record:
    """Return the physical record of this number, so that no position is made up. Raises `ConfigurationError`."""
    expected = f"shard {row.id}: expected the sequence number of a record that the stream still has, got {number}"
    try:
        async for record in _read(source, row, Position(number, 0)):
            if record.sequence_number == number:
                return record
            break
    except ConfigurationError as refused:
        raise ConfigurationError(expected) from refused
    raise ConfigurationError(expected)


async def skipped(
    consumer: Consumer, source: Source, row: ShardRow, number: str, *, decoding: int, most: int
) -> tuple[ShardRow, list[Record]]:
    """Return the row with every (sub)record of this number settled, and those that were not before.

    Raises `ConfigurationError` if the record is not among the next `most` after the frontier.
    """
    window, found = Window(row.progress, decoding=decoding), list[Record]()
    ours = row.shard.hash_range if consumer.source.kpl_only else None
    async for physical in _read(source, row, row.progress.frontier or row.start):
        if physical.sequence > int(number) or len(window) > most:
            break
        for record in expand(physical, hash_range=ours):
            ordinal = window.admit(record)
            if ordinal is None:
                continue
            if record.foreign or record.sequence_number == number:
                window.settle(ordinal)
                found += [] if record.foreign else [record]
        if physical.sequence_number == number:
            edge = window.edge
            arrived = edge.arrived if edge else row.frontier_arrived
            return replace(row, progress=window.progress(), frontier_arrived=arrived), found
    raise ConfigurationError(
        f"shard {row.id}: expected the number of one of the {most} records after its frontier, got {number}"
    )


async def send_skipped(  # noqa: PLR0913 - the records, and where all there is to say of them goes
    consumer: Consumer,
    row: ShardRow,
    records: list[Record],
    queue: DeadLetters,
    ledger: Ledger | None,
    *,
    stream_arn: str,
    now: float,
) -> ShardRow:
    """Send the letters of skipped records; return the row with their keys parked, where that is the consumer's rule.

    As with any dead letter, their business keys are released first (rule 26).
    """
    if consumer.dedupe_key is not None and ledger is not None:
        for record in records:
            await release(record, consumer.dedupe_key, ledger, tenure=Tenure(epoch=row.epoch))
    verdicts = [Condemned(record, "Skipped", "skipped by an operator", 0) for record in records]
    letters = [Letter(each, consumer.name, consumer.code_version, stream_arn, now) for each in verdicts]
    await queue.send(letters)
    if consumer.on_dead_letter != "park":
        return row
    return replace(row, parked=tuple(dict.fromkeys([*row.parked, *(digest(record.key) for record in records)])))


async def _read(source: Source, row: ShardRow, place: Place) -> AsyncIterator[Record]:
    """Read physical records from a place on, to the tip of the shard at most."""
    reader = source.reader(row.shard, place)
    for _ in range(_ANSWERS):
        read = await reader.read()
        for record in read.records:
            yield record
        if read.ended or (not read.records and not read.behind):
            return
