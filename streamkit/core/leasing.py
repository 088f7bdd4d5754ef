"""Who reads which shard: rows, sightings of heartbeats, and the plan every worker computes from the same rows.

Pure: no clock, no I/O. `now` is the caller's own monotonic clock; nobody trusts another's (rule 2).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

from streamkit.core.balance import Cause, Level, deal, shares, transfers, weights
from streamkit.core.lineage import Shard
from streamkit.core.positions import Position, Progress, Start
from streamkit.core.quarantine import Death, Quarantine

SUSPICION = 1.05
"""A worker is suspect once its counter stood still for this many lease durations."""
USUAL_LEASE = 10.0
"""Seconds of a lease, unless a consumer has another."""
KEPT_SECONDS = 3600.0
"""The row of a worker that died or left is kept for so long: nobody then still acts on what it said before."""


class Vitals(msgspec.Struct, frozen=True, array_like=True):
    """How a shard fares, as its owner last told with a checkpoint. For people: nothing is decided by it."""

    at: float = 0.0
    """When it was told: seconds since the epoch, by the owner's clock."""
    settled: int = 0
    """Records the frontier has passed, over all owners; as the next two."""
    retried: int = 0
    dead: int = 0
    rate: float = 0.0
    """Records settled a second, lately."""
    waiting: int = 0
    """Records read in and not behind the frontier."""
    oldest: float | None = None
    """Arrival of the first record that is not settled: seconds since the epoch."""
    behind: float | None = None
    """Seconds from the last record read to the tip of the shard, where the service says so."""
    held_up: float | None = None
    """Since when the frontier stands still although records wait: seconds since the epoch, by the owner's clock."""
    paused: str | None = None
    """What keeps the circuit breaker open: the exception, and where it was raised."""


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
    level: Level | None = None
    """How many records a second it brought when this was written (`core.balance`): a new owner goes by it at first."""
    marked: Position | None = None
    """Where the consumer handles at most once: everything up to here may have been started (rule 25)."""
    generation: int = 0
    """Grows by one when an operator moves the position: within one, the frontier never moves back (rule 16)."""
    vitals: Vitals | None = None
    deaths: tuple[Death, ...] = ()
    """Owners that died since the frontier moved last, or the suspects came into quarantine (rule 22)."""
    quarantine: Quarantine | None = None
    """How far the suspects have been tried, where a record of the shard is suspected of killing its process."""
    asked: str | None = None
    """Why an operator asked this owner to drain and halt the shard. Written beside the row, by nobody's lease."""

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
    trimmed before they were read (rule 14). Where nobody knows that of the parents (0), nobody knows it of the child.
    """
    seen = [at for row in parents for at in (row.caught_up_at, row.frontier_arrived) if at is not None]
    return ShardRow(shard, "TRIM_HORIZON", caught_up_at=max(seen, default=None))


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
    levels: tuple[Level | None, ...] = ()
    """How many records a second each of them brings (`core.balance`), in the same order; None: not known yet."""
    lease: float = USUAL_LEASE
    """For people, who look without the consumer's code: seconds it may stand still."""

    def beaten(self, held: Sequence[tuple[str, Level | None]]) -> Member:
        """Return the next heartbeat: with the counter one on, and what it runs now, by id, with the levels."""
        levels = tuple(level for _, level in held)
        known = any(level is not None for level in levels)
        return replace(
            self, counter=self.counter + 1, holds=tuple(shard for shard, _ in held), levels=levels if known else ()
        )


class Sightings:
    """What one worker saw of the others' heartbeats, by its own clock."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[tuple[int, str], float]] = {}

    def note(self, members: Iterable[Member], now: float) -> None:
        """Remember when each counter and state was first seen as it is at present; forget rows that are gone."""
        fresh: dict[str, tuple[tuple[int, str], float]] = {}
        for member in members:
            present = (member.counter, member.state)
            seen, since = self._seen.get(member.worker, (present, now))
            fresh[member.worker] = (present, since if seen == present else now)
        self._seen = fresh

    def suspects(self, members: Iterable[Member], *, now: float, lease: float) -> list[Member]:
        """Return the members alive by their row whose counter stood still for `SUSPICION` leases (seconds)."""
        return [each for each in members if each.state == "alive" and self._still(each, now) >= SUSPICION * lease]

    def fresh(self, members: Iterable[Member], *, now: float, within: float) -> set[str]:
        """Return the workers alive whose counter moved in the last `within` seconds."""
        return {each.worker for each in members if each.state == "alive" and self._still(each, now) <= within}

    def bygone(self, members: Iterable[Member], *, now: float, after: float) -> list[Member]:
        """Return the members that have been dead, or have left, for so many seconds."""
        return [each for each in members if each.state != "alive" and self._still(each, now) >= after]

    def _still(self, member: Member, now: float) -> float:
        """Return for how long the member's row has been as it is."""
        return now - self._seen[member.worker][1]


class Move(msgspec.Struct, frozen=True):
    """Hand a live shard over: drain it, checkpoint it, release it with a preference."""

    shard: str
    to: str
    cause: Cause = "count"


class Plan(msgspec.Struct, frozen=True):
    """What one worker does next."""

    take: tuple[ShardRow, ...] = ()
    moves: tuple[Move, ...] = ()


def plan(
    rows: Sequence[ShardRow],
    members: Sequence[Member],
    *,
    me: str,
    running: frozenset[str],
    listed: frozenset[str],
) -> Plan:
    """Compute what `me` takes and hands over; all workers compute the same from the same rows (rule 6).

    `running` are the shards I run; a row that names me but that I do not run is taken anew (rule 4).
    `listed` are the shards of the latest complete listing: a parent neither there nor in a row is long finished.
    What was released for a worker counts as its own. What is free is dealt out first; hand-overs wait until nothing is.
    O((W + S) log S).
    """
    workers = frozenset(member.worker for member in members if member.state == "alive")
    if me not in workers:
        return Plan()
    by_id = {row.id: row for row in rows}
    ready = [row for row in rows if row.state == "open" and startable(row, by_id, listed)]
    owners = {row.id: holder for row in ready if (holder := holder_of(row, workers)) is not None}
    weight = weights(levels_of(ready, members))
    held = shares(workers, owners, weight)
    free = [row.id for row in ready if row.id not in owners]
    takers = owners | deal(free, held, weight)
    take = tuple(row for row in ready if takers[row.id] == me and row.id not in running)
    if free or any(row.owner == me for row in take):
        return Plan(take)
    mine = (each for each in transfers(held) if each.giver == me and each.shard in running)
    return Plan(take, tuple(Move(each.shard, each.taker, each.cause) for each in mine))


def levels_of(rows: Iterable[ShardRow], members: Iterable[Member]) -> dict[str, Level | None]:
    """Return the level of each shard: as its owner's heartbeat has it, else as it was written last."""
    told = {
        (member.worker, shard): level
        for member in members
        if member.state == "alive"
        for shard, level in zip(member.holds, member.levels, strict=False)
    }
    return {row.id: told.get((row.owner or "", row.id), row.level) for row in rows}


def startable(row: ShardRow, by_id: Mapping[str, ShardRow], listed: frozenset[str]) -> bool:
    """Say whether every parent is settled to its end, or finished long ago (rule 11)."""
    for parent in row.shard.parents:
        known = by_id.get(parent)
        if (known is None and parent in listed) or (known is not None and known.state != "ended"):
            return False
    return True


def holder_of(row: ShardRow, alive: Container[str | None]) -> str | None:
    """Return who has the row, or was released for and is about to take it; None if it is anybody's."""
    if is_free(row, alive):
        return row.prefers if row.owner is None and row.prefers in alive else None
    return row.owner


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


def is_free(row: ShardRow, alive: Container[str | None]) -> bool:
    """Say whether nobody alive owns the row."""
    return row.owner is None or row.owner not in alive
