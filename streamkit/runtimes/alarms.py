"""What is said of a shard in trouble while it runs: that it is held up, and that its records grow old."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.events import RecordsAged, ShardHeldUp

if TYPE_CHECKING:
    import asyncio

    from streamkit.core.settlement import Settling
    from streamkit.runtimes.chart import Chart
    from streamkit.runtimes.shard_terms import Terms

_LAG_SECONDS = 60.0


class Alarms:
    """Looks at one shard whenever it is asked to, and says once a minute what a person should know."""

    def __init__(self, settling: Settling, terms: Terms, *, chart: Chart, news: asyncio.Event) -> None:
        """`news` is set when the row should tell of it too."""
        self._settling = settling
        self._retention = terms.retention_seconds
        self._clock = terms.around.clock
        self._report = terms.around.report
        self._chart = chart
        self._news = news
        self._passed = 0
        """What the frontier had passed when it moved last."""
        self._moved = self._told = self._looked = self._clock.monotonic()

    def look(self, now: float, *, behind: float) -> None:
        """Look, at this monotonic time. `behind`: seconds from the last answer to the tip, 0.0 if nobody knows."""
        self._look_at_frontier(now)
        self._look_at_age(now, behind=behind)

    def _look_at_frontier(self, now: float) -> None:
        """Look whether the frontier moves, if records wait (rule 17)."""
        settling, oldest = self._settling, self._settling.oldest
        if settling.passed != self._passed or oldest is None:
            self._passed, self._moved, self._told = settling.passed, now, now
        elif now - self._told >= _LAG_SECONDS:
            self._told = now
            self._report(
                ShardHeldUp(
                    shard=settling.shard,
                    sequence=oldest.sequence_number,
                    held_up_seconds=now - self._moved,
                    waiting=settling.pending,
                )
            )
        if self._chart.stands(now - self._moved):
            self._news.set()

    def _look_at_age(self, now: float, *, behind: float) -> None:
        """Look once a minute whether the oldest unsettled record is older than half of the retention (rule 14)."""
        if now - self._looked < _LAG_SECONDS:
            return
        self._looked, retention, oldest = now, self._retention, self._settling.oldest
        age = behind if oldest is None else max(behind, self._clock.now().timestamp() - oldest.arrived)
        if age >= retention / 2:
            self._report(RecordsAged(shard=self._settling.shard, age_seconds=age, retention_seconds=retention))
