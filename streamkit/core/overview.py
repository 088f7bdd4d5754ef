"""What an operator sees of a consumer, from the rows of its table: states, ages, and what needs a look.

Pure: an `Observer` is shown one look after the other and says how things stand. Whether a worker lives it judges as
the workers do, by a counter that moves under its own eyes (rule 2); wall clocks make ages and labels, no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from streamkit.core.leasing import USUAL_LEASE, Member, ShardRow, Vitals, startable

State = Literal["reading", "held up", "paused", "halted", "quarantine", "silent", "free", "waiting", "ended"]
"""Of a shard:

    reading   its owner lives and moves on           halted   stands still until a person acts
    held up   the oldest record does not settle      silent   its owner's heartbeat was not seen to move
    paused    everything fails: the owner probes     free     nobody owns it; a worker would take it
    waiting   for parents to be settled              ended    settled to its end
    quarantine   one of its records may have killed its owners: it is searched for
"""
Pulse = Literal["beating", "silent", "unseen"]

TROUBLE: tuple[State, ...] = ("halted", "paused", "quarantine", "held up", "silent", "free")
"""States that need a look, worst first."""
_SAID: dict[State, str] = {"silent": "owned by a silent worker", "quarantine": "in quarantine"}
HELD_UP_SECONDS = 60.0
"""A frontier that stands still for so long, with records waiting, needs a look."""
STALE_SECONDS = 10.0
"""A rate that was told longer ago is over: a shard on which records settle tells every few seconds."""


class Look(msgspec.Struct, frozen=True):
    """The rows, as they were read at one moment."""

    rows: Sequence[ShardRow]
    members: Sequence[Member]
    monotonic: float
    now: float
    """Seconds since the epoch."""
    letters: int | None = None
    """About how many wait in the dead-letter queue, if somebody asked."""
    queue_missing: bool = False
    """Whether there is no such queue."""


class ShardView(msgspec.Struct, frozen=True, kw_only=True):
    """One shard. None is "the rows do not tell"."""

    shard: str
    state: State
    why: str | None
    owner: str | None
    epoch: int
    frontier: str | None
    lag_seconds: float | None
    """What arrived longer ago than this is settled; 0 at the tip. An upper bound where nobody reads."""
    oldest_seconds: float | None
    """Age of the oldest record that was read and is not settled."""
    waiting: int | None
    """Records read and not behind the frontier."""
    rate: float | None
    """Records settled a second."""
    settled: int | None
    retried: int | None
    dead: int | None
    parked: int
    """Keys whose records follow an earlier one into the queue."""
    told_seconds: float | None
    """Age of these figures, by the owner's clock."""


class WorkerView(msgspec.Struct, frozen=True, kw_only=True):
    """One worker whose row says that it is alive."""

    worker: str
    pulse: Pulse
    beat_seconds: float
    """Since its counter was last seen to move; since the first look, if it never was."""
    shards: int
    rate: float
    up_seconds: float
    """Since it started, by its own clock."""


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """A consumer at one moment."""

    shards: tuple[ShardView, ...]
    workers: tuple[WorkerView, ...]
    letters: int | None
    """About how many dead letters wait in the queue; None if nobody asked."""
    attention: tuple[str, ...]
    """What a person should look at; empty if all is well."""


class Observer:
    """Watches the rows from outside. Show it looks in the order of time."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float, bool]] = {}
        """By worker: its counter, since when it is that, and whether it was seen to move to it."""

    def note(self, look: Look) -> None:
        """Take note of the counters."""
        seen: dict[str, tuple[int, float, bool]] = {}
        for member in look.members:
            counter, since, moved = self._seen.get(member.worker, (member.counter, look.monotonic, False))
            stands = counter == member.counter
            seen[member.worker] = (counter, since, moved) if stands else (member.counter, look.monotonic, True)
        self._seen = seen

    def has_seen_all(self, look: Look) -> bool:
        """Say whether every worker that is alive by its row was seen to beat."""
        return all(self._seen[each.worker][2] for each in look.members if each.state == "alive")

    def lease(self, look: Look) -> float:
        """Return the longest lease of those that are alive by their rows, in seconds: how long one may stand still."""
        return max((each.lease for each in look.members if each.state == "alive"), default=USUAL_LEASE)

    def overview(self, look: Look, *, patience: float) -> Overview:
        """Say how things stand. A worker is silent whose counter stood still for `patience` seconds of watching."""
        workers = {each.worker: self._worker(each, look, patience) for each in look.members if each.state == "alive"}
        shards = tuple(_shard(row, look, workers) for row in _in_order(look.rows))
        counted = tuple(_counted(each, shards) for each in workers.values())
        return Overview(
            shards=shards, workers=counted, letters=look.letters, attention=_attention(shards, counted, look)
        )

    def _worker(self, member: Member, look: Look, patience: float) -> WorkerView:
        _, since, moved = self._seen[member.worker]
        stood = look.monotonic - since
        pulse: Pulse = "silent" if stood >= patience > 0 else "beating" if moved else "unseen"
        return WorkerView(
            worker=member.worker,
            pulse=pulse,
            beat_seconds=stood,
            shards=0,
            rate=0.0,
            up_seconds=max(0.0, look.now - member.started),
        )


def _counted(worker: WorkerView, shards: Sequence[ShardView]) -> WorkerView:
    mine = [each for each in shards if each.owner == worker.worker and each.state != "ended"]
    return msgspec.structs.replace(worker, shards=len(mine), rate=sum(each.rate or 0.0 for each in mine))


def _in_order(rows: Sequence[ShardRow]) -> Sequence[ShardRow]:
    return sorted(rows, key=lambda row: row.id)


def _shard(row: ShardRow, look: Look, workers: Mapping[str, WorkerView]) -> ShardView:
    vitals = row.vitals
    owner = workers.get(row.owner or "")
    oldest = None if vitals is None or vitals.oldest is None or row.state == "ended" else look.now - vitals.oldest
    lag = _lag(row, look.now, alive=owner is not None and owner.pulse != "silent")
    state, why = _state(row, look, owner)
    frontier = row.progress.frontier
    told = None if vitals is None else max(0.0, look.now - vitals.at)
    return ShardView(
        shard=row.id,
        state=state,
        why=why,
        owner=row.owner,
        epoch=row.epoch,
        frontier=frontier.sequence_number if frontier else None,
        lag_seconds=lag,
        oldest_seconds=None if oldest is None else max(0.0, oldest),
        waiting=None if vitals is None else vitals.waiting,
        rate=_rate(vitals, told, moving=state in {"reading", "held up"}),
        settled=None if vitals is None else vitals.settled,
        retried=None if vitals is None else vitals.retried,
        dead=None if vitals is None else vitals.dead,
        parked=len(row.parked),
        told_seconds=told,
    )


def _state(row: ShardRow, look: Look, owner: WorkerView | None) -> tuple[State, str | None]:
    """Return the state and why it is so, where there is more to say."""
    if row.state == "ended":
        return "ended", None
    if row.state == "halted":
        return "halted", row.halted
    by_id = {each.id: each for each in look.rows}
    if not startable(row, by_id, frozenset()):
        parents = [each for each in row.shard.parents if each in by_id and by_id[each].state != "ended"]
        return "waiting", f"for {', '.join(parents)}"
    if owner is None:
        return "free", f"its owner {row.owner} is gone" if row.owner else None
    return _state_of_owned(row, look, owner)


def _state_of_owned(row: ShardRow, look: Look, owner: WorkerView) -> tuple[State, str | None]:
    vitals = row.vitals or Vitals()
    if owner.pulse == "silent":
        return "silent", f"no heartbeat of {owner.worker} for {owner.beat_seconds:.0f} s"
    if vitals.paused is not None:
        return "paused", f"everything fails: {vitals.paused}"
    if row.quarantine is not None:
        return "quarantine", f"{len(row.deaths)} processes died, {row.quarantine.left} records to try at most"
    if vitals.held_up is not None and look.now - vitals.held_up >= HELD_UP_SECONDS:
        return "held up", f"nothing settled for {look.now - vitals.held_up:.0f} s, {vitals.waiting} records wait"
    return "reading", f"asked to halt: {row.asked}" if row.asked else None


def _lag(row: ShardRow, now: float, *, alive: bool) -> float | None:
    """Return the seconds up to which nothing that arrived is unsettled; 0 at the tip."""
    vitals = row.vitals
    if row.state == "ended":
        return None
    if vitals is not None and vitals.oldest is not None:
        return max(0.0, now - vitals.oldest)
    if alive and row.state == "open" and vitals is not None and vitals.behind == 0.0:
        return 0.0
    seen = max(row.frontier_arrived or 0.0, row.caught_up_at or 0.0)
    return max(0.0, now - seen) if seen else None


def _rate(vitals: Vitals | None, told: float | None, *, moving: bool) -> float | None:
    if vitals is None or told is None:
        return None
    return vitals.rate if moving and told <= STALE_SECONDS else 0.0


def _attention(shards: Sequence[ShardView], workers: Sequence[WorkerView], look: Look) -> tuple[str, ...]:
    """Name what needs a look, worst first."""
    lines: list[str] = []
    for state in TROUBLE:
        found = [each for each in shards if each.state == state]
        if found:
            which = found[0].shard if len(found) == 1 else f"{len(found)} shards, {found[0].shard} first,"
            lines.append(f"{which} {_said(state, len(found))}" + (f": {found[0].why}" if found[0].why else ""))
    silent = [each for each in workers if each.pulse == "silent" and not each.shards]
    lines += [f"{each.worker} is silent for {each.beat_seconds:.0f} s" for each in silent]
    if look.queue_missing:
        lines.append("the dead-letter queue is not there: no record with a letter to send is passed")
    if look.letters:
        several = f"about {look.letters:,} dead letters wait in the queue"
        lines.append(several if look.letters > 1 else "a dead letter waits in the queue")
    return tuple(lines)


def _said(state: State, number: int) -> str:
    is_ = "is" if number == 1 else "are"
    return f"{is_} {_SAID.get(state, state)}"
