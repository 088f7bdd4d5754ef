"""What must hold, whatever happens (rules 1, 2, 4, 5, 11, 12, 16): of every change of the table, and of every state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from streamkit.core.leasing import Member, ShardRow

if TYPE_CHECKING:
    from tests.exhaustive.machine import Held, Request

Rows = Mapping[str, ShardRow]
Members = Mapping[str, Member]


def number(row: ShardRow) -> int:
    """Return up to which record the row says the shard is settled."""
    frontier = row.progress.frontier
    return int(frontier.sequence_number) if frontier else 0


def broken_by(request: Request, rows: Rows, changed: Rows, members: Members) -> str | None:
    """Return the law that a request broke by what it did to the shard rows."""
    for shard, after in changed.items():
        before = rows.get(shard)
        if before is not None and before != after:
            wrong = _broken_by_change(request, before, after, members)
            if wrong:
                return f"{wrong}: {before!r} became {after!r}"
    return None


def _broken_by_change(  # noqa: PLR0911 - a line for each law
    request: Request, before: ShardRow, after: ShardRow, members: Members
) -> str | None:
    if before.state == "ended":
        return "a shard that is ended changed"
    if after.revision != before.revision + 1:
        return "a write did not count the revision on by one"
    if number(after) < number(before):
        return "the frontier moved back"
    if after.epoch == before.epoch:
        held, wanted = request.args[:2]
        if after.owner not in (before.owner, None):
            return "the owner changed within an epoch"
        if (held.owner, held.epoch, held.revision) != (before.owner, before.epoch, before.revision):
            return "a stale write took effect"
        return None if after == wanted else "a write did something else than was asked"
    if after.epoch != before.epoch + 1 or after.owner is None:
        return "the epoch did not grow by one"
    if before.owner not in (None, after.owner) and members[before.owner].state == "alive":
        return "the shard of a living owner was taken"
    if after.progress != before.progress:
        return "a take changed the progress"
    return None


def broken_by_refusal(request: Request, rows: Rows) -> str | None:
    """Return what is wrong with refusing this write: only the condition on the shard itself may (rule 12)."""
    if request.method != "write":
        return None
    held = request.args[0]
    row = rows[held.id]
    if (row.owner, row.epoch, row.revision) == (held.owner, held.epoch, held.revision):
        return f"a write was refused although {held!r} still stands"
    return None


def broken_among_members(request: Request, members: Members, changed: Members) -> str | None:
    """Return the law that a request broke by what it did to the worker rows."""
    for worker, after in changed.items():
        before = members.get(worker)
        if before is None or before == after:
            continue
        if before.state != "alive":
            return f"{worker}, {before.state}, changed"
        if after.state == "dead" and request.args[0].counter != before.counter:
            return f"{worker} was declared dead although its counter moved"
    return None


def broken_in(rows: Rows, settled: Mapping[str, int], records: int) -> Iterator[str]:
    """Yield the laws the table breaks as it is."""
    for shard, row in rows.items():
        if number(row) > settled[shard]:
            yield f"{row!r} passed record {settled[shard] + 1}, which nobody settled"
        if row.state == "ended" and number(row) != records:
            yield f"{row!r} ended before its last record"
        if row.epoch and any(rows[parent].state != "ended" for parent in row.shard.parents):
            yield f"{row!r} started before its parents ended"


def broken_by_belief(works: Sequence[Held], rows: Rows) -> str | None:
    """Return whose idea of its row is wrong, although it has no doubt and nobody took the shard from it."""
    for work in works:
        mine, row = work.row, rows[work.id]
        if work.in_doubt or (mine.owner, mine.epoch) != (row.owner, row.epoch):
            continue
        if replace(row, prefers=None) != replace(mine, prefers=None):
            return f"{mine.owner} is sure of {mine!r}, and the table holds {row!r}"
    return None
