"""The world of a few workers and one small table: its states, and every step that may come next.

A request that changes something is applied and answered, or it is not answered: then it stays under way and may land
at any later moment, or never. That is all there is: lost before its effect is "never", an answer lost is "lands at
once". Whoever asks waits as long as the schedule likes, so a pause of any length is a schedule too; a read shows the
table at the moment of its answer. Each trouble costs one of `troubles`, so that there are finitely many states.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from streamkit.core.leasing import Member, ShardRow
from streamkit.errors import DeclaredDead, Refused
from streamkit.testing import MemoryTable
from tests.exhaustive import laws
from tests.exhaustive.machine import Held, Input, Machine, Request, Stream, Value

GONE = -1
"""The place of a worker that was killed, or noticed that it was declared dead."""
ABSENT = -2
"""The place of a worker that did not join yet."""

T = TypeVar("T")


class Table(NamedTuple):
    """All rows."""

    shards: tuple[ShardRow, ...]
    workers: tuple[Member, ...]


class State(NamedTuple):
    """Numbers that stand for a table, requests under way and workers; what was settled; troubles left."""

    table: int
    late: frozenset[int]
    workers: tuple[int, ...]
    settled: tuple[int, ...]
    troubles: int


class Step(NamedTuple):
    """What happens next: `what` with a request of a worker's task, or with the worker as a whole."""

    what: str
    worker: int = -1
    slot: str = ""
    request: int = -1


Next = tuple[Step, State, str | None]
"""What may happen, what becomes of it, and the law that breaks on the way."""


class Effect(NamedTuple):
    """What a request does to a table, and how it is answered."""

    table: int
    kind: str
    answer: Any
    broken: str | None


@dataclass(slots=True)
class Local:
    """A worker as it stands: how it came about, what its tasks wait for, what it runs."""

    worker: int
    history: tuple[Input, ...]
    pending: tuple[tuple[str, int], ...]
    works: tuple[Held, ...]
    over: bool
    machine: Machine | None


class Numbers(Generic[T]):
    """Gives each value a number."""

    def __init__(self) -> None:
        self.values: list[T] = []
        self._numbers: dict[T, int] = {}

    def __getitem__(self, number: int) -> T:
        return self.values[number]

    def of(self, value: T) -> int:
        """Return the number of a value."""
        number = self._numbers.setdefault(value, len(self.values))
        if number == len(self.values):
            self.values.append(value)
        return number


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How small the world is."""

    stream: Stream
    workers: int = 2
    joined: int = 1
    """How many workers are there from the start; the others join at any moment, or never."""
    troubles: int = 2


@dataclass(slots=True)
class Model:
    """All that may happen in a world of this size."""

    size: Size
    tables: Numbers[Table] = field(default_factory=Numbers[Table])
    requests: Numbers[Request] = field(default_factory=Numbers[Request])
    locals: list[Local] = field(default_factory=list[Local])
    _places: dict[Any, int] = field(default_factory=dict[Any, int])
    _moves: dict[tuple[int, Input], int] = field(default_factory=dict[tuple[int, Input], int])
    _effects: dict[tuple[int, int], Effect] = field(default_factory=dict[tuple[int, int], Effect])

    # States

    def start(self) -> State:
        """Return the state in which all begins."""
        size = self.size
        rows = tuple(ShardRow(shard, "TRIM_HORIZON") for shard in size.stream.shards if not shard.parents)
        there = range(size.joined)
        table = self.tables.of(Table(rows, tuple(Member(_name(worker)) for worker in there)))
        workers = tuple(self._born(worker) if worker in there else ABSENT for worker in range(size.workers))
        return State(table, frozenset(), workers, (0,) * len(size.stream.shards), size.troubles)

    def done(self, state: State) -> bool:
        """Say whether every shard is settled to its end."""
        rows = self.tables[state.table].shards
        return len(rows) == len(self.size.stream.shards) and all(row.state == "ended" for row in rows)

    def able(self, state: State) -> bool:
        """Say whether a worker is there that is alive to itself and to the others."""
        alive = {member.worker for member in self.tables[state.table].workers if member.state == "alive"}
        return any(place >= 0 and _name(worker) in alive for worker, place in enumerate(state.workers))

    def broken(self, state: State) -> str | None:
        """Return a law this state breaks."""
        rows = {row.id: row for row in self.tables[state.table].shards}
        settled = {shard.id: up_to for shard, up_to in zip(self.size.stream.shards, state.settled, strict=True)}
        works = [work for place in state.workers if place >= 0 for work in self.locals[place].works]
        for row in rows.values():
            if row.state == "ended" and any(child.id not in rows for child in self.size.stream.children(row.id)):
                return f"{row!r} ended without the rows of its children"
        if len({(work.id, work.row.epoch) for work in works}) < len(works):
            return "two workers hold one epoch of a shard"
        return next(laws.broken_in(rows, settled, self.size.stream.records), None) or laws.broken_by_belief(works, rows)

    # Steps

    def steps(self, state: State) -> Iterator[Next]:
        """Yield what may happen next, what becomes of it, and the law that breaks on the way."""
        for worker, place in enumerate(state.workers):
            if place == ABSENT:
                yield Step("joins", worker), self._joined(state, worker), None
            elif place >= 0:
                yield from self._of_worker(state, worker)
                yield from self._troubles_of(state, worker)
        for request in state.late:
            effect = self._effect(state.table, request)
            yield Step("lands", request=request), self._landed(state, effect, request), effect.broken

    def _of_worker(self, state: State, worker: int) -> Iterator[Next]:
        """Yield what happens where all goes well."""
        local = self.locals[state.workers[worker]]
        for slot, number in local.pending:
            request = self.requests[number]
            if request.method == "choice":
                yield self._chosen(state, worker, slot, request.args[0][0])
            else:
                yield self._answered(state, worker, slot, number)
        if all(slot != "tick" for slot, _ in local.pending):
            yield Step("ticks", worker), self._ticked(state, worker), None
            if self._missed(state):
                yield Step("waits a lease, then ticks", worker), self._ticked(state, worker, patient=True), None

    def _troubles_of(self, state: State, worker: int) -> Iterator[Next]:
        if not state.troubles:
            return
        local, poorer = self.locals[state.workers[worker]], state._replace(troubles=state.troubles - 1)
        slots = {slot for slot, _ in local.pending}
        for slot, number in local.pending:
            if self.requests[number].method == "choice":
                for choice in self.requests[number].args[0][1:]:
                    yield self._chosen(poorer, worker, slot, choice)
            elif self._changes(number):
                yield from self._unanswered(poorer, worker, slot, number)
        if "tick" not in slots:
            paused = self._ticked(poorer, worker, paused=True)
            if self._reads(paused, worker):
                yield Step("ticks, and pauses between its reads", worker), paused, None
        if "tick" not in slots and not self._missed(state):
            yield Step("waits a lease, then ticks", worker), self._ticked(poorer, worker, patient=True), None
        if "beat" not in slots:
            yield Step("sends a heartbeat", worker), self._told(poorer, worker, Input("beat", "beat")), None
        yield Step("is killed", worker), self._killed(poorer, worker), None

    def _unanswered(self, state: State, worker: int, slot: str, number: int) -> Iterator[Next]:
        """Leave a request under way: whoever sent it hears of a time-out, or does not wait for the answer."""
        under_way = state._replace(late=state.late | {number})
        told = self._told(under_way, worker, Input("unanswered", slot))
        yield Step("is not answered", worker, slot, number), told, None
        if any(work.id == slot and work.doing == "checkpoint" for work in self.locals[state.workers[worker]].works):
            told = self._told(under_way, worker, Input("cancel", slot))
            yield Step("is cancelled", worker, slot, number), told, None

    def _missed(self, state: State) -> bool:
        """Say whether a worker is gone and the table does not know: to wait for a lease is then nobody's trouble."""
        members = {member.worker: member.state for member in self.tables[state.table].workers}
        return any(place == GONE and members[_name(other)] == "alive" for other, place in enumerate(state.workers))

    def _chosen(self, state: State, worker: int, slot: str, choice: str) -> Next:
        """Let a shard's run do something; a record counts as settled before it is written down."""
        work = next(work for work in self.locals[state.workers[worker]].works if work.id == slot)
        settled, broken = state.settled, None
        if choice == "checkpoint":
            index = [shard.id for shard in self.size.stream.shards].index(slot)
            reached, row = work.settled + 1, self._row(state, slot)
            if reached > settled[index] + 1:
                broken = f"{_name(worker)} settles record {reached} of {slot}: {settled[index] + 1} was skipped"
            if (row.owner, row.epoch) == (_name(worker), work.row.epoch) and reached <= laws.number(row):
                broken = f"{_name(worker)} repeats record {reached} of {slot}, which its own row has behind it"
            settled = (*settled[:index], max(settled[index], reached), *settled[index + 1 :])
        after = self._told(state._replace(settled=settled), worker, Input("answer", slot, choice))
        return Step(f"goes for the {choice} of", worker, slot), after, broken

    def _answered(self, state: State, worker: int, slot: str, number: int) -> Next:
        """Let a request take effect, and its answer arrive."""
        effect = self._effect(state.table, number)
        after = self._told(state._replace(table=effect.table), worker, Input(effect.kind, slot, effect.answer))
        broken = effect.broken
        if effect.kind == "refused" and slot != "tick":
            broken = broken or self._misread(after.workers[worker], slot, number, effect.answer)
        return Step(f"is {'refused' if effect.kind == 'refused' else 'answered'}", worker, slot, number), after, broken

    def _misread(self, place: int, shard: str, number: int, row: ShardRow) -> str | None:
        """Return what is wrong with how a worker understood that its write was refused, and the row it was shown."""
        held, wanted = self.requests[number].args[:2]
        mine = next((work for work in self.locals[place].works if work.id == shard), None)
        if mine is None and (row.owner, row.epoch) == (held.owner, held.epoch):
            return f"{held.owner} gave {row!r} up, which is still its own"
        if mine is not None and mine.row == wanted != row:
            return f"{held.owner} takes {row!r} for its own {wanted!r}"
        return None

    def _ticked(self, state: State, worker: int, *, patient: bool = False, paused: bool = False) -> State:
        """Begin a tick, which reads the worker rows first of all; go on through its reads, if it is not `paused`."""
        after = self._answer(self._told(state, worker, Input("tick", "tick", patient)), worker)
        while not paused and self._reads(after, worker):
            after = self._answer(after, worker)
        return after

    def _reads(self, state: State, worker: int) -> bool:
        """Say whether the worker is in the middle of a tick's reads."""
        number = dict(self.locals[state.workers[worker]].pending).get("tick")
        return number is not None and not self._changes(number)

    def _answer(self, state: State, worker: int) -> State:
        """Answer what the worker's tick reads."""
        effect = self._effect(state.table, dict(self.locals[state.workers[worker]].pending)["tick"])
        return self._told(state, worker, Input(effect.kind, "tick", effect.answer))

    def _joined(self, state: State, worker: int) -> State:
        table = self.tables[state.table]
        members = tuple(sorted([*table.workers, Member(_name(worker))], key=lambda member: member.worker))
        workers = _put(state.workers, worker, self._born(worker))
        return state._replace(table=self.tables.of(table._replace(workers=members)), workers=workers)

    def _killed(self, state: State, worker: int) -> State:
        under_way = {number for _, number in self.locals[state.workers[worker]].pending if self._changes(number)}
        after = state._replace(workers=_put(state.workers, worker, GONE), late=state.late | under_way)
        return self._without_spent(after)

    def _landed(self, state: State, effect: Effect, request: int) -> State:
        return self._without_spent(state._replace(table=effect.table, late=state.late - {request}))

    def _told(self, state: State, worker: int, given: Input) -> State:
        place = self._move(state.workers[worker], given)
        return self._without_spent(state._replace(workers=_put(state.workers, worker, place)))

    def _without_spent(self, state: State) -> State:
        """Forget requests under way that would change nothing.

        Epochs, revisions and heartbeats only grow, so a condition that fails now fails for ever.
        """
        if not state.late:
            return state
        late = frozenset(each for each in state.late if self._effect(state.table, each).table != state.table)
        return state if late == state.late else state._replace(late=late)

    def _changes(self, number: int) -> bool:
        return self.requests[number].method not in {"choice", "members", "rows"}

    def _row(self, state: State, shard: str) -> ShardRow:
        return next(row for row in self.tables[state.table].shards if row.id == shard)

    # The table

    def _effect(self, table: int, request: int) -> Effect:
        known = self._effects.get((table, request))
        if known is None:
            known = self._effects[table, request] = self._carried_out(self.tables[table], self.requests[request])
        return known

    def _carried_out(self, before: Table, request: Request) -> Effect:
        """Let the real rules of the table in memory decide."""
        table = MemoryTable()
        table.shard_rows = {row.id: row for row in before.shards}
        table.worker_rows = {member.worker: member for member in before.workers}
        kind, answer = "answer", None
        try:
            answer = _run(_call(table, request))
        except Refused as refused:
            kind, answer = "refused", refused.row
        except DeclaredDead:
            kind = "dead"
        rows, members = ({each.id: each for each in before.shards}, {each.worker: each for each in before.workers})
        broken = laws.broken_by(request, rows, table.shard_rows, members) or laws.broken_among_members(
            request, members, table.worker_rows
        )
        if kind == "refused":
            broken = broken or laws.broken_by_refusal(request, rows)
        after = Table(
            tuple(row for _, row in sorted(table.shard_rows.items())),
            tuple(member for _, member in sorted(table.worker_rows.items())),
        )
        return Effect(self.tables.of(after), kind, tuple(answer) if isinstance(answer, list) else answer, broken)

    # The workers

    def _born(self, worker: int) -> int:
        return self._place(worker, Machine(_name(worker), self.size.stream), ())

    def _move(self, place: int, given: Input) -> int:
        """Return where a worker gets to: the real code runs once for each place and input."""
        known = self._moves.get((place, given))
        if known is not None:
            return known
        local = self.locals[place]
        machine, local.machine = local.machine, None
        if machine is None:
            machine = Machine(_name(local.worker), self.size.stream)
            for earlier in local.history:
                machine.feed(earlier)
        machine.feed(given)
        known = self._moves[place, given] = self._place(local.worker, machine, (*local.history, given))
        return known

    def _place(self, worker: int, machine: Machine, history: tuple[Input, ...]) -> int:
        key = (worker, machine.key())
        place = self._places.setdefault(key, GONE if machine.over else len(self.locals))
        if place == len(self.locals):
            pending = tuple((slot, self.requests.of(request)) for slot, request in sorted(machine.pending.items()))
            self.locals.append(
                Local(
                    worker,
                    history,
                    pending,
                    tuple(work.held() for _, work in sorted(machine.works.items())),
                    machine.over,
                    machine,
                )
            )
        return place

    # For people

    def told(self, step: Step) -> str:
        """Say what happened."""
        who = _name(step.worker) if step.worker >= 0 else ""
        if step.request < 0:
            return f"{who} {step.what} {step.slot}".rstrip()
        request = self.requests[step.request]
        asked = f"{request.method} {' -> '.join(repr(each) for each in request.args[:2])}".rstrip()
        return f"{who + chr(39) + 's ' if who else ''}{asked} {step.what}"


def _name(worker: int) -> str:
    return "abc"[worker]


def _put(places: tuple[int, ...], worker: int, place: int) -> tuple[int, ...]:
    return (*places[:worker], place, *places[worker + 1 :])


async def _call(table: MemoryTable, request: Request) -> Value:
    method, args = request
    if method == "write":
        return await table.write(args[0], args[1], children=args[2])
    return await getattr(table, method)(*args)


def _run(call: Coroutine[Any, Any, Value]) -> Value:
    """Run a call that waits for nothing but its turn."""
    try:
        while True:
            call.send(None)
    except StopIteration as done:
        return done.value
