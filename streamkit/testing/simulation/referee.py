"""The referee: knows what was put, sees every effect and every row, and says at once which promise was broken.

It looks from outside of all processes, at the moments at which things take effect. So it needs no trust in what the
consumers believe.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamkit.core.leasing import KEPT_SECONDS, SUSPICION, ShardRow
from streamkit.core.positions import Since
from streamkit.events import CheckpointWritten, RecordsTrimmed, ShardFailed, ShardsOffered, ShardTaken
from streamkit.testing.time import START

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamkit.core.leasing import Member
    from streamkit.core.letters import Letter
    from streamkit.core.records import Record
    from streamkit.events import Event
    from streamkit.ports import Registration
    from streamkit.testing.memory import MemoryTable
    from streamkit.testing.simulation.history import History
    from streamkit.testing.simulation.loop import FleetLoop
    from streamkit.testing.simulation.mix import Mix
    from streamkit.testing.simulation.process import Process


class Violation(AssertionError):
    """A promise was broken."""


_PATIENCE_WITH_MOVES = 3
"""Hand-overs of one shard, by rates that are only just being measured, while no worker or shard comes or goes."""


@dataclass(slots=True)
class Run:
    """One call of the handler for one record."""

    process: Process
    epoch: int
    handed: float
    """When the engine started the handler, for this record or a batch with it."""
    began: float
    effect: float | None = None
    ended: float | None = None
    fine: bool = False


@dataclass(slots=True)
class Entry:
    """One record that was put."""

    number: int
    key: str
    shard: str
    sequence: int
    arrived: float
    behaviour: str
    required: bool = True
    effects: int = 0
    letter: str | None = None
    failures: int = 0
    runs: list[Run] = field(default_factory=list[Run])

    @property
    def settled(self) -> bool:
        """Say whether it took effect, is a dead letter, or does not matter."""
        return self.effects > 0 or self.letter is not None or not self.required

    def __str__(self) -> str:
        return f"record {self.number} (key {self.key}, {self.shard[-4:]}, {self.behaviour})"


class Referee:
    """Watches one simulation."""

    def __init__(
        self, mix: Mix, loop: FleetLoop, history: History, table: MemoryTable, listed: Callable[[], set[str]]
    ) -> None:
        """`listed` tells the ids of the shards that the service still has."""
        self.mix = mix
        self.violation: str | None = None
        self.entries: list[Entry] = []
        self.open = 0
        """Required records that are not settled."""
        self.repeats = 0
        self.lineage: dict[str, tuple[str, ...]] = {}
        self._loop = loop
        self._history = history
        self._table = table
        self._listed = listed
        self._by_key: dict[str, list[Entry]] = defaultdict(list)
        self._in_order: dict[str, int] = defaultdict(int)
        self._log: dict[str, list[Entry]] = defaultdict(list)
        self._sequences: dict[str, list[int]] = defaultdict(list)
        self._passed: dict[str, int] = defaultdict(int)
        self._bodies: dict[str, Process] = {}
        self._held: dict[tuple[str, str], int] = {}
        self._durable: dict[tuple[str, str], str | None] = {}
        self._beaten: dict[str, float] = {}
        self._gaps: list[RecordsTrimmed] = []
        self._gone: dict[str, float] = {}
        """When a worker left or was declared dead."""
        self._offers = Counter[str]()
        """How often each shard was handed over since a worker or a shard came or went."""
        self._start: float | None = None
        self._registered = False
        self._found = 0.0
        """When the first rows were made: epoch seconds."""
        self._released: set[tuple[str, int]] = set()
        self._longest_thread = 2 * mix.timeout
        self._bits_dropped = mix.retention is not None

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
        entry = Entry(int(record.data), record.key, record.shard, record.sequence, record.arrived, behaviour)
        entry.required = not self._registered or self._start is None or entry.arrived >= self._start
        self.entries.append(entry)
        self._by_key[record.key].append(entry)
        self._log[record.shard].append(entry)
        self._sequences[record.shard].append(entry.sequence)
        self.open += entry.required
        self._note("producer", f"put {entry}")

    def registered(self, found: Registration) -> None:
        """The consumer's first snapshot: what arrived before its start does not matter."""
        if self._registered:
            return
        self._registered = True
        if isinstance(found.start, Since):
            self._start = found.start.epoch
            for entry in self.entries:
                if entry.arrived < self._start and entry.required:
                    self.open -= not entry.settled
                    entry.required = False

    # -- what handlers do

    def handed(self, process: Process, record: Record) -> ShardRow:
        """The engine starts a handler, with this record first: it must hold the lease at this very moment.

        Return the row of its shard as it is then.
        """
        row, epoch = self._table.shard_rows[record.shard], self._held.get((process.name, record.shard), -1)
        if row.epoch != epoch or row.owner is None or self._bodies.get(row.owner) is not process:
            self.violated(
                "no handler starts under a stale epoch",
                f"{self.entries[int(record.data)]} by {process.name} with epoch {epoch}, while it is {self.told(row)}",
            )
        parents = self.lineage.get(record.shard, ())
        if len(parents) > 1:
            self._history.saw("read the child of a merge")
        for parent in parents:
            above = self._table.shard_rows.get(parent)
            if (above is None or above.state != "ended") and parent in self._listed():
                self.violated("no child before its parents", f"a record of {record.shard} while {parent} is {above!r}")
        return row

    def began(self, process: Process, record: Record, row: ShardRow | None, *, handed: float | None = None) -> Run:
        """A handler that was started at this time, when its shard's row was like this (if known), turns to a record."""
        entry = self.entries[int(record.data)]
        epoch = self._held.get((process.name, record.shard), -1)
        now = self._loop.time()
        run = Run(process, epoch, now if handed is None else handed, now)
        self._note(process.name, f"starts {entry}, epoch {epoch}")
        if any(self._overlaps(earlier, run) for earlier in entry.runs):
            self.violated("an attempt ends before the next begins", f"{entry} by {process.name}")
        if entry.effects:
            self._repeated(entry, run, row)
        entry.runs.append(run)
        return run

    def _overlaps(self, earlier: Run, run: Run) -> bool:
        mine = earlier.process is run.process and earlier.epoch == run.epoch
        return mine and (earlier.ended is None or earlier.ended > run.began)

    def _repeated(self, entry: Entry, run: Run, row: ShardRow | None) -> None:
        self.repeats += 1
        self._history.saw("repeat")
        fine = [each for each in entry.runs if each.fine and (each.ended or 0.0) <= run.handed]
        if not fine or self._thawed(run):
            return
        last = fine[-1]
        if (last.ended or 0.0) > last.process.cut_at:
            self._history.saw("repeat after the grace")
            return
        if last.epoch == run.epoch and last.process is run.process:
            self.violated("no repeat under one lease", f"{entry} twice by {run.process.name}, epoch {run.epoch}")
        elif row is not None and self._covers(row, entry):
            if not self._bits_dropped:  # as they are where the first record after the frontier was trimmed (rule 17)
                self.violated("no repeat of what a checkpoint covers", f"{entry} again by {run.process.name}: {row!r}")
        elif (entry.shard, last.epoch) in self._released:
            self.violated("no repeat after a hand-over", f"{entry} by {last.process.name}, then {run.process.name}")
        else:
            self._within_budget(entry, last)

    def _thawed(self, run: Run) -> bool:
        """Say whether this is a thread that was started before its process was stopped."""
        threads = self.mix.kind == "thread"
        return threads and any(until >= run.began - self._longest_thread for _, until in run.process.stops)

    def _within_budget(self, entry: Entry, last: Run) -> None:
        rates = self.mix.rates
        if rates.throttled or rates.lost or rates.late or rates.slow or rates.table_outages:
            return
        end = last.process.gone_at
        stops = [at for at, until in last.process.stops if until >= last.began - self._longest_thread]
        ends = [each for each in (end, *stops[:1]) if each is not None]
        if not ends:
            self.violated("no repeat without a cause", f"{entry}, handled by {last.process.name}")
        elif min(ends) - (last.ended or 0.0) > self.mix.interval + 10 * self.mix.latency + 0.5:
            self.violated(
                "a crash repeats at most one interval",
                f"{entry}, handled {min(ends) - (last.ended or 0.0):.3f} s before the end of {last.process.name}",
            )

    def _covers(self, row: ShardRow, entry: Entry) -> bool:
        progress = row.progress
        if progress.frontier is not None and entry.sequence <= int(progress.frontier.sequence_number):
            return True
        return entry in self._done(row)

    def _done(self, row: ShardRow) -> list[Entry]:
        """Return the entries that the row's done bits name."""
        progress = row.progress
        if not progress.done or progress.first is None:
            return []
        start = bisect_left(self._sequences[row.id], int(progress.first.sequence_number))
        bits = int.from_bytes(progress.done, "little")
        log = self._log[row.id]
        return [log[start + i] for i in range(bits.bit_length()) if bits >> i & 1]

    def effect(self, process: Process, record: Record, run: Run) -> None:
        """A handler's effect takes place."""
        entry = self.entries[int(record.data)]
        run.effect = self._loop.time()
        self._note(process.name, f"effect of {entry}{' again' if entry.effects else ''}")
        if not entry.effects:
            self._first(entry)
        entry.effects += 1

    def _first(self, entry: Entry) -> None:
        if not entry.settled:
            self.open -= 1
        entries = self._by_key[entry.key]
        at = self._in_order[entry.key]
        while at < len(entries) and entries[at] is not entry and (entries[at].settled or self._trimmed(entries[at])):
            at += 1
        self._in_order[entry.key] = at
        if at < len(entries) and entries[at].number < entry.number and entries[at] is not entry:
            self.violated("order per key", f"{entry} took effect before {entries[at]}")

    def ended(self, process: Process, record: Record, run: Run, *, fine: bool) -> None:
        """A handler ends."""
        run.ended = self._loop.time()
        run.fine = fine
        if not fine:
            self._note(process.name, f"fails {self.entries[int(record.data)]}")

    # -- dead letters

    def lettered(self, process: Process, letter: Letter) -> None:
        """A letter is durable."""
        entry = self.entries[int(letter.record.data)]
        condition = letter.verdict.condition
        self._note(process.name, f"letter of {entry}: {condition}")
        self._history.saw(f"letter {condition}")
        if not entry.settled:
            self.open -= 1
        entry.letter = condition
        if condition == "Poison":
            fit = entry.behaviour == "poison"
        elif condition == "Parked":
            fit = any(each.letter for each in self._by_key[entry.key] if each.number < entry.number)
        else:
            fit = sum(run.process is process and not run.fine for run in entry.runs) >= self.mix.attempts
        if not fit:
            self.violated("only what cannot be handled is dead-lettered", f"{entry}: {condition}")

    # -- rows

    def wrote(self, process: Process, before: ShardRow | None, row: ShardRow, *, take: bool) -> None:
        """A write to a shard's row took effect."""
        assert before is not None  # noqa: S101 - its condition held
        self._note(process.name, f"{'take' if take else 'write'} {self.told(row)}")
        if take:
            self._took(process, before, row)
            return
        if before.owner is None or self._bodies.get(before.owner) is not process or row.epoch != before.epoch:
            self.violated("no write by a stale epoch", f"{process.name} made {self.told(before)} {self.told(row)}")
        self._moved(before, row)
        frontier = row.progress.frontier
        self._durable[process.name, row.id] = frontier.sequence_number if frontier else None
        if row.owner is None:
            self._released.add((row.id, row.epoch))
        if row.state != "open":
            self._stirred()
        if row.state == "ended" and not all(map(self._accounted, self._log[row.id])):
            self.violated("nothing is lost", f"{row.id} ended before all its records were settled")

    def _took(self, process: Process, before: ShardRow, row: ShardRow) -> None:
        assert row.owner is not None  # noqa: S101 - a take has a taker
        self._bodies[row.owner] = process
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
        if now is not None:
            self._pass(row.id, int(now.sequence_number))
        for entry in self._done(row):
            if not self._accounted(entry):
                self.violated("nothing is lost", f"a done bit of {row.id} names {entry}, which is not settled")

    def _pass(self, shard: str, frontier: int) -> None:
        log, at = self._log[shard], self._passed[shard]
        while at < len(log) and log[at].sequence <= frontier:
            if not self._accounted(log[at]):
                self.violated("nothing is lost", f"the frontier of {shard} passed {log[at]}, which is not settled")
            at += 1
        self._passed[shard] = at

    def _accounted(self, entry: Entry) -> bool:
        return entry.settled or self._trimmed(entry)

    def _trimmed(self, entry: Entry) -> bool:
        if self.mix.retention is None:
            return False
        return START.timestamp() + self._loop.time() - entry.arrived >= self.mix.retention

    def snapshot(self) -> None:
        """Rows of shards were made by a listing."""
        self._found = self._found or START.timestamp() + self._loop.time()

    def born(self, process: Process, child: ShardRow) -> None:
        """A child's row was made with its parent's end."""
        self._note(process.name, f"made the row of {child.id[-4:]}")

    def told(self, row: ShardRow) -> str:
        """Tell a row with the names of processes."""
        owner = self._bodies.get(row.owner or "")
        holder = owner.name if owner else "nobody" if row.owner is None else "somebody"
        frontier = row.progress.frontier
        at = str(row.start)[:10]
        if frontier is not None:
            index = bisect_left(self._sequences[row.id], int(frontier.sequence_number))
            at = str(self._log[row.id][index].number)
        ahead = sum(byte.bit_count() for byte in row.progress.done)
        return (
            f"{row.id[-4:]} of {holder}, {row.state}, epoch {row.epoch}, revision {row.revision}, "
            f"at {at}{f' and {ahead} ahead' if ahead else ''}"
        )

    # -- workers

    def kept_by_the_left(self, row: ShardRow) -> bool:
        """Say whether a worker that left in good order still has a shard that it knew it held."""
        if row.owner is None or self._table.worker_rows[row.owner].state != "left":
            return False
        return self._held.get((self._bodies[row.owner].name, row.id)) == row.epoch

    def joined(self, process: Process, member: Member) -> None:
        """A worker's row was made."""
        self._bodies[member.worker] = process
        self._beaten[member.worker] = self._loop.time()
        self._stirred()
        self._note(process.name, "joined")

    def beat(self, process: Process, member: Member) -> None:
        """A heartbeat took effect."""
        self._beaten[member.worker] = self._loop.time()
        if member.state != "alive":
            self._gone[member.worker] = self._loop.time()
            self._stirred()
            self._note(process.name, f"is {member.state}")

    def buried(self, process: Process, member: Member) -> None:
        """A worker was declared dead."""
        silent = self._loop.time() - self._beaten[member.worker]
        self._gone[member.worker] = self._loop.time()
        self._stirred()
        body = self._bodies[member.worker]
        self._note(process.name, f"buried {body.name}, silent for {silent:.3f} s")
        self._history.saw("buried the dead" if not body.alive else "buried the living")
        if silent < SUSPICION * self.mix.lease / (1.0 + self.mix.drift) - 1e-6:
            self.violated("the living are not buried", f"{process.name} buried {body.name} after {silent:.3f} s")

    def forgotten(self, process: Process, member: Member) -> None:
        """The row of a worker was removed."""
        gone = self._loop.time() - self._gone.get(member.worker, self._loop.time())
        self._history.saw(f"forgot who {'left' if member.state == 'left' else 'died'}")
        if gone < KEPT_SECONDS / (1.0 + self.mix.drift):
            self.violated("the gone are remembered for a while", f"{member} by {process.name} after {gone:.0f} s")

    def _stirred(self) -> None:
        """Workers or shards came or went: shards may well change hands."""
        self._offers.clear()

    def _offered(self, process: Process, event: ShardsOffered) -> None:
        self._note(process.name, f"offers {', '.join(shard[-4:] for shard in event.shards)}")
        if len(event.shards) > 1:
            self._history.saw("several moves in one plan")
        if event.for_throughput:
            self._history.saw("a move for throughput")
        for shard in event.shards:
            self._offers[shard] += 1
            if self._offers[shard] > _PATIENCE_WITH_MOVES:
                self.violated("no shard is passed to and fro", f"{shard} by {process.name}, and nothing came or went")

    def event(self, process: Process, event: Event) -> None:
        """A process reports an event."""
        self._history.saw(event.name)
        if isinstance(event, ShardTaken):
            self._held[process.name, event.shard] = event.epoch
        elif isinstance(event, ShardsOffered):
            self._offered(process, event)
        elif isinstance(event, CheckpointWritten):
            if self._durable.get((process.name, event.shard), "") != event.frontier:
                self.violated(
                    "what is called written is durable", f"{event.shard} at {event.frontier} by {process.name}"
                )
        elif isinstance(event, RecordsTrimmed):
            self._gaps.append(event)
            self._note(process.name, f"reports a gap in {event.shard[-4:]}")
        elif isinstance(event, ShardFailed):
            self.violated("no loop breaks", f"{event.error} at {event.where}, {event.shard} by {process.name}")

    # -- the end

    def unsettled(self) -> list[Entry]:
        """Return the required records that are not settled and not trimmed."""
        return [entry for entry in self.entries if not entry.settled and not self._trimmed(entry)]

    def unreported(self) -> list[Entry]:
        """Return the required records that are neither settled nor reported as trimmed."""
        return [entry for entry in self.entries if not entry.settled and not self._reported(entry)]

    def audit(self) -> None:
        """At the quiet end: all that was trimmed unsettled was reported."""
        for entry in self.unreported():
            self.violated("what is trimmed is reported", str(entry))

    def _reported(self, entry: Entry) -> bool:
        if entry.arrived < self._found:
            self._history.saw("trimmed since the first snapshot")  # nobody knew how old it was by then
            return True
        return any(
            gap.shard == entry.shard
            and int(gap.after or 0) < entry.sequence
            and (gap.until is None or entry.sequence < int(gap.until))
            for gap in self._gaps
        )
