"""Who reads which shard: rows, sightings of heartbeats, and the plan every worker computes from the same rows.

Pure: no clock, no I/O. `now` is the caller's own monotonic clock; nobody trusts another's (rule 2).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from math import ceil
from typing import Literal

import msgspec

from streamkit.core.lineage import Shard
from streamkit.core.positions import Position, Start

SUSPICION = 1.05
"""A worker is suspect once its counter stood still for this many lease durations."""
FENCE = 0.9
"""No handler starts later than this many lease durations after the last confirmed heartbeat was sent (rule 3)."""


class Progress(msgspec.Struct, frozen=True):
    """How far a shard is settled, as the checkpoint carries it (rule 17).

    Bit i of `done` (little-endian: bit i % 8 of byte i // 8) is the i-th (sub)record after the frontier.
    """

    frontier: Position | None = None
    """The end of the contiguous settled prefix; None while nothing is settled."""
    first: Position | None = None
    """The first (sub)record after the frontier; None where `done` is empty. Names it by number and subsequence."""
    done: bytes = b""
    decoding: int = 0
    """Version of the rules by which (sub)records are counted; with another version the bits mean nothing."""


class ShardRow(msgspec.Struct, frozen=True):
    """The row of one shard in the checkpoint table. Every write to it is conditional (rule 1)."""

    shard: Shard
    start: Start
    """Where reading begins while there is no frontier."""
    owner: str | None = None
    """The worker incarnation that holds the lease."""
    epoch: int = 0
    """Grows by one with every take."""
    revision: int = 0
    """Grows by one with every write."""
    token: str = ""
    """Names the attempt that wrote last: how a writer recognises its own write after a lost answer."""
    progress: Progress = Progress()
    state: Literal["open", "ended", "halted"] = "open"
    halted: str | None = None
    """Why a person has to look, where `state` is halted."""
    prefers: str | None = None
    """The worker this shard was released for."""
    parked: tuple[str, ...] = ()
    """Digests of the keys whose later records follow an earlier one into the dead-letter queue (rule 21)."""
    frontier_arrived: float | None = None
    """Arrival of the record at the frontier: seconds since the epoch."""
    caught_up_at: float | None = None
    """Nothing that arrived before has been missed: when the reader last was at the tip of the shard with all settled,
    or when the shard was found. Seconds since the epoch (rule 14)."""

    @property
    def id(self) -> str:
        """Id of the shard."""
        return self.shard.id

    def __repr__(self) -> str:
        holder = f"of {self.owner}" if self.owner else "free"
        frontier = self.progress.frontier
        place = frontier.sequence_number if frontier else self.start
        return f"<Lease {self.id} {holder}, {self.state}, epoch {self.epoch}, revision {self.revision}, at {place}>"


def heir(shard: Shard, parents: Iterable[ShardRow]) -> ShardRow:
    """Return the first row of a shard that goes on from these: read whole, however late it was found (rule 15).

    While a parent was still being read at its tip, the child had no records yet: from then on some may have been
    trimmed before they were read (rule 14).
    """
    seen = max((max(row.caught_up_at or 0.0, row.frontier_arrived or 0.0) for row in parents), default=0.0)
    return ShardRow(shard, "TRIM_HORIZON", caught_up_at=seen or None)


class Member(msgspec.Struct, frozen=True):
    """The heartbeat row of one worker incarnation (rule 2)."""

    worker: str
    """Host and a random part; never used again."""
    counter: int = 0
    state: Literal["alive", "left", "dead"] = "alive"
    holds: tuple[str, ...] = ()
    """Ids of the shards it runs."""
    started: float = 0.0
    """For people: seconds since the epoch."""


class Sightings:
    """What one worker saw of the others' heartbeats, by its own clock."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float]] = {}

    def note(self, members: Iterable[Member], now: float) -> None:
        """Remember when each counter was first seen at its present value; forget rows that are gone."""
        fresh: dict[str, tuple[int, float]] = {}
        for member in members:
            counter, since = self._seen.get(member.worker, (-1, now))
            fresh[member.worker] = (counter, since) if counter == member.counter else (member.counter, now)
        self._seen = fresh

    def suspects(self, members: Iterable[Member], *, now: float, lease: float) -> list[Member]:
        """Return the members alive by their row whose counter stood still for `SUSPICION` leases (seconds)."""
        return [
            member
            for member in members
            if member.state == "alive" and now - self._seen[member.worker][1] >= SUSPICION * lease
        ]

    def fresh(self, members: Iterable[Member], *, now: float, within: float) -> set[str]:
        """Return the workers alive whose counter moved in the last `within` seconds."""
        return {
            member.worker
            for member in members
            if member.state == "alive" and now - self._seen[member.worker][1] <= within
        }


class Move(msgspec.Struct, frozen=True):
    """Hand a live shard over: drain it, checkpoint it, release it with a preference."""

    shard: str
    to: str


class Plan(msgspec.Struct, frozen=True):
    """What one worker does next."""

    take: tuple[ShardRow, ...] = ()
    move: Move | None = None


def plan(
    rows: Sequence[ShardRow],
    members: Iterable[Member],
    *,
    me: str,
    running: frozenset[str],
    listed: frozenset[str],
) -> Plan:
    """Compute what `me` takes and hands over; all workers compute the same from the same rows (rule 6).

    `running` are the shards I run; a row that names me but that I do not run is taken anew (rule 4).
    `listed` are the shards of the latest complete listing: a parent neither there nor in a row is long finished.
    """
    workers = sorted(member.worker for member in members if member.state == "alive")
    if me not in workers:
        return Plan()
    by_id = {row.id: row for row in rows}
    ready = [row for row in rows if row.state == "open" and startable(row, by_id, listed)]
    free = [row for row in ready if is_free(row, workers)]
    lost_answers = tuple(row for row in ready if row.owner == me and row.id not in running)
    owners = Counter(row.owner for row in ready)
    loads = {worker: owners[worker] for worker in workers}
    if free or lost_answers:
        return Plan(take=lost_answers + _deal(free, loads, me=me))
    return Plan(move=_handover(ready, loads, me=me, running=running))


def startable(row: ShardRow, by_id: Mapping[str, ShardRow], listed: frozenset[str]) -> bool:
    """Say whether every parent is settled to its end, or finished long ago (rule 11)."""
    for parent in row.shard.parents:
        known = by_id.get(parent)
        if (known is None and parent in listed) or (known is not None and known.state != "ended"):
            return False
    return True


def outlived(rows: Iterable[ShardRow], *, listed: Container[str], before: float) -> list[ShardRow]:
    """Return the rows nobody will ask for again: every worker reads all rows, and a table's shards roll for ever.

    Ended, as all that goes on from them is; not listed any more; nothing in them arrived since `before` (seconds since
    the epoch), so that no late listing could have any of it read again.
    """
    rows = list(rows)
    awaited = {parent for row in rows if row.state != "ended" for parent in row.shard.parents}
    return [
        row
        for row in rows
        if row.state == "ended"
        and row.id not in listed
        and row.id not in awaited
        and max(row.caught_up_at or 0.0, row.frontier_arrived or 0.0) < before
    ]


def is_free(row: ShardRow, alive: Sequence[str]) -> bool:
    """Say whether nobody alive owns the row."""
    return row.owner is None or row.owner not in alive


def _deal(free: Sequence[ShardRow], loads: dict[str, int], *, me: str) -> tuple[ShardRow, ...]:
    """Give each free shard to the worker it prefers, else to the least loaded; return mine."""
    mine: list[ShardRow] = []
    fair = ceil((len(free) + sum(loads.values())) / len(loads))
    for row in sorted(free, key=lambda row: row.id):
        preferred = row.prefers if row.prefers in loads and loads[row.prefers] < fair else None
        to = preferred or min(loads, key=lambda worker: (loads[worker], worker))
        loads[to] += 1
        if to == me:
            mine.append(row)
    return tuple(mine)


def _handover(ready: Sequence[ShardRow], loads: Mapping[str, int], *, me: str, running: frozenset[str]) -> Move | None:
    """Offer one shard, if I am the most loaded and another worker has at least two fewer."""
    most = max(loads, key=lambda worker: (loads[worker], worker))
    least = min(loads, key=lambda worker: (loads[worker], worker))
    mine = sorted(row.id for row in ready if row.owner == me and row.id in running)
    if most != me or loads[me] - loads[least] < 2 or not mine:  # noqa: PLR2004 - a difference of one is balanced
        return None
    return Move(shard=mine[-1], to=least)
