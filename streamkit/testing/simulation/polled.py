"""A stream that is polled, by the reader in memory: its lineage, retention and iterators are the emulated service's."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from typing import TYPE_CHECKING, cast

from streamkit.consumer import Kinesis
from streamkit.errors import Throttled
from streamkit.testing.kinesis import AnswerLost, Fault, Faults, KinesisError, KinesisWorld
from streamkit.testing.memory import MemorySource, MemoryStream
from streamkit.testing.memory.stream import MemoryReader
from streamkit.testing.simulation.site import MOST_OPEN, NAME, Reshape, Site

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamkit.core.lineage import Shard, Stream
    from streamkit.core.positions import Place
    from streamkit.core.records import Record
    from streamkit.ports import Clock, Read, Report, Source
    from streamkit.testing.kinesis import Records
    from streamkit.testing.simulation.mix import Mix, Rates
    from streamkit.testing.simulation.process import Process


class TrimmingKinesis(KinesisWorld):
    """Kinesis with a retention in seconds, so that trimming fits into a short run."""

    def keep(self, name: str, seconds: float) -> None:
        """Keep records for so long."""
        self._streams[name].retention_hours = cast("int", seconds / 3600)

    def troubled(self, faults: Faults) -> None:
        """Let these troubles begin."""
        self.faults = faults


def read_faults(rates: Rates) -> Faults:
    """Return the troubles of reading."""
    if not (rates.reads_fail or rates.expired):
        return Faults()
    share = rates.reads_fail / 3
    fault = Fault(throttled=share, failing=share, lost=share, expired=rates.expired)
    return Faults(of={"GetRecords": fault, "GetShardIterator": Fault(throttled=share)})


class PolledStream(Site):
    """A Kinesis stream in memory."""

    def __init__(self, mix: Mix, clock: Clock) -> None:
        super().__init__()
        self._mix = mix
        self.kinesis = TrimmingKinesis(
            clock=lambda: clock.now().timestamp(), chance=random.Random(f"kinesis {mix.seed}")
        )
        self.stream = MemoryStream(self.kinesis, clock, name=NAME, shards=mix.shards)
        if mix.retention is not None:
            self.kinesis.keep(NAME, mix.retention)

    def declared(self) -> Kinesis:
        """Return the source as a consumer declares it."""
        return Kinesis(NAME, poll=timedelta(seconds=self._mix.poll), start=self._mix.start)

    def source(self, process: Process, report: Report) -> Source:  # noqa: ARG002 - nothing to report
        """Return the stream as one process sees it."""
        return SourceView(self, process, idle=timedelta(seconds=self._mix.poll), page=self._mix.page)

    def put(self, key: str, number: int) -> Record | None:
        """Put a record, if there is a stream."""
        return self.stream.put(key, str(number).encode()) if self.listed() else None

    def put_into(self, shard: Shard, number: int) -> Record | None:
        """Put a record into this shard."""
        assert shard.hash_range is not None  # noqa: S101 - Kinesis tells them
        return self.stream.put(f"last-{number}", str(number).encode(), hash_key=shard.hash_range[0])

    def listed(self) -> Sequence[Shard]:
        """Return the shards that the service still has."""
        try:
            return self.stream.listed()
        except KinesisError:
            return ()

    def reshape(self, rng: random.Random, happens: Callable[[float], bool]) -> Reshape | None:
        """Merge two neighbours, or split a shard."""
        open_ = sorted(self.open(), key=lambda shard: shard.hash_range or (0, 0))
        try:
            if len(open_) > 1 and happens(0.5):
                at = rng.randrange(len(open_) - 1)
                self.stream.merge(open_[at].id, open_[at + 1].id)
                return Reshape("merge", f"merged {open_[at].id[-4:]} and {open_[at + 1].id[-4:]}")
            if len(open_) < MOST_OPEN:
                shard = rng.choice(open_)
                self.stream.split(shard.id)
                return Reshape("split", f"split {shard.id[-4:]}")
        except KinesisError as refused:
            return Reshape("refused", f"reshard refused: {refused.code}")
        return None

    def delete(self) -> None:
        """Delete the stream."""
        self.stream.delete()
        self.era += 1

    def create(self, shards: int) -> None:
        """Create another of its name."""
        self.stream.create(shards)

    def trouble(self, rates: Rates) -> None:
        """Let the service fail."""
        self.kinesis.troubled(read_faults(rates))


class SourceView(MemorySource):
    """The stream, over the wire of one process."""

    def __init__(self, site: PolledStream, process: Process, *, idle: timedelta, page: int) -> None:
        super().__init__(site.stream, idle=idle, page=page)
        self._process = process
        self._site = site

    async def identify(self) -> Stream:
        """Return the stream as it is when the request arrives."""
        await asyncio.sleep(self._process.weather.way())
        found = await super().identify()
        await asyncio.sleep(self._process.weather.way())
        return found

    async def shards(self) -> Sequence[Shard]:
        """List every shard; the answer grows stale on its way."""
        await self._process.leave("list")
        if self._process.weather.rng.random() < self._process.weather.rates.reads_fail:
            self._process.history.saw("listing failed")
            raise Throttled("list")
        found = await super().shards()
        await asyncio.sleep(self._process.weather.way())
        if found != self._site.listed():
            self._process.history.saw("listing grown stale")
        return found

    def reader(self, shard: Shard, place: Place) -> MemoryReader:
        """Return a reader of the shard."""
        return ReaderView(self, shard, place, self._process, self._site)


class ReaderView(MemoryReader):
    """One shard, over the wire of one process. Its iterators are of the stream there was when it began to read."""

    def __init__(self, source: SourceView, shard: Shard, place: Place, process: Process, site: Site) -> None:
        super().__init__(source, shard, place)
        self._era: int | None = None
        self._process = process
        self._site = site
        self._earlier: Place = place

    async def read(self) -> Read:
        """Return the next answer; now and then with records of an earlier one once more."""
        weather = self._process.weather
        await self._process.leave("read")
        if weather.rates.repeated and weather.rng.random() < weather.rates.repeated:
            self._process.history.saw("records read again")
            self._place = self._earlier
        before = self._place
        answer = await super().read()
        self._earlier = before
        await asyncio.sleep(weather.way())
        return answer

    def _ask(self) -> Records:
        self._era = self._site.era if self._era is None else self._era
        if self._era != self._site.era:
            raise KinesisError("ResourceNotFoundException", "the iterator is of a stream that is gone")
        try:
            return super()._ask()
        except KinesisError as error:
            self._process.history.saw(f"read refused: {error.code}")
            raise
        except AnswerLost:
            self._process.history.saw("read lost")
            raise
