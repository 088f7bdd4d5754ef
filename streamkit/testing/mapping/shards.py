"""One shard under a mapping: a reader, and as many lanes as the parallelization factor says.

    reader --> lane by key --> batch --> course --invocation--> settled or given up --> checkpoint

The checkpoint is the end of the contiguous part that is settled or given up. Where lanes run ahead of it and the
mapping starts anew, what they did comes again: as on AWS.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from streamkit.core.positions import Position
from streamkit.testing.mapping.answers import UNHANDLED, verdict
from streamkit.testing.mapping.course import Course, Discard
from streamkit.testing.mapping.lanes import Lane, lane_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamkit.core.lineage import Shard
    from streamkit.core.positions import Place
    from streamkit.core.records import Record
    from streamkit.ports import Reader
    from streamkit.testing.mapping.answers import Verdict
    from streamkit.testing.mapping.course import Step
    from streamkit.testing.mapping.feeds import Entry
    from streamkit.testing.mapping.function import Outcome
    from streamkit.testing.mapping.terms import Terms

_INITIAL, _MAXIMUM = 0.5, 60.0
"""Seconds before the first retry, doubling. AWS documents none; recorded are 7 invocations in the first 60 s."""
_AHEAD = 10
"""So many full batches a lane are read ahead at most."""


class Desk(Protocol):
    """What a shard needs of its mapping."""

    terms: Terms

    async def invoke(self, shard: str, records: Sequence[Record]) -> Outcome:
        """Invoke the function with these records."""
        ...

    def entry(self, record: Record) -> Entry:
        """Return the record as it stands in an event."""
        ...

    def discarded(self, discard: Discard) -> None:
        """Send it to the on-failure destination."""
        ...

    def horizon(self) -> float:
        """Return the moment (epoch seconds) before which records are too old."""
        ...


class ShardRun:
    """Takes one shard from a place to its end, or until it is stopped."""

    def __init__(self, shard: Shard, reader: Reader, place: Place, desk: Desk) -> None:
        self.shard = shard
        self.place: Place = place
        """The checkpoint: everything up to here is settled or given up."""
        self.ended = False
        """Whether the shard is closed and all of it is settled or given up."""
        self.idle_since = float("-inf")
        """When the latest look at the shard began that found nothing new; while nothing waits, all is settled."""
        self._reader = reader
        self._desk = desk
        self._lanes = [Lane(desk.terms) for _ in range(desk.terms.parallelization_factor)]
        self._pending: dict[str, bool] = {}
        self._less = asyncio.Event()
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._invoking: set[int] = set()

    def __repr__(self) -> str:
        return f"<ShardRun {self.shard.id}, {len(self._pending)} records pending, checkpoint {self.place}>"

    @property
    def pending(self) -> int:
        """Records that were read and lie beyond the checkpoint."""
        return len(self._pending)

    async def run(self) -> None:
        """Read and invoke until the shard has ended or `stop` was called."""
        async with asyncio.TaskGroup() as group:
            self._tasks = [group.create_task(self._work(index, lane)) for index, lane in enumerate(self._lanes)]
            self._tasks.append(group.create_task(self._read()))

    def stop(self, *, abruptly: bool) -> None:
        """Start no further invocation; those under way are waited for, or, abruptly, left to themselves."""
        self._stopping.set()
        for index, task in enumerate(self._tasks):
            if abruptly or index not in self._invoking:
                task.cancel()

    # -- reading

    async def _read(self) -> None:
        """Read to the end of the shard, and wait until all of it is settled."""
        loop, terms = asyncio.get_running_loop(), self._desk.terms
        ended, most = False, _AHEAD * terms.batch_size * terms.parallelization_factor
        while not ended:
            began = loop.time()
            answer = await self._reader.read()
            for record in answer.records:
                self._pending[record.sequence_number] = False
                lane = lane_of(record.key, terms.parallelization_factor)
                self._lanes[lane].put(record, self._desk.entry(record))
            if not answer.records and not answer.behind:
                self.idle_since = began
            ended = answer.ended
            await self._until_fewer_than(most)
        await self._until_fewer_than(1)
        self.ended = True
        self.stop(abruptly=True)

    async def _until_fewer_than(self, count: int) -> None:
        while len(self._pending) >= count:
            self._less.clear()
            await self._less.wait()

    # -- invoking

    async def _work(self, index: int, lane: Lane) -> None:
        while not self._stopping.is_set():
            await self._follow(index, Course(await lane.batch(), self._desk.terms))

    async def _follow(self, index: int, course: Course) -> None:
        """Invoke until the batch is over."""
        failures = 0
        while not course.over and not self._stopping.is_set():
            expired = course.expired(self._desk.horizon())
            if expired.discard is not None:
                self._apply(expired)
                continue
            before = course.piece
            self._invoking.add(index)
            outcome = await self._desk.invoke(self.shard.id, before)
            self._invoking.discard(index)
            if outcome.counts:
                self._apply(course.ended(self._verdict(outcome, before)))
            stuck = course.piece == before
            failures = failures + 1 if stuck else 0
            if stuck and not self._stopping.is_set():
                await asyncio.sleep(min(_MAXIMUM, _INITIAL * 2 ** min(failures - 1, 10)))

    def _verdict(self, outcome: Outcome, records: Sequence[Record]) -> Verdict:
        if outcome.kind != "answered":
            return UNHANDLED
        numbers = [record.sequence_number for record in records]
        return verdict(outcome.answer, numbers, reports=self._desk.terms.report_batch_item_failures)

    def _apply(self, step: Step) -> None:
        """Count records as settled or given up, and move the checkpoint."""
        if step.discard is not None:
            self._desk.discarded(step.discard)
        for record in (*step.settled, *(step.discard.records if step.discard else ())):
            self._pending[record.sequence_number] = True
        for number, done in list(self._pending.items()):
            if not done:
                break
            del self._pending[number]
            self.place = Position(number)
        self._less.set()
