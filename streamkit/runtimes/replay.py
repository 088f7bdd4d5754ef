"""Replay: a worker over a part of the stream's history, with rows of its own.

begin (or find) its registration --> Worker over ReplayWorld --> every shard past the end of the range --> finished

The worker is the one that `streamkit run` builds: leases, lanes, retries, dead letters, children after parents. What
differs is the world it is given: the source ends where the range does, and the rows are the replay's own. So several
processes may share a replay, and one that was interrupted goes on where its checkpoints are.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from math import ceil
from typing import TYPE_CHECKING, Protocol

import msgspec
from msgspec.structs import replace

from streamkit.core.positions import Since
from streamkit.core.replay import Headway, headway, said_moment
from streamkit.core.settlement import digest
from streamkit.errors import ConfigurationError, Refused, WorldError
from streamkit.events import RecordsTrimmed
from streamkit.ports import Registration
from streamkit.runtimes.crew import SHARDS_A_BUCKET
from streamkit.runtimes.excerpt import Excerpt
from streamkit.runtimes.identity import same_stream
from streamkit.runtimes.worker import Options, Worker

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from streamkit.consumer import Consumer
    from streamkit.core.leasing import ShardRow
    from streamkit.core.lineage import Stream
    from streamkit.core.records import Record
    from streamkit.core.replay import Replay
    from streamkit.core.settlement import Tally
    from streamkit.events import Event
    from streamkit.ports import Chance, Clock, Ports, Report, Rows, Source
    from streamkit.runtimes.world import World

_TICK_SECONDS = 1.0


class Replays(Protocol):
    """Where replays are registered."""

    async def recorded(self, replay: str) -> Registration | None:
        """Return what is recorded, if anything, read consistently."""
        ...

    async def begin(self, wanted: Registration, *, instead: Registration | None = None) -> Registration:
        """Record a replay where there is none, or `instead` of one as it was seen; return what is recorded, durably."""
        ...

    async def finish(self, registration: Registration, *, now: float) -> Registration:
        """Note that a replay is over; returning means it is durable."""
        ...


def checked(replay: Replay, stream: Stream, *, now: float) -> Replay:
    """Return the replay if the stream can have its range. Raises `ConfigurationError` with what it can have."""
    oldest = now - stream.retention.total_seconds()
    if replay.since >= replay.until:
        raise ConfigurationError(f"expected --from before --to, got {replay.range}")
    if replay.until > now:
        raise ConfigurationError(
            f"--to: expected a moment that has passed, got {said_moment(replay.until)}, now is {said_moment(now)}: "
            "what is still to come the consumer itself will handle"
        )
    if replay.since < oldest:
        raise ConfigurationError(
            f"--from: expected a moment within the retention of stream {stream.name}, which is "
            f"{stream.retention.total_seconds() / 3600:g} hours, so from {said_moment(oldest)} on; got "
            f"{said_moment(replay.since)}: older records are gone from the stream"
        )
    return replay


async def begun(  # noqa: PLR0913 - two ports, and what was asked for
    consumer: Consumer,
    wanted: Replay,
    source: Source,
    replays: Replays,
    *,
    own: Registration | None,
    clock: Clock,
    again: bool = False,
) -> Registration:
    """Return the registration of the replay, begun now or before.

    `own` is the consumer's registration, if it has one yet; `again` begins a finished replay anew. Raises
    `ConfigurationError` if the range cannot be had, or the id stands for another one.
    """
    stream = await source.identify()
    if own is not None:
        _expect_own(consumer, own, stream)
    found = await replays.recorded(wanted.id)
    if found is not None and found.replay is not None:
        same_stream(found.stream, stream, table=consumer.table)
        if not (again and found.replay.finished):
            return replace(_expect_same(found, wanted), stream=stream)
    shards = await Excerpt(source, checked(wanted, stream, now=wanted.begun), clock=clock).shards()
    buckets = ceil(max(1, len(shards)) / SHARDS_A_BUCKET)
    registration = Registration(consumer.name, stream, Since(wanted.since), buckets, wanted)
    return _expect_same(await replays.begin(registration, instead=found), wanted)


def of_key(consumer: Consumer, key: str | None) -> Consumer:
    """Return the consumer as it replays: of one key only, if one is named, and without regard to the age of records."""
    anew = consumer.using(retry=replace(consumer.retry, max_age=None))
    where = consumer.where
    if key is None:
        return anew

    def of_this_key(record: Record) -> object:
        return record.key == key and (where is None or where(record))

    return anew.using(where=of_this_key)


def key_digest(key: str | None) -> str | None:
    """Return what is kept of a key in the table."""
    return None if key is None else digest(key)


class ReplayWorld:
    """A `World` in which a consumer sees its replay, and nothing else."""

    def __init__(self, world: World, registration: Registration, *, clock: Clock) -> None:
        self.threaded = world.threaded
        self._world = world
        self._registration = registration
        self._clock = clock

    @asynccontextmanager
    async def open(self, consumer: Consumer, report: Report) -> AsyncGenerator[Ports]:
        """Open the source within the range, the replay's registration, and the consumer's own queue."""
        assert self._registration.replay is not None  # noqa: S101 - a registration of a replay
        async with self._world.open(consumer, report) as ports:
            source = Excerpt(ports.source, self._registration.replay, clock=self._clock)
            yield replace(ports, source=source, registry=_Registered(self._registration))

    @asynccontextmanager
    async def rows(self, consumer: Consumer, registration: Registration) -> AsyncGenerator[Rows]:
        """Open the replay's own rows."""
        async with self._world.rows(consumer, replace(registration, replay=self._registration.replay)) as rows:
            yield rows


class Result(msgspec.Struct, frozen=True):
    """How one process left a replay."""

    headway: Headway
    tally: Tally
    trimmed: int
    """Times that records may have been gone before they were read."""


class Replaying:
    """One process at work on a replay."""

    def __init__(  # noqa: PLR0913 - what a `Worker` takes, and the registration
        self,
        consumer: Consumer,
        world: World,
        registration: Registration,
        *,
        clock: Clock,
        chance: Chance,
        report: Report,
        options: Options,
    ) -> None:
        assert registration.replay is not None  # noqa: S101 - a registration of a replay
        self.told: Callable[[Headway], None] = lambda _: None
        """Called about once a second with how far the replay has come, over all who share it."""
        self._consumer = consumer
        self._registration = registration
        self._replay = registration.replay
        self._world = ReplayWorld(world, registration, clock=clock)
        self._clock = clock
        self._chance = chance
        self._pass_on = report
        self._trimmed = 0
        self._complete = False
        """Whether every shard of the stream was seen to have its row, and none of them to be open."""
        self._worker = Worker([consumer], self._world, clock=clock, chance=chance, report=self._hear, options=options)

    def drain(self, cause: str) -> None:
        """Stop: the same replay may go on later."""
        self._worker.drain(cause)

    async def run(self) -> Result:
        """Work until every shard is past the range or waits for a person, or until drained."""
        async with (
            self._world.open(self._consumer, lambda _: None) as ports,
            self._world.rows(self._consumer, self._registration) as rows,
        ):
            await self._look_back(rows)
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(self._watch(rows, ports.source))
                await self._worker.run()
                watching.cancel()
            return Result(headway(await rows.leases.rows(), self._replay), self._worker.tally, self._trimmed)

    async def finish(self, replays: Replays) -> bool:
        """If `run` saw every shard ended, note that and remove the replay's rows; return whether it is over."""
        async with self._world.rows(self._consumer, self._registration) as rows:
            left = await rows.leases.rows()
            if not (self._complete and headway(left, self._replay).over):
                return False
            await replays.finish(self._registration, now=self._clock.now().timestamp())
            for row in left:
                await rows.leases.drop(row)
            for member in await rows.members.members():
                if member.state != "alive":
                    await rows.members.forget(member)
        return True

    async def _look_back(self, rows: Rows) -> None:
        """Let halted shards go on, and say what may be gone of those that nobody began in time."""
        oldest = self._clock.now().timestamp() - self._registration.stream.retention.total_seconds()
        for row in await rows.leases.rows():
            if row.state == "open" and row.progress.frontier is None and self._replay.since < oldest:
                self._hear(RecordsTrimmed(shard=row.id, after=None, until=None))
            if row.state == "halted":
                await self._open(rows, row)

    async def _open(self, rows: Rows, row: ShardRow) -> None:
        wanted = replace(
            row,
            state="open",
            halted=None,
            epoch=row.epoch + 1,
            revision=row.revision + 1,
            token=self._chance.token(),
        )
        try:
            await rows.leases.write(row, wanted)
        except Refused:  # somebody else who shares the replay was first
            return

    async def _watch(self, rows: Rows, source: Source) -> None:
        """Tell of the headway; drain when nothing is left to do."""
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            try:
                seen = await rows.leases.rows()
                self.told(headway(seen, self._replay))
                if seen and all(row.state != "open" for row in seen) and await self._has_all(source, seen):
                    self._complete = True
                    self._worker.drain("the replay is over")
                    return
            except ConfigurationError:
                raise
            except WorldError:
                continue

    async def _has_all(self, source: Source, seen: Sequence[ShardRow]) -> bool:
        """Say whether every shard has its row: they are made one by one, and somebody may have died in between."""
        return {each.id for each in await source.shards()} <= {row.id for row in seen}

    def _hear(self, event: Event) -> None:
        self._trimmed += isinstance(event, RecordsTrimmed)
        self._pass_on(event)


class _Registered:
    """The registry of a replay: it is registered before any worker starts."""

    def __init__(self, registration: Registration) -> None:
        self._registration = registration

    async def recorded(self) -> Registration | None:
        """Return the replay's registration."""
        return self._registration

    async def register(self, wanted: Registration) -> Registration:
        """Return the replay's registration."""
        del wanted
        return self._registration


def _expect_own(consumer: Consumer, own: Registration, stream: Stream) -> None:
    if own.consumer != consumer.name:
        raise ConfigurationError(
            f"table {consumer.table}: expected the rows of consumer {consumer.name!r}, got those of {own.consumer!r}"
        )
    same_stream(own.stream, stream, table=consumer.table)


def _expect_same(found: Registration, wanted: Replay) -> Registration:
    """Return what was found if it is the replay that was asked for."""
    there = found.replay
    if there is None or (there.said, there.shard, there.key) != (wanted.said, wanted.shard, wanted.key):
        before = "another replay" if there is None else f"a replay of {there.said}"
        raise ConfigurationError(
            f"--id {wanted.id}: expected {before}, as it was begun, of the same shard and key; got {wanted.said}: say "
            "the same, or name another id"
        )
    return found
