"""The event source mapping: read this first.

It looks for shards, takes each from its checkpoint on once its parents are at their end, and invokes the function; and
it keeps a record of all it did, for the test to look at.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Literal, Self

import msgspec

from streamkit.errors import WorldError
from streamkit.testing.mapping.documents import document
from streamkit.testing.mapping.feeds import Entry
from streamkit.testing.mapping.function import Outcome, request_id
from streamkit.testing.mapping.shards import ShardRun
from streamkit.testing.mapping.terms import Terms
from streamkit.testing.time import SeededChance, VirtualClock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from streamkit.core.lineage import Shard, Stream
    from streamkit.core.positions import Place
    from streamkit.core.records import Record
    from streamkit.testing.mapping.course import Discard
    from streamkit.testing.mapping.feeds import Feed
    from streamkit.testing.mapping.function import LambdaFunction

_LISTING_SECONDS = 5.0
_GLANCE_SECONDS = 0.5
_AGES = timedelta(days=8)

State = Literal["Enabled", "Disabled"]


class Invocation(msgspec.Struct, frozen=True):
    """One invocation that the mapping made. Times in virtual seconds."""

    shard: str
    numbers: tuple[str, ...]
    """The sequence numbers of its records."""
    began: float
    ended: float
    outcome: Outcome
    heard: bool
    """Whether the mapping went by this outcome; of twins it is one."""


class EventSourceMapping:
    """Polls a feed and invokes a function, as Lambda does, while its context is open.

    `invocations`, `discards` (the on-failure documents) and `deliveries` (how often each sequence number reached the
    function) grow with what happens.
    """

    def __init__(self, feed: Feed, function: LambdaFunction, terms: Terms | None = None) -> None:
        self.terms = terms or Terms()
        self.function = function
        self.state: State = "Disabled"
        self.invocations: list[Invocation] = []
        self.discards: list[Entry] = []
        self.given_up: list[Discard] = []
        """What the documents in `discards` are about, with the records."""
        self.deliveries: Counter[str] = Counter()
        self.places: dict[str, Place] = {}
        """The checkpoints of shards that are not at their end."""
        self._feed = feed
        self._stream: Stream | None = None
        self._clock = VirtualClock()
        self._chance = SeededChance().fork("mapping")
        self._runs: dict[str, ShardRun] = {}
        self._ended: set[str] = set()
        self._looked: float = float("-inf")
        self._stack = AsyncExitStack()
        self._changed = asyncio.Event()
        self._polling: asyncio.Task[None] | None = None
        self._group: asyncio.TaskGroup

    def __repr__(self) -> str:
        state, runs = self.state, len(self._runs)
        return f"<EventSourceMapping, {state}, {runs} shards, {len(self.invocations)} invocations>"

    async def __aenter__(self) -> Self:
        """Start polling."""
        self._group = await self._stack.enter_async_context(asyncio.TaskGroup())
        self._stream = await self._feed.source.identify()
        self.enable()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """Stop polling; invocations under way are waited for. An error of the test's own goes on as it is."""
        await self.disable(abruptly=True)
        try:
            return await self._stack.__aexit__(kind, error, traceback)
        except BaseExceptionGroup as group:
            if error is not None and group.exceptions == (error,):
                return False
            raise

    # -- what an operator does

    def enable(self) -> None:
        """Poll, from the checkpoints on."""
        if self._polling is None:
            self.state = "Enabled"
            self._polling = self._group.create_task(self._poll())

    async def disable(self, *, abruptly: bool = False) -> None:
        """Stop polling. Invocations under way are waited for, or, abruptly, forgotten while they run on."""
        polling, self._polling = self._polling, None
        self.state = "Disabled"
        if polling is None:
            return
        polling.cancel()
        for run in self._runs.values():
            run.stop(abruptly=abruptly)
        while self._runs:
            await self._change()

    async def settled(self, *, within: timedelta = _AGES) -> None:
        """Wait until everything that is in the stream now was settled or given up. Raises `TimeoutError`.

        By default it waits for longer than any bad record can block a shard.
        """
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(within.total_seconds()):
            while not self._settled_since(began):  # noqa: ASYNC110 - in virtual time a glance costs nothing
                await asyncio.sleep(_GLANCE_SECONDS)

    def _settled_since(self, moment: float) -> bool:
        runs = self._runs.values()
        return self._looked > moment and all(not run.pending and run.idle_since > moment for run in runs)

    # -- shards

    async def _poll(self) -> None:
        while True:
            began = asyncio.get_running_loop().time()
            try:
                shards = await self._feed.source.shards()
            except WorldError:
                shards = ()
            else:
                self._start({shard.id: shard for shard in shards})
                self._looked = began
            await self._change(within=_LISTING_SECONDS)

    def _start(self, listed: dict[str, Shard]) -> None:
        """Run every shard whose parents are at their end, or gone."""
        for shard in listed.values():
            waiting = any(parent in listed and parent not in self._ended for parent in shard.parents)
            if shard.id in self._runs or shard.id in self._ended or waiting:
                continue
            place = self.places.get(shard.id, "TRIM_HORIZON")
            run = ShardRun(shard, self._feed.source.reader(shard, place), place, self)
            self._runs[shard.id] = run
            self._group.create_task(self._live(run))

    async def _live(self, run: ShardRun) -> None:
        """Run a shard; remember how far it came."""
        await run.run()
        self._runs.pop(run.shard.id)
        self._looked = float("-inf")  # its children are not known yet
        if run.ended:
            self._ended.add(run.shard.id)
            self.places.pop(run.shard.id, None)
        else:
            self.places[run.shard.id] = run.place
        self._changed.set()

    async def _change(self, *, within: float | None = None) -> None:
        """Wait until a shard has ended or stopped."""
        self._changed.clear()
        try:
            async with asyncio.timeout(within):
                await self._changed.wait()
        except TimeoutError:
            return

    # -- what shards ask for

    def entry(self, record: Record) -> Entry:
        """Return the record as it stands in an event."""
        return self._feed.entry(record, self._feed.arn(self._known()))

    def horizon(self) -> float:
        """Return the moment (epoch seconds) before which records are too old."""
        return self._clock.now().timestamp() - self.terms.oldest(self._known().retention).total_seconds()

    def discarded(self, discard: Discard) -> None:
        """Keep the on-failure document."""
        self.given_up.append(discard)
        found = document(
            discard,
            self._feed,
            stream_arn=self._feed.arn(self._known()),
            function_arn=self.function.arn,
            request_id=request_id(self._chance),
            at=self._clock.now().timestamp(),
        )
        self.discards.append(found)

    async def invoke(self, shard: str, records: Sequence[Record]) -> Outcome:
        """Invoke the function, now and then twice at once; return the outcome that counts."""
        faults, loop = self.function.faults, asyncio.get_running_loop()
        numbers = tuple(record.sequence_number for record in records)
        event: Entry = {"Records": [self.entry(record) for record in records]}
        heard: asyncio.Future[Outcome] = loop.create_future()
        twin = faults.twins > 0 and self._chance.fraction() < faults.twins
        first_counts = not twin or self._chance.fraction() < 0.5  # noqa: PLR2004 - either of two
        run = partial(self._invoke, shard, numbers, event)
        first = self._group.create_task(run(heard if first_counts else None))
        if twin:
            delay = faults.within.total_seconds() * self._chance.fraction()
            self._group.create_task(run(None if first_counts else heard, first, delay))
        return await heard

    async def _invoke(
        self,
        shard: str,
        numbers: tuple[str, ...],
        event: Entry,
        heard: asyncio.Future[Outcome] | None,
        twin: asyncio.Task[None] | None = None,
        delay: float = 0.0,
    ) -> None:
        """Invoke once, whoever still waits for it; beside its twin, after a delay, and no later than that one ends."""
        loop = asyncio.get_running_loop()
        if twin is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await asyncio.shield(twin)
        began = loop.time()
        outcome = await self.function.invoke(event)
        if outcome.kind not in ("throttled", "too large"):
            self.deliveries.update(numbers)
        told = heard is not None and not heard.done()
        self.invocations.append(Invocation(shard, numbers, began, loop.time(), outcome, told))
        if heard is not None and not heard.done():
            heard.set_result(outcome)

    def _known(self) -> Stream:
        if self._stream is None:
            raise RuntimeError("expected an open mapping (async with), got one that was never opened")
        return self._stream
