"""Processes for suspects in a simulation: what a record kills there is not the worker (rule 22).

worker                           ward, a home of its own, that is stopped and killed with its worker's
call, collect --- pipe --------> the handler
reads a table <-- pipe --------- ... of a transactional consumer
fell <--------------------------- killed by a record, or for an attempt that does not end
"""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from streamkit.core.records import Batch
from streamkit.engine.transaction import writes_of
from streamkit.runtimes.apart.ward import NoWard

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Sequence
    from typing import Any

    from streamkit.core.records import Record
    from streamkit.core.transactions import Write
    from streamkit.core.values import Image
    from streamkit.ports import Tables
    from streamkit.testing.simulation.book import Entry
    from streamkit.testing.simulation.fleet import Fleet
    from streamkit.testing.simulation.home import Home
    from streamkit.testing.simulation.mix import Mix
    from streamkit.testing.simulation.process import Process
    from streamkit.testing.simulation.referee import Sight

T = TypeVar("T")

FROM = 6_000_000
"""Seeds from here on have records that kill, and wards; those below keep their histories."""
_TRANSACTIONAL = 0.6
"""Of these seeds."""
_MISSED = 0.05
"""Of the wards cannot be had."""
_PIPE_SECONDS = 0.002
_DEATHS = 12
"""Of wards, by one record: one of 200 takes about four."""
SIGHT: ContextVar[Sight | None] = ContextVar("SIGHT", default=None)
"""What was to be seen when the worker asked for the handler that runs in a ward."""


def warded(mix: Mix) -> Mix:
    """Return the mix with killers and wards, and none of what would make of it another story."""
    rng = random.Random(f"warded {mix.seed}")
    kind = "transactional" if rng.random() < _TRANSACTIONAL else "async" if mix.kind == "thread" else mix.kind
    return replace(
        mix,
        kind=kind,
        killers=rng.choice((1, 1, 2)),
        wards=True,
        retention=None,
        uneven=False,
        stuck=0.0,
        aftermath=0.0,
        records=min(mix.records, 200),
        duration=min(mix.duration, 45.0),
        rates=replace(mix.rates, remakes=0, blackouts=0),
    )


class SimulatedWard:
    """A `Ward` of one process of a fleet."""

    def __init__(self, fleet: Fleet, process: Process) -> None:
        self._fleet = fleet
        self._process = process
        self._home: Home | None = None
        self._fell: Callable[[str, bool], None] | None = None
        self._late: list[asyncio.Future[Any]] = []
        """Answers that are waited for although their attempts were cancelled."""
        self._shards: set[str] = set()
        """Of what was handled here."""

    @asynccontextmanager
    async def opened(self, fell: Callable[[str, bool], None]) -> AsyncGenerator[None]:
        """Open it, after as long as a process takes. Raises `NoWard`."""
        fleet, process = self._fleet, self._process
        await asyncio.sleep(fleet.weather.rng.uniform(0.1, 1.0))
        if fleet.weather.happens(_MISSED):
            raise NoWard("exit status 2")
        home = self._home = fleet.loop.home(f"{process.name} ward")
        process.wards.append(home)
        fleet.processes[home], fleet.wards[home] = process, self
        self._fell = fell
        try:
            yield
        finally:
            self._fell = None
            self._end(home)

    async def call(self, subject: Record | Batch, *, until: Callable[[], float] | None = None) -> None:
        """Run the handler there; raises what it raises. Once the ward has died only a cancellation ends it."""
        del until  # its home stands still with the worker's, and nothing waits there
        handler: Any = self._fleet.consumer.handler
        await self._there(subject, lambda: handler(subject))

    async def collect(
        self, record: Record, tables: Tables, *, until: Callable[[], float] | None = None
    ) -> tuple[Write, ...]:
        """Run the handler there in a transaction; return what it wants written."""
        del until
        asked = _AskedTables(self._process.home, tables)
        handler: Any = self._fleet.consumer.handler
        return await self._there(record, lambda: writes_of(handler, record, asked))

    async def _there(self, subject: Record | Batch, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        assert self._home is not None  # noqa: S101 - it is open
        self._shards.add((subject[0] if isinstance(subject, Batch) else subject).shard)
        errand = _Errand(self._home, work, sight=self._fleet.referee.sight())
        errand.go()
        while not errand.answer.done():
            try:
                await asyncio.shield(errand.answer)
            except asyncio.CancelledError:
                if self._home.dead:
                    raise
                self._late.append(errand.answer)
                errand.cancel()
        return errand.answer.result()()

    def die_of(self, entry: Entry) -> None:
        """A record ends the ward. Few of them do before the record is found."""
        entry.failures += 1
        if entry.failures > _DEATHS:
            self._fleet.referee.violated("few deaths leave the killer alone", str(entry))
        self.kill("by a record")

    def kill(self, why: str) -> None:
        """End it, whatever runs there."""
        if self._home is None or self._home.dead:
            return
        process, fell = self._process, self._fell
        process.history.note(process.loop.time(), self._home.name, f"died: {why}")
        process.history.saw("ward killed")
        self._end(self._home)
        if fell is not None:
            process.loop.call_later(_PIPE_SECONDS, self._tell, fell, why, context=process.home.context.copy())

    def _tell(self, fell: Callable[[str, bool], None], why: str) -> None:
        """Let the worker know; whoever it has cancelled already waits for nothing any more."""
        fell(why, True)  # noqa: FBT003 - nothing else than an attempt ends one
        for answer in self._late:
            answer.cancel()

    def _end(self, home: Home) -> None:
        home.kill()
        for shard in self._shards:
            self._fleet.referee.bereft(self._process, shard)


class _Errand(Generic[T]):
    """A piece of work in another process, and the way there and back."""

    def __init__(self, home: Home, work: Callable[[], Coroutine[Any, Any, T]], *, sight: Sight | None = None) -> None:
        self.answer: asyncio.Future[Callable[[], T]] = home.loop.create_future()
        """Returns or raises what the work did."""
        self._home = home
        self._work = work
        self._sight = sight
        self._task: asyncio.Task[None] | None = None

    def go(self) -> None:
        """Send it."""
        self._home.loop.call_later(_PIPE_SECONDS, self._start, context=self._home.context.copy())

    def cancel(self) -> None:
        """Send after it that it is to be cancelled."""
        self._home.loop.call_later(_PIPE_SECONDS, self._cancel, context=self._home.context.copy())

    def _start(self) -> None:
        self._task = self._home.start(self._run(), name=f"{self._home.name} errand")

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        SIGHT.set(self._sight)
        try:
            outcome = partial(_returned, await self._work())
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the handler's, whatever it is
            outcome = partial(_raised, error)
        loop = self._home.loop
        loop.call_later(_PIPE_SECONDS, self._come_back, outcome, context=loop.world.context)

    def _come_back(self, outcome: Callable[[], T]) -> None:
        if not self.answer.done():
            self.answer.set_result(outcome)


def _returned(value: T) -> T:
    return value


def _raised(error: BaseException) -> Any:  # noqa: ANN401 - it never returns
    raise error


class _AskedTables:
    """The tables, as the worker reads them for a ward."""

    def __init__(self, home: Home, tables: Tables) -> None:
        self._home = home
        self._tables = tables

    async def read(self, table: str, key: Image, attributes: Collection[str] | None) -> Image | None:
        """Return an item, or its key and these attributes of it."""
        return await self._asked(lambda: self._tables.read(table, key, attributes))

    async def key_names(self, table: str) -> Sequence[str]:
        """Return the names of the attributes that make the table's key."""
        return await self._asked(lambda: self._tables.key_names(table))

    async def _asked(self, question: Callable[[], Coroutine[Any, Any, T]]) -> T:
        errand = _Errand(self._home, question)
        errand.go()
        return (await errand.answer)()
