"""One worker driven by hand: the real `Coordinator`, `take` and `Lease`, and every answer they get is an input.

Coroutines cannot be copied, so a worker is rebuilt by feeding a new one the same inputs; `key` tells all that its
future depends on, so that two histories that come to the same are explored once.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec
from msgspec.structs import replace

from streamkit import Kinesis
from streamkit.core.leasing import SUSPICION, Member, ShardRow
from streamkit.core.positions import Position, Progress
from streamkit.engine.retry import FullJitter
from streamkit.errors import DeclaredDead, LeaseLost, Refused, Unanswered, WorldError
from streamkit.runtimes.coordinator import Coordinator
from streamkit.runtimes.identity import Identity
from streamkit.runtimes.lease import Lease
from streamkit.runtimes.lookout import Lookout

if TYPE_CHECKING:
    from streamkit.core.lineage import Shard
    from streamkit.runtimes.shard import ShardRun

LEASE = 100.0
"""Seconds; a wait that makes a worker suspect is also one after which the shards are listed anew."""
PATIENCE = SUSPICION * LEASE

Value = Any
"""Any hashable picture of something."""


class Request(NamedTuple):
    """Something a worker asks of the table. `choice` asks the schedule what a shard's run does next."""

    method: str
    args: tuple[Value, ...] = ()


Task = Coroutine[Request | None, Value, None]
"""Yields what it waits for; None where it only lets others run, as between two tries."""


class Input(NamedTuple):
    """What happens to a worker. `slot` is one of its tasks: tick, beat, or a shard."""

    kind: str
    slot: str
    value: Value = None


@types.coroutine
def ask(request: Request) -> Generator[Request, Value, Value]:
    """Wait for an answer."""
    return (yield request)


class Outside:
    """What a worker is given from outside, and that does not change."""


class Table(Outside):
    """`Leases`, `Members` and `Source`, all questions."""

    async def rows(self) -> Sequence[ShardRow]:
        """Ask."""
        return cast("Sequence[ShardRow]", await ask(Request("rows")))

    async def add(self, rows: Sequence[ShardRow]) -> None:
        """Ask."""
        await ask(Request("add", (tuple(rows),)))

    async def take(self, seen: ShardRow, wanted: ShardRow) -> ShardRow:
        """Ask."""
        wanted = replace(wanted, deaths=())  # nothing here depends on them, and they would tell equal worlds apart
        return cast("ShardRow", await ask(Request("take", (seen, wanted))))

    async def write(self, held: ShardRow, wanted: ShardRow, *, children: Sequence[ShardRow] = ()) -> None:
        """Ask."""
        await ask(Request("write", (held, wanted, tuple(children))))

    async def members(self) -> Sequence[Member]:
        """Ask."""
        return cast("Sequence[Member]", await ask(Request("members")))

    async def beat(self, member: Member) -> None:
        """Ask."""
        await ask(Request("beat", (member,)))

    async def forget(self, seen: Member) -> None:
        """Ask."""
        await ask(Request("forget", (seen,)))

    async def bury(self, seen: Member) -> bool:
        """Ask."""
        return bool(await ask(Request("bury", (seen,))))

    async def shards(self) -> Sequence[Shard]:
        """Ask."""
        return cast("Sequence[Shard]", await ask(Request("shards")))


class Clock(Outside):
    """Stands still, but for waits in which another worker becomes suspect."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        """Return the seconds."""
        return self.seconds

    def now(self) -> datetime:
        """Return a moment that never changes: no decision about ownership may look at it (rule 3)."""
        return datetime(2013, 1, 1, tzinfo=UTC)


class Chance(Outside):
    """Counts its tokens, so that the same history draws the same ones."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self.drawn = 0

    def fraction(self) -> float:
        """Never wait."""
        return 0.0

    def token(self) -> str:
        """Return the next token."""
        self.drawn += 1
        return f"{self._worker}{self.drawn}"


class Held(NamedTuple):
    """A shard that a worker runs, as the worker sees it."""

    id: str
    row: ShardRow
    settled: int
    doing: str
    in_doubt: bool
    """Whether a write was begun and is not known to have ended."""


class ShardWork:
    """Stands in for a `ShardRun`: the schedule says when it settles a record, checkpoints, ends, or lets go.

    It writes what `ShardRun` writes, in the order in which `ShardRun` writes it.
    """

    idle_since = float("inf")
    level = None

    def __init__(self, lease: Lease, *, records: int, children: Sequence[Shard]) -> None:
        self.lease = lease
        self.settled = _number(lease.row)
        self.records = records
        self.children = tuple(ShardRow(child, "TRIM_HORIZON") for child in children)
        self.draining = False
        self.doing = ""
        self._prefers: str | None = None

    @property
    def id(self) -> str:
        """Id of the shard."""
        return self.lease.row.id

    def held(self) -> Held:
        """Return how it stands."""
        in_doubt = vars(self.lease)["_unresolved"] is not None
        return Held(self.id, self.lease.row, self.settled, self.doing, in_doubt)

    def watch(self) -> None:
        """Nothing is held up here."""

    def drain(self, *, grace: float, prefers: str | None = None) -> None:
        """Let go next."""
        if not self.draining:
            self.draining, self._prefers = True, prefers

    async def run(self) -> None:
        """Do what the schedule says until the shard is let go, ended, or lost."""
        done = False
        while not done:
            self.doing = await ask(Request("choice", (self._choices(),)))
            try:
                done = await self._do(self.doing)
            except LeaseLost:
                return
            except asyncio.CancelledError:
                if self.doing != "checkpoint":
                    raise
                # the shard's work ended while its checkpoint was under way
            self.doing = ""

    def _choices(self) -> tuple[str, ...]:
        if self.draining:
            return ("release",)
        return ("end" if self.settled == self.records else "checkpoint", "release", "fail")

    async def _do(self, what: str) -> bool:
        if what == "checkpoint":
            self.settled += 1
            await self.lease.write(progress=_progress(self.settled))
            return False
        if what == "fail":
            raise RuntimeError("a fault of streamkit's own")
        if what == "end":
            await self.lease.write(progress=_progress(self.settled), state="ended", owner=None, children=self.children)
        else:
            await self.lease.write(progress=_progress(self.settled), owner=None, prefers=self._prefers)
        return True


@dataclass(frozen=True, slots=True)
class Stream:
    """The shards there are, all of them closed, each with so many records."""

    shards: tuple[Shard, ...]
    records: int

    def children(self, shard: str) -> tuple[Shard, ...]:
        """Return the shards that go on from this one."""
        return tuple(each for each in self.shards if shard in each.parents)


class Unpaced(Lookout):
    """The lookout that reads shard rows whenever they may have changed."""

    def _pause(self) -> float:
        return 0.0


class Unchanged(Identity):
    """The stream stays the one it is: `tests/simulation` makes others."""

    async def confirm(self) -> None:
        """Ask nobody."""


class Untimed(Coordinator):
    """The coordinator without limits and pauses: nothing here takes time, and no loop is there to count it."""

    def __init__(self, opened: Any, heart: Any, *, process: Any, open_run: Callable[[ShardRow], ShardRun]) -> None:
        super().__init__(opened, heart, process=process, open_run=open_run)
        self._lookout = Unpaced(opened.rows, me=heart.member.worker, lease=LEASE, process=process)
        self._identity = Unchanged(cast("Any", None), cast("Any", None), table="", clock=process.clock)

    def _hold_off(self, shard: str) -> None:
        """Try a shard whose run broke at the next tick."""

    async def _try_to_take_all(self, wanted: Sequence[ShardRow]) -> Sequence[ShardRow | WorldError | None]:
        """Ask for one after the other: in every order there may be, for any of the answers may be late."""
        return [await self._try_to_take(seen) for seen in wanted]

    async def _listing(self) -> Sequence[Shard]:
        """Wait for the answer."""
        return await self._source.shards()


class Machine:
    """A worker: its tasks, and what each of them waits for."""

    def __init__(self, worker: str, stream: Stream) -> None:
        table: Any = Table()
        self.stream = stream
        self.table = table
        self.clock = Clock()
        self.chance = Chance(worker)
        self.heart = SimpleNamespace(member=Member(worker), held=())
        self.works: dict[str, ShardWork] = {}
        self.pending: dict[str, Request] = {}
        self.over = False
        """It noticed that it was declared dead."""
        self._tasks: dict[str, Task] = {}
        self._heard: tuple[Value, ...] = ()
        """The answers in this tick: what its local variables are made of."""
        opened = SimpleNamespace(
            ports=SimpleNamespace(source=table),
            rows=SimpleNamespace(leases=table, members=table),
            registration=SimpleNamespace(
                start="TRIM_HORIZON", stream=SimpleNamespace(retention=timedelta(days=1)), replay=None
            ),
            consumer=SimpleNamespace(
                checkpoint=SimpleNamespace(lease=timedelta(seconds=LEASE)), table="", source=Kinesis("stream")
            ),
        )
        process = SimpleNamespace(clock=self.clock, chance=self.chance, report=_ignore, grace=timedelta(seconds=LEASE))
        self.coordinator = Untimed(opened, self.heart, process=process, open_run=self._open_run)

    # Inputs

    def feed(self, given: Input) -> None:
        """Let it happen, and run on until every task waits."""
        kind, slot, value = given
        if kind == "tick":
            self.clock.seconds += PATIENCE if value else 0.0
            self._heard = ()
            self._start("tick", self.coordinator.tick(cast("Any", self)))
        elif kind == "beat":
            self._start("beat", self._beat())
        elif kind == "answer":
            if slot == "tick":
                self._heard = (*self._heard, value)
            self._send(slot, value)
        else:
            self._throw(slot, _error(kind, value))

    def create_task(self, task: Task) -> None:
        """Stand in for the worker's task group: the only tasks are those of shards."""
        shard = next(iter(self.works.keys() - self._tasks.keys()))
        self._start(shard, task)

    def _open_run(self, row: ShardRow) -> ShardRun:
        wait = FullJitter(initial=timedelta(seconds=1), maximum=timedelta(seconds=1), chance=self.chance)
        lease = Lease(row, self.table, chance=self.chance, wait=wait, report=_ignore)
        work = ShardWork(lease, records=self.stream.records, children=self.stream.children(row.id))
        self.works[row.id] = work
        return cast("ShardRun", work)

    async def _beat(self) -> None:
        """Beat once, as `Heart` does."""
        member = self.heart.member = self.heart.member.beaten(self.heart.held)
        try:
            await self.table.beat(member)
        except DeclaredDead:
            self.over = True
        except Unanswered:
            return

    # Tasks

    def _start(self, slot: str, task: Task) -> None:
        self._tasks[slot] = task
        self._send(slot, None)

    def _send(self, slot: str, value: Value) -> None:
        task = self._tasks[slot]
        self.pending.pop(slot, None)
        try:
            request = task.send(value)
            while request is None or request.method == "shards":  # a pause between two tries; a constant
                request = task.send(None if request is None else self.stream.shards)
        except StopIteration:
            self._ended(slot)
        else:
            self.pending[slot] = request

    def _throw(self, slot: str, error: BaseException) -> None:
        task = self._tasks[slot]
        self.pending.pop(slot)
        try:
            request = task.throw(error)
        except StopIteration:
            self._ended(slot)
        else:
            if request is None:
                self._send(slot, None)
            else:
                self.pending[slot] = request

    def _ended(self, slot: str) -> None:
        del self._tasks[slot]
        self.works.pop(slot, None)
        if slot == "tick":
            self._heard = ()

    # What its future depends on

    def key(self) -> Value:
        """Return a picture of this worker."""
        kept = {name: value for name, value in vars(self.coordinator).items() if name not in _ASIDE}
        tick = cast("Any", self._tasks.get("tick"))
        steps = tick.cr_frame.f_locals.get("steps") if tick is not None else None
        return (
            self._picture(kept),
            tuple(sorted(self.pending.items())),
            (self._heard, steps),
            (self.heart.member, self.heart.held, self.chance.drawn, self.over),
        )

    def _picture(self, value: Value) -> Value:  # noqa: PLR0911 - a line for each kind
        if isinstance(value, _PLAIN):
            return value
        if isinstance(value, _OUTSIDE) or callable(value):
            return None
        if isinstance(value, float):
            return max(-PATIENCE, min(PATIENCE, self.clock.seconds - value))
        if isinstance(value, dict):
            return tuple([(each, self._picture(value[each])) for each in sorted(value)])
        if isinstance(value, _SETS):
            return frozenset([self._picture(each) for each in value])
        if isinstance(value, _LISTS):
            return tuple([self._picture(each) for each in value])
        return tuple(sorted([(name, self._picture(each)) for name, each in _fields(value) if name not in _ASIDE]))


_ASIDE = {
    *("_cared_for_since", "_report", "_open_run", "_clock", "_chance", "_rows", "_source", "_heart"),
    *("_allowed", "_dead"),
    *("_audit", "_identity", "_stream"),  # without holes the audit knows what the rows tell
    *("alive", "current", "_kept", "_lease", "_not_before"),
}
"""What does not change, is made anew at each look, or decides nothing about shards."""
_PLAIN = (str, int, bytes, type(None), msgspec.Struct)
_OUTSIDE = (Outside, FullJitter, SimpleNamespace, asyncio.Lock)
_SETS = (set, frozenset)
_LISTS = (list, tuple)


def _fields(value: object) -> list[tuple[str, Any]]:
    """Return the names and values of an object's attributes."""
    slots: tuple[str, ...] = getattr(type(value), "__slots__", ())
    return [(name, getattr(value, name)) for name in slots] if slots else list(vars(value).items())


def _ignore(_event: object) -> None:
    return


def _error(kind: str, value: Value) -> BaseException:
    if kind == "refused":
        return Refused(value)
    return {"unanswered": Unanswered, "dead": DeclaredDead, "cancel": asyncio.CancelledError}[kind]()


def _number(row: ShardRow) -> int:
    frontier = row.progress.frontier
    return int(frontier.sequence_number) if frontier else 0


def _progress(settled: int) -> Progress:
    return Progress(frontier=Position(str(settled)) if settled else None)
