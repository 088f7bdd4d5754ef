"""A replay: a range of a stream's history that a consumer handles once more.

Half-open, `since <= arrived < until`, so that two replays that meet share no record. A record's time of arrival is the
service's, to the millisecond, and said to be approximate
(https://docs.aws.amazon.com/kinesis/latest/APIReference/API_Record.html): reading goes on for a while past the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from streamkit.core.leasing import ShardRow
from streamkit.core.records import Record

SLACK_SECONDS = 10.0
"""How far beyond the end of the range a shard is read before it is believed to hold nothing more of it."""


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """What is replayed, as it was resolved when the replay began; moments in seconds since the epoch."""

    id: str
    said: str
    """The range as it was asked for: whoever asks by the same id has to say the same."""
    since: float
    until: float
    begun: float
    shard: str | None = None
    """The one shard it is about; None is all."""
    key: str | None = None
    """Digest of the one key it is about."""
    finished: float | None = None

    @property
    def space(self) -> str:
        """Name the rows that are this replay's: never the live consumer's, never another replay's."""
        return f"replay#{self.id}#{self.begun!r}"

    @property
    def range(self) -> str:
        """Say the range, in UTC."""
        return f"{said_moment(self.since)} to {said_moment(self.until)}"

    def covers(self, record: Record) -> bool:
        """Say whether the record arrived within the range."""
        return self.since <= record.arrived < self.until

    def is_behind(self, arrived: float) -> bool:
        """Say whether nothing of the range is to be expected after what arrived, or was asked for, then."""
        return arrived >= self.until + SLACK_SECONDS


class Headway(msgspec.Struct, frozen=True):
    """How far a replay has come, by the rows of its shards."""

    shards: int
    ended: int
    fraction: float
    """Of the time in the range, over all shards: 0 to 1."""
    settled: int
    """Records, in all its runs; as the next."""
    dead: int
    standing: tuple[str, ...] = ()
    """Shards that do not move on, each with what keeps it."""

    @property
    def over(self) -> bool:
        """Say whether nothing is left to do by itself: every shard ended, or waits for a person."""
        return self.shards > 0 and self.ended == self.shards


def headway(rows: Iterable[ShardRow], replay: Replay) -> Headway:
    """Sum up the rows."""
    rows = tuple(rows)
    span = max(replay.until - replay.since, 1e-3)
    reached = [_reached(row, replay) - replay.since for row in rows]
    return Headway(
        shards=len(rows),
        ended=sum(row.state == "ended" for row in rows),
        fraction=sum(reached) / span / len(rows) if rows else 0.0,
        settled=sum(row.vitals.settled for row in rows if row.vitals),
        dead=sum(row.vitals.dead for row in rows if row.vitals),
        standing=tuple(f"{row.id}: {why}" for row in rows if (why := _held(row))),
    )


def said_moment(epoch: float) -> str:
    """Return a moment in UTC, with as many digits as it needs to be said again."""
    at = datetime.fromtimestamp(epoch, UTC)
    return at.isoformat(timespec="milliseconds" if at.microsecond else "seconds").replace("+00:00", "Z")


def _reached(row: ShardRow, replay: Replay) -> float:
    if row.state == "ended":
        return replay.until
    return min(max(row.frontier_arrived or replay.since, replay.since), replay.until)


def _held(row: ShardRow) -> str | None:
    if row.state == "halted":
        return row.halted or "halted"
    return row.vitals.paused if row.vitals and row.state == "open" else None
