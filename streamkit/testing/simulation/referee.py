"""The referee: knows what was put, sees every effect and every row, and says at once which promise was broken.

It looks from outside of all processes, at the moments at which things take effect. So it needs no trust in what the
consumers believe.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from streamkit.events import (
    CheckpointWritten,
    RecordsTrimmed,
    ShardFailed,
    ShardLost,
    ShardsOffered,
    ShardTaken,
    WorkerFenced,
)
from streamkit.testing.simulation.book import Book, Run
from streamkit.testing.simulation.keys import Events
from streamkit.testing.simulation.letters import Letters
from streamkit.testing.simulation.modes import Exact, expect_first
from streamkit.testing.simulation.repeats import Repeats
from streamkit.testing.simulation.roll import Roll

if TYPE_CHECKING:
    from streamkit.core.leasing import ShardRow
    from streamkit.core.letters import Letter
    from streamkit.core.records import Record
    from streamkit.events import Event
    from streamkit.testing.memory import MemoryTable
    from streamkit.testing.simulation.book import Entry
    from streamkit.testing.simulation.history import History
    from streamkit.testing.simulation.loop import FleetLoop
    from streamkit.testing.simulation.mix import Mix
    from streamkit.testing.simulation.process import Process
    from streamkit.testing.simulation.site import Site


class Sight(NamedTuple):
    """The rows, and what each process believed to hold, at one moment."""

    rows: dict[str, ShardRow]
    held: dict[tuple[str, str], int]


class Referee:
    """Watches one simulation."""

    def __init__(self, mix: Mix, loop: FleetLoop, history: History, table: MemoryTable, site: Site) -> None:
        self.mix = mix
        self.violation: str | None = None
        self.book = Book(loop.time, site.lineage, retention=mix.retention)
        self.repeats = Repeats(mix, self.book, history, violated=self.violated)
        self.exact = Exact(self)
        self.events = Events(self)
        self.roll = Roll(mix, loop.time, history, violated=self.violated)
        self.letters = Letters(mix, self.book, violated=self.violated)
        self._loop = loop
        self._history = history
        self._table = table
        self._site = site
        self._in_order: dict[str, int] = defaultdict(int)
        self._passed: dict[str, int] = defaultdict(int)
        self._held: dict[tuple[str, str], int] = {}
        self._durable: dict[tuple[str, str], str | None] = {}
        self._open: dict[tuple[str, str], list[Run]] = defaultdict(list)

    # -- verdicts

    def violated(self, promise: str, what: str) -> None:
        """Stop everything: a promise was broken."""
        if self.violation is None:
            self.violation = f"{promise}: {what}"
            self._history.note(self._loop.time(), "referee", f"VIOLATED {self.violation}")
            self._loop.halt()

    def _note(self, who: str, what: str) -> None:
        self._history.note(self._loop.time(), who, what)

    # -- what is put

    def put(self, record: Record, behaviour: str) -> None:
        """A producer put a record."""
        self._note("producer", f"put {self.book.put(record, behaviour)}")

    # -- what handlers do

    def sight(self) -> Sight:
        """Return what the engine starts a handler upon: threads begin their work later."""
        return Sight(dict(self._table.shard_rows), dict(self._held))

    def handed(self, process: Process, record: Record, sight: Sight) -> ShardRow:
        """The engine started a handler, with this record first: it must have held the lease at that very moment.

        Return the row of its shard as it was then.
        """
        row, epoch = sight.rows[record.shard], sight.held.get((process.name, record.shard), -1)
        entry = self.book.of(record)
        if row.epoch != epoch or self.roll.owner(row) is not process:
            self.violated(
                "no handler starts under a stale epoch",
                f"{entry} by {process.name} with epoch {epoch}, while it is {self.told(row)}",
            )
        if entry.behaviour == "strange":
            self.violated("another stream of the same name is left alone", f"{record.shard} read by {process.name}")
        parents = self._site.lineage.get(record.shard, ())
        if len(parents) > 1:
            self._history.saw("read the child of a merge")
        for parent in parents:
            above = sight.rows.get(parent)
            if (above is None or above.state != "ended") and parent in {shard.id for shard in self._site.listed()}:
                self.violated("no child before its parents", f"a record of {record.shard} while {parent} is {above!r}")
        return row

    def began(self, process: Process, record: Record, row: ShardRow, *, handed: float | None = None) -> Run:
        """A handler that was started at this time, when its shard's row was like this, turns to a record."""
        entry, now = self.book.of(record), self._loop.time()
        run = Run(process, row.epoch, now if handed is None else handed, now)
        self._note(process.name, f"starts {entry}, epoch {run.epoch}")
        if any(earlier.process is process and (earlier.ended is None or earlier.ended > now) for earlier in entry.runs):
            self.violated("an attempt ends before the next begins", f"{entry} by {process.name}")
        if self.mix.kind == "at_most_once":
            expect_first(self, entry)
        if entry.effects:
            self.repeats.judge(entry, run, row)
        entry.runs.append(run)
        for other in self._under_way(process, entry.shard):
            if other.epoch != run.epoch:
                self.violated("one lease at a time", f"{entry} by {process.name} beside an attempt of {other.epoch}")
        self._open[process.name, entry.shard].append(run)
        return run

    def _under_way(self, process: Process, shard: str) -> list[Run]:
        """Return the attempts that have not ended."""
        now, key = self._loop.time(), (process.name, shard)
        self._open[key] = [run for run in self._open[key] if run.under_way(now)]
        return self._open[key]

    def effect(self, process: Process, record: Record, run: Run) -> None:
        """A handler's effect takes place."""
        run.effect = self._loop.time()
        self.took_effect(process, self.book.of(record))

    def took_effect(self, process: Process, entry: Entry) -> None:
        """A record's effect takes place."""
        self._note(process.name, f"effect of {entry}{' again' if entry.effects else ''}")
        if self.mix.keyed:
            self.events.took_effect(entry)
        if not entry.effects:
            self._first(entry)
        entry.effects += 1

    def _first(self, entry: Entry) -> None:
        entries = self.book.by_key[entry.key]
        at = self._in_order[entry.key]
        while at < len(entries) and entries[at] is not entry and self.book.accounted(entries[at]):
            at += 1
        self._in_order[entry.key] = at
        if at < len(entries) and entries[at].number < entry.number and entries[at] is not entry:
            self.violated("order per key", f"{entry} took effect before {entries[at]}")

    def ended(self, process: Process, record: Record, run: Run, error: BaseException | None = None) -> None:
        """A handler ends: well, or with an error."""
        run.ended = self._loop.time()
        run.error = error
        self.letters.ended(self.book.of(record), run)
        if error is not None:
            self._note(process.name, f"fails {self.book.of(record)}")

    def bereft(self, process: Process, shard: str) -> None:
        """What ran the handlers of a shard, apart from its worker, is no more: none of them goes on."""
        for run in self._under_way(process, shard):
            run.ended, run.error = self._loop.time(), CancelledError()

    # -- dead letters

    def lettered(self, process: Process, letter: Letter) -> None:
        """A letter is durable."""
        entry = self.book.of(letter.record)
        condition = letter.verdict.condition
        self._note(process.name, f"letter of {entry}: {condition}")
        self._history.saw(f"letter {condition}")
        again = entry.letter is not None and self.book.forgotten(self._table.shard_rows[entry.shard], entry)
        entry.letter = condition
        if self.mix.kind == "transactional":
            self.exact.lettered(process, entry)
        self.letters.judge(entry, letter, process, again=again)

    # -- rows

    def wrote(self, process: Process, before: ShardRow | None, row: ShardRow, *, take: bool) -> None:
        """A write to a shard's row took effect."""
        assert before is not None  # noqa: S101 - its condition held
        self._note(process.name, f"{'take' if take else 'write'} {self.told(row)}")
        if take:
            self._took(process, before, row)
            return
        if self.roll.owner(before) is not process or row.epoch != before.epoch:
            self.violated("no write by a stale epoch", f"{process.name} made {self.told(before)} {self.told(row)}")
        self._moved(before, row)
        frontier = row.progress.frontier
        self._durable[process.name, row.id] = frontier.sequence_number if frontier else None
        if row.owner is None:
            self.repeats.released.add((row.id, row.epoch))
            if self._under_way(process, row.id):
                self.violated("no shard is let go while an attempt runs", f"{row.id} by {process.name}")
        if row.state != "open":
            self.roll.stirred()
        if row.state == "ended" and not all(map(self.book.accounted, self.book.log[row.id])):
            self.violated("nothing is lost", f"{row.id} ended before all its records were settled")
        if row.state == "ended" and not self._site.closed(row.id):
            self.violated("only a closed shard ends", f"{row.id}, by {process.name}")

    def _took(self, process: Process, before: ShardRow, row: ShardRow) -> None:
        self.roll.took(process, row)
        if before.owner != row.owner:
            self.letters.took(before)
        if before.owner == row.owner:
            self._history.saw("retook what a lost answer left")
        if row.progress.done:
            self._history.saw("took over what ran ahead")
        if before.prefers is not None:
            self._history.saw("took what was released for it" if before.prefers == row.owner else "took another's")
        if row.epoch != before.epoch + 1 or row.progress != before.progress:
            self.violated("a take raises the epoch and nothing else", f"{before!r} became {row!r}")
        previous = self._table.worker_rows.get(before.owner) if before.owner else None
        if previous is not None and before.owner != row.owner and previous.state == "alive":
            self.violated("the living keep their shards", f"{process.name} took {self.told(before)}")

    def _moved(self, before: ShardRow, row: ShardRow) -> None:
        was, now = before.progress.frontier, row.progress.frontier
        if was is not None and (now is None or int(now.sequence_number) < int(was.sequence_number)):
            self.violated("the frontier never moves back", f"{before!r} became {row!r}")
        self._pass(row)
        if now is not None:
            self.book.moved(row.id)
        for entry in self.book.dropped(before, row):
            self.violated("a checkpoint forgets nothing", f"{entry} is no longer done in {row!r}")
        for entry in self.book.done(row):
            if not self.book.accounted(entry):
                self.violated("nothing is lost", f"a done bit of {row.id} names {entry}, which is not settled")

    def _pass(self, row: ShardRow) -> None:
        for entry in self.book.log[row.id][self._passed[row.id] : self.book.passed(row)]:
            if not self.book.accounted(entry):
                self.violated("nothing is lost", f"the frontier of {row.id} passed {entry}, which is not settled")
        self._passed[row.id] = self.book.passed(row)

    def born(self, process: Process, child: ShardRow) -> None:
        """A child's row was made with its parent's end."""
        self._note(process.name, f"made the row of {child.id[-4:]}")

    def told(self, row: ShardRow) -> str:
        """Tell a row with the names of processes."""
        owner = self.roll.owner(row)
        holder = owner.name if owner else "nobody" if row.owner is None else "somebody"
        frontier = row.progress.frontier
        at = str(row.start)[:10]
        if frontier is not None:
            at = str(self.book.log[row.id][self.book.passed(row) - 1].number)
        ahead = sum(byte.bit_count() for byte in row.progress.done)
        return (
            f"{row.id[-4:]} of {holder}, {row.state}, epoch {row.epoch}, revision {row.revision}, "
            f"at {at}{f' and {ahead} ahead' if ahead else ''}"
        )

    # -- workers

    def owns(self, process: Process) -> bool:
        """Say whether a process has a shard to read, by the rows."""
        rows = self._table.shard_rows.values()
        return any(row.state == "open" and self.roll.owner(row) is process for row in rows)

    def kept_by_the_left(self, row: ShardRow) -> bool:
        """Say whether a worker that left in good order still has a shard that it knew it held, and could release."""
        process = self.roll.owner(row)
        if row.owner is None or process is None or self._table.worker_rows[row.owner].state != "left":
            return False
        return self._held.get((process.name, row.id)) == row.epoch and not self._outlasted(process, row.id)

    def _outlasted(self, process: Process, shard: str) -> bool:
        """Say whether an attempt went on until there was no time left to release the shard after the drain."""
        late = process.over_at - 10 * self.mix.latency
        return any(run.under_way(late) for run in self._open[process.name, shard])

    def _lost(self, process: Process, event: ShardLost | WorkerFenced) -> None:
        """A process knows that it has lost a shard, or all it held."""
        for (name, shard), epoch in self._held.items():
            if name == process.name and (isinstance(event, WorkerFenced) or event.shard == shard):
                self.repeats.lost(process, shard, epoch)

    def event(self, process: Process, event: Event) -> None:
        """A process reports an event."""
        self._history.saw(event.name)
        if isinstance(event, ShardTaken):
            self._held[process.name, event.shard] = event.epoch
        elif isinstance(event, ShardsOffered):
            self.roll.offered(process, event)
        elif isinstance(event, CheckpointWritten):
            if self._durable.get((process.name, event.shard), "") != event.frontier:
                self.violated(
                    "what is called written is durable", f"{event.shard} at {event.frontier} by {process.name}"
                )
        elif isinstance(event, RecordsTrimmed):
            self.book.gaps.append(event)
            self._note(process.name, f"reports a gap in {event.shard[-4:]}")
        elif isinstance(event, (ShardLost, WorkerFenced)):
            self._lost(process, event)
        elif isinstance(event, ShardFailed):
            self.violated("no loop breaks", f"{event.error} at {event.where}, {event.shard} by {process.name}")
