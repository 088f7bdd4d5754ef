"""The services, as one process sees them: requests travel, effects take place outside of every process."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from streamkit.errors import Undelivered
from streamkit.ports import Ports, Rows
from streamkit.testing.memory import MemoryTable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from streamkit.consumer import Consumer
    from streamkit.core.leasing import Member, ShardRow
    from streamkit.core.letters import Letter
    from streamkit.core.transactions import Write as Item
    from streamkit.ports import Registration, Report
    from streamkit.testing.memory.table import Write
    from streamkit.testing.simulation.process import Process
    from streamkit.testing.simulation.referee import Referee
    from streamkit.testing.simulation.site import Site
    from streamkit.testing.simulation.weather import Weather

T = TypeVar("T")


class TableView(MemoryTable):
    """The one table, over the wire of one process. Conditions and effects are `MemoryTable`'s own."""

    def __init__(self, table: MemoryTable, process: Process, referee: Referee) -> None:
        super().__init__()
        self._table = table
        self._process = process
        self._referee = referee
        self.shard_rows = table.shard_rows
        self.worker_rows = table.worker_rows
        self.items = table.items

    async def _asked(self, method: str) -> None:
        await self._process.leave(method)
        self._process.refused(method)

    async def _travel(self) -> None:
        await asyncio.sleep(self._process.weather.way())

    async def _written(self, method: Write, effect: Callable[[], T]) -> T:
        return await self._process.tell(method, effect)

    def _register(self, wanted: Registration) -> Registration:
        found = self._table._register(wanted)  # noqa: SLF001 - of the same class
        self._referee.book.registered(found)
        return found

    def _take(self, seen: ShardRow, wanted: ShardRow) -> ShardRow:
        before = self.shard_rows.get(seen.id)
        taken = super()._take(seen, wanted)
        self._referee.wrote(self._process, before, taken, take=True)
        return taken

    async def write(self, held: ShardRow, wanted: ShardRow, *, children: Sequence[ShardRow] = ()) -> None:
        """Replace the row, or try to: the referee takes note of each attempt."""
        self._referee.repeats.tried(self._process, held.id)
        await super().write(held, wanted, children=children)

    def _write(self, held: ShardRow, wanted: ShardRow, children: Sequence[ShardRow]) -> None:
        before = self.shard_rows.get(held.id)
        if before is not None and before.token == wanted.token:
            self._process.history.saw("sent a write again that was applied")
        new = [child for child in children if child.id not in self.shard_rows]
        super()._write(held, wanted, children)
        self._referee.wrote(self._process, before, wanted, take=False)
        for child in new:
            self._referee.born(self._process, child)

    def _commit(self, held: ShardRow, wanted: ShardRow, writes: Sequence[Item]) -> None:
        before = self.shard_rows.get(held.id)
        if before is not None and before.token == wanted.token:
            self._process.history.saw("sent a transaction again that was applied")
        if before is not None and self._is_as_held(held) and not self.items.objections(writes):
            self._referee.exact.committed(self._process, before, writes)
        super()._commit(held, wanted, writes)

    def _add(self, rows: Sequence[ShardRow]) -> None:
        super()._add(rows)
        self._referee.book.snapshot()

    def _join(self, member: Member) -> None:
        new = member.worker not in self.worker_rows
        super()._join(member)
        if new:
            self._referee.roll.joined(self._process, member)

    def _beat(self, member: Member) -> None:
        row = self.worker_rows.get(member.worker)
        if row is None or row.state != "alive":
            self._process.history.saw("heartbeat of the dead refused")
        super()._beat(member)
        self._referee.roll.beat(self._process, member, before=row)

    def _bury(self, seen: Member) -> bool:
        alive = self.worker_rows.get(seen.worker)
        dead = super()._bury(seen)
        if dead and alive is not None and alive.state == "alive":
            self._referee.roll.buried(self._process, seen)
        return dead

    def _forget(self, seen: Member) -> None:
        row = self.worker_rows.get(seen.worker)
        super()._forget(seen)
        if row is not None and seen.worker not in self.worker_rows:
            self._referee.roll.forgotten(self._process, row)


class Outbox:
    """The dead-letter queue, over the wire of one process."""

    def __init__(self, process: Process, weather: Weather, referee: Referee) -> None:
        self._process = process
        self._weather = weather
        self._referee = referee

    async def send(self, letters: Sequence[Letter]) -> None:
        """Keep the letters, some of them, or keep them and lose the answer."""
        weather, process = self._weather, self._process

        def effect() -> list[Letter]:
            if weather.queue_down:
                process.history.saw("queue down")
                return list(letters)
            refused = [each for each in letters if weather.rng.random() < weather.rates.refused_letters]
            for letter in letters:
                if letter not in refused:
                    self._referee.lettered(process, letter)
            if refused:
                process.history.saw("letters refused")
            return refused

        refused = await process.tell("send", effect, lossy=False)
        if refused:
            raise Undelivered(refused, "refused")
        if weather.rng.random() < weather.rates.lost:
            process.history.saw("answer lost: send")
            raise Undelivered(letters, "the answer was lost")


class ProcessWorld:
    """Opens the ports of one process: a `streamkit.runtimes.world.World`."""

    threaded = False
    """Heartbeats are tasks: a fleet has one loop."""

    def __init__(self, process: Process, site: Site, table: MemoryTable, referee: Referee) -> None:
        self._process = process
        self._site = site
        self._view = TableView(table, process, referee)
        self._referee = referee

    @asynccontextmanager
    async def open(self, consumer: Consumer, report: Report) -> AsyncGenerator[Ports, None]:  # noqa: ARG002 - there is one
        """Open the stream, the table and the queue."""
        yield Ports(
            source=self._site.source(self._process, report),
            registry=self._view,
            dead_letters=Outbox(self._process, self._process.weather, self._referee),
        )

    @asynccontextmanager
    async def rows(self, consumer: Consumer, registration: Registration) -> AsyncGenerator[Rows, None]:  # noqa: ARG002
        """Open the rows; there are those of one registration."""
        ledger = self._referee.events.view(self._process) if consumer.dedupe_key else None
        yield Rows(leases=self._view, members=self._view, ledger=ledger, tables=self._view)
