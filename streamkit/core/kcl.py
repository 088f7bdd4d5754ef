"""What the Kinesis Client Library keeps in its lease table, and what it means here.

A lease is a shard and its `checkpoint`: the last record that was handled, by sequence number and by the subsequence
number inside of a KPL aggregate, or where to begin:

    TRIM_HORIZON   the oldest record            AT_TIMESTAMP   a moment, which only the application's settings name
    LATEST         what comes from now on       SHARD_END      all of it is handled

After a restart KCL reads from the checkpoint's record on, and leaves out every (sub)record up to and including the pair
(KCL 2 and 3: ExtendedSequenceNumber, ProcessTask). That is our `Position`, but for the end of a record:
a plain one has subsequence 0 there, and all of it is behind. Only who reads the record can tell. A checkpoint that was
made without a subsequence number has 0 too: of an aggregate all but the first are handled again by KCL, and here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

from streamkit.core.leasing import ShardRow
from streamkit.core.lineage import Shard, ancestors, eldest_first
from streamkit.core.positions import MAX_DIGITS, Position, Progress, Since, Start

Sentinel = Literal["TRIM_HORIZON", "LATEST", "AT_TIMESTAMP", "SHARD_END"]
SENTINELS: tuple[Sentinel, ...] = ("TRIM_HORIZON", "LATEST", "AT_TIMESTAMP", "SHARD_END")


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """One lease of a KCL application, of any version from 1 to 3."""

    shard: str
    checkpoint: Position | Sentinel
    counter: int = 0
    """Grows with every renewal: it moves while a worker holds the lease."""
    owner: str | None = None
    parents: tuple[str, ...] = ()
    hash_range: tuple[int, int] | None = None
    pending: str | None = None
    """A checkpoint that was prepared and never made: its records count as not handled."""

    @property
    def pulse(self) -> tuple[str | None, int, Position | Sentinel]:
        """What stands still when the application does."""
        return self.owner, self.counter, self.checkpoint


class Step(msgspec.Struct, frozen=True):
    """What becomes of one shard."""

    row: ShardRow
    was: str
    """What KCL had: its checkpoint, or why there was none."""
    warning: str | None = None


def checkpoint_of(text: str, subsequence: int) -> Position | Sentinel:
    """Read a checkpoint. Raises `ValueError` for what is none."""
    for sentinel in SENTINELS:
        if text == sentinel:
            return sentinel
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        raise ValueError(f"expected a sequence number or {', '.join(SENTINELS)}, got {text[:40]!r}")
    return Position(text, subsequence)


def awake(before: Iterable[Lease], after: Iterable[Lease]) -> list[str]:
    """Return the shards whose leases moved between two looks: somebody is at work on them."""
    seen = {lease.shard: lease.pulse for lease in before}
    return sorted(lease.shard for lease in after if seen.get(lease.shard) != lease.pulse)


def steps(leases: Sequence[Lease], listed: Sequence[Shard], *, start: Start | None, now: float) -> list[Step]:
    """Return the row of every shard, parents first. `now` in seconds since the epoch.

    `start` is where shards begin that KCL left at LATEST or AT_TIMESTAMP; LATEST without it is `now`. Shards that are
    listed without a lease: what goes on from a leased one was never begun; what a leased one goes on from was ended
    and its lease removed; anything else was never begun. Raises `ValueError` for AT_TIMESTAMP without `start`.
    """
    shards = {shard.id: shard for shard in listed}
    known = {lease.shard for lease in leases}
    found = [step for lease in leases if (step := _step(lease, shards.get(lease.shard), start, now)) is not None]
    before = ancestors([shards.get(each, Shard(each)) for each in known], listed)
    found += [_lacking(shard, finished=shard.id in before) for shard in listed if shard.id not in known]
    by_id = {step.row.id: step for step in found}
    return [by_id[shard.id] for shard in eldest_first(step.row.shard for step in found)]


def _step(lease: Lease, listed: Shard | None, start: Start | None, now: float) -> Step | None:
    """Return what becomes of a leased shard; None for one that is over and gone."""
    if listed is None and lease.checkpoint == "SHARD_END":
        return None
    shard = listed or Shard(lease.shard, lease.parents, lease.hash_range)
    gone = None if listed else "the stream does not have the shard any more: what was not handled of it is lost"
    row, was = ShardRow(shard, "TRIM_HORIZON"), lease.checkpoint if isinstance(lease.checkpoint, str) else ""
    match lease.checkpoint:
        case "SHARD_END":
            return Step(replace(row, state="ended"), was)
        case "TRIM_HORIZON":
            return Step(row, was, gone)
        case "AT_TIMESTAMP":
            if start is None:
                raise ValueError(
                    f"shard {lease.shard} is at AT_TIMESTAMP, and the moment stands in the application's settings "
                    "only: say it with --start"
                )
            return Step(replace(row, start=start), was, gone)
        case "LATEST":
            told = "never checkpointed: as with KCL, what came before now is left out; --start says otherwise"
            return Step(replace(row, start=start or Since(now)), was, gone or (told if start is None else None))
        case Position() as frontier:
            pending = f"a prepared checkpoint, {lease.pending}, is left out" if lease.pending else None
            return Step(replace(row, progress=Progress(frontier)), said(frontier), gone or pending)


def _lacking(shard: Shard, *, finished: bool) -> Step:
    if finished:
        return Step(ShardRow(shard, "TRIM_HORIZON", state="ended"), "no lease: ended before its children were begun")
    return Step(ShardRow(shard, "TRIM_HORIZON"), "no lease: never begun")


def said(frontier: Position) -> str:
    """Say a checkpoint as KCL does."""
    return frontier.sequence_number + (f"/{frontier.subsequence}" if frontier.subsequence else "")
