"""Notices when the stream may have dropped records before they were read (rule 14)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamkit.core.schedule import FOREVER

if TYPE_CHECKING:
    from streamkit.core.leasing import ShardRow
    from streamkit.ports import Clock, Read


HALTED_BY_GAP = "records were trimmed before they were read and on_gap is 'halt'"
"""Why a shard halts over a gap; whoever resumes it has taken note of the gap."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A range that may have been dropped: sequence numbers of the last record before and the first one after it."""

    after: str | None
    until: str | None


class Gaps:
    """Watches the reading of one shard. What is left unread for longer than the retention may be gone.

    A shard that was read to its tip and has been quiet since is no gap. Nobody can know what was dropped unread: a gap
    may be a false alarm, never the other way round.
    """

    def __init__(self, row: ShardRow, *, retention_seconds: float, clock: Clock) -> None:
        self._retention = retention_seconds
        self._clock = clock
        first_snapshot = row.progress.frontier is None and row.caught_up_at is None
        self._seen = FOREVER if first_snapshot else max(row.caught_up_at or 0.0, row.frontier_arrived or 0.0)
        """Whatever arrived up to then has been read: seconds since the epoch."""
        self._after = row.progress.frontier.sequence_number if row.progress.frontier else None

    def found(self, read: Read, *, asked: float) -> Gap | None:
        """Take note of an answer to a read begun at `asked` (epoch seconds); return the gap before it, if any may be.

        An answer from the tip tells of the time at which it was asked for: on its way it may have grown old.
        """
        now = self._clock.now().timestamp()
        gap = None
        if (read.records or not read.behind or read.ended) and now - self._seen > self._retention:
            until = read.records[0].sequence_number if read.records else None
            gap = Gap(self._after, until)
        if read.records:
            self._after = read.records[-1].sequence_number
            self._seen = read.records[-1].arrived
        if not read.behind:
            self._seen = asked
        return gap
