"""Reading one shard ahead, as far as the budget and the window have room.

Reader --> gaps? --> expand --> room? --> mark, where nothing is to be handled twice --> Engine.feed
"""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING

from streamkit.core.kpl import expand_all
from streamkit.core.schedule import FOREVER
from streamkit.errors import Missing
from streamkit.events import RecordsTrimmed
from streamkit.ports import Read
from streamkit.runtimes.budget import ReadAhead
from streamkit.runtimes.gaps import HALTED_BY_GAP, Gap, Gaps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamkit.core.leasing import ShardRow
    from streamkit.core.lineage import Shard
    from streamkit.core.positions import Place
    from streamkit.core.records import Record
    from streamkit.core.settlement import Settling
    from streamkit.engine.engine import Engine
    from streamkit.ports import Reader
    from streamkit.runtimes.chart import Chart
    from streamkit.runtimes.checkpoints import Checkpoints
    from streamkit.runtimes.shard_terms import Terms


class Reading:
    """Reads one shard from its row's frontier on, and feeds its engine."""

    def __init__(
        self, row: ShardRow, settling: Settling, terms: Terms, *, chart: Chart, engine: Engine, checkpoints: Checkpoints
    ) -> None:
        """`chart` and `checkpoints` are told how far the tip is."""
        self._row = row
        self._settling = settling
        self._terms = terms
        self._clock = terms.around.clock
        self._chart = chart
        self._engine = engine
        self._checkpoints = checkpoints
        self._ahead = ReadAhead(terms.budget)
        self._marking = False
        """Whether a wave is on its way from its mark to the engine."""
        self.closed = False
        """Whether it was told to read nothing more."""
        self.ended = False
        """Whether all of a shard that takes no more records is read."""
        self.children: Sequence[Shard] = ()
        """The shards that go on from one that has ended."""
        self.acquitted = False
        """Whether no record is suspected any more, so that the shard is to be run as ever."""
        self.behind = 0.0
        """Seconds that the last answer was behind the tip, as far as the service says so."""
        self.idle_since = FOREVER
        """Since when (monotonic) the shard is caught up and settled; FOREVER while it is not."""

    @property
    def over(self) -> bool:
        """Say whether nothing more is to come in."""
        return (self.closed and not self._marking) or self.ended or self.acquitted

    def close(self) -> None:
        """Read nothing more."""
        self.closed = True

    def free(self) -> None:
        """Give back the memory of answers that are settled."""
        self._ahead.free(self._settling.passed)

    def release(self) -> None:
        """Give back all of the memory: the run is over."""
        self._ahead.release()

    async def run(self) -> None:
        """Read until nothing more is to come in. Raises `LeaseLost`, and `Missing` for a stream that is gone."""
        row = self._row
        place: Place = row.progress.frontier or row.start
        gaps = Gaps(row, retention_seconds=self._terms.retention_seconds, clock=self._clock)
        ours = row.shard.hash_range if self._terms.kpl_only else None
        with closing(self._terms.open_reader(row.shard, place)) as reader:
            await self._read_from(reader, gaps, hash_range=ours)

    async def _read_from(self, reader: Reader, gaps: Gaps, *, hash_range: tuple[int, int] | None) -> None:
        while not self.closed:
            await self._ahead.room()
            asked = self._clock.now().timestamp()
            read = await self._answer(reader)
            self.behind = 0.0 if read.ended or read.behind is None else read.behind.total_seconds()
            if (gap := gaps.found(read, asked=asked)) is not None:
                self._report_gap(gap)
            await self._feed(expand_all(read.records, hash_range=hash_range))
            if self.closed and self._terms.wave is not None:
                return  # some of them may not be marked, and are the successor's
            await self._note(read, asked=asked)
            if self.ended or self.acquitted:
                self._engine.feed(())
                return

    async def _answer(self, reader: Reader) -> Read:
        """Return the next answer. A shard that was trimmed away whole has ended; a stream that is gone has not."""
        try:
            return await reader.read()
        except Missing:
            if not await self._terms.is_trimmed(self._row.id):
                raise
            return Read((), timedelta.max, ended=True)

    def _report_gap(self, gap: Gap) -> None:
        self._terms.around.report(RecordsTrimmed(shard=self._row.id, after=gap.after, until=gap.until))
        self._settling.skip()
        if self._terms.halt_on_gap:
            self._settling.halt(HALTED_BY_GAP)

    # The records of an answer

    async def _feed(self, records: Sequence[Record]) -> None:
        """Hand the records to the engine as its window has room."""
        if not records:
            return
        size = sum(len(record.data) for record in records)
        self._terms.tally.received_bytes += size
        self._ahead.take(size)
        if self._terms.trial is not None:
            await self._terms.trial.feed(records, self._engine, self._checkpoints.write)
        else:
            await self._feed_all(records)
        self._ahead.keep(size, until=self._settling.admitted)
        self.free()  # suspects are settled by now, so that no news of them may come

    async def _feed_all(self, records: Sequence[Record]) -> None:
        wave = self._terms.wave
        share = max(1, self._terms.checkpoint.window // 8 if wave is None else wave // 2)
        fed = 0
        while fed < len(records):
            room = self._room()
            if room >= min(share, len(records) - fed):
                await self._feed_some(records[fed : fed + room])
                fed += room
            else:
                self._engine.settled.clear()
                await self._engine.settled.wait()

    async def _feed_some(self, records: Sequence[Record]) -> None:
        """Hand over records there is room for; where nothing is to be handled twice, mark them first (rule 25)."""
        if self._terms.wave is None:
            self._engine.feed(records)
        elif not self.closed:
            self._marking = True
            try:
                await self._checkpoints.mark(records[-1].position)
                self._engine.feed(records)
            finally:
                self._marking = False

    def _room(self) -> int:
        """Return how many records may come in: a window's worth, and no more than may be repeated (rule 19)."""
        checkpoint, settling = self._terms.checkpoint, self._settling
        undurable = settling.admitted - self._checkpoints.durable
        window = self._terms.wave or checkpoint.window
        return min(window - settling.pending, checkpoint.records + checkpoint.window - undurable)

    # What an answer says besides

    async def _note(self, read: Read, *, asked: float) -> None:
        """Take note of the tip and of the end, once the records of the answer are fed."""
        trial = self._terms.trial
        tried = trial is not None and trial.state.over  # what follows the suspects in this answer is not touched
        caught_up = not (read.behind or read.ended or tried) and self._settling.clear
        if caught_up:
            self._checkpoints.caught_up_at = asked
        self._note_behind(read)
        self._note_idle(caught_up=not read.records and not read.behind)
        if tried or (trial is not None and caught_up):
            self.acquitted = True
        elif read.ended:
            self.children = read.children or await self._terms.children_of(self._row.id)
            self.ended = True

    def _note_behind(self, read: Read) -> None:
        """Take note of the distance to the tip; having reached it is news."""
        before, behind = self._chart.behind, timedelta() if read.ended else read.behind
        self._chart.behind = None if behind is None else behind.total_seconds()
        if before and not self._chart.behind:
            self._engine.settled.set()

    def _note_idle(self, *, caught_up: bool) -> None:
        if not (caught_up and self._settling.clear):
            self.idle_since = FOREVER
        elif self.idle_since == FOREVER:
            self.idle_since = self._clock.monotonic()
