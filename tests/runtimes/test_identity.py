"""A stream made again under its name is another stream, also for workers that saw neither its end nor its beginning."""

from __future__ import annotations

import asyncio
import math
from contextlib import nullcontext
from datetime import timedelta

import pytest
from msgspec.structs import replace

from streamkit.core.lineage import Stream
from streamkit.errors import ConfigurationError, Throttled, Unanswered
from streamkit.runtimes.identity import Identity
from streamkit.testing import ManualClock, MemorySource, World, run_virtual
from tests.runtimes.cluster import TAKEOVER, Cluster, simulate

STREAM = Stream("stream", "arn:stream", "monday", timedelta(hours=24))


def test_a_worker_that_waited_takes_no_shard_of_another_stream() -> None:
    """Same name, same ids, no sequence number yet for the service to refuse: only the identity tells (rule 13)."""

    async def main(cluster: Cluster) -> None:
        owner = cluster.start()
        await cluster.until(lambda: bool(cluster.events("shard.taken", of=owner)))
        waiting = cluster.start()
        await asyncio.sleep(5)
        owner.kill()
        cluster.world.stream.delete()
        cluster.world.stream.create()
        cluster.put(1)
        await cluster.until(waiting.task.done, within=TAKEOVER + 10)
        error = waiting.task.exception()
        assert isinstance(error, ExceptionGroup)
        assert error.split(ConfigurationError)[1] is None
        assert cluster.values == []

    simulate(main)


class SilentStream(MemorySource):
    """Does not say who it is: first it refuses, then it does not answer at all."""

    asked = 0

    async def identify(self) -> Stream:
        """Refuse, then hang."""
        self.asked += 1
        if self.asked == 1:
            raise Throttled("DescribeStreamSummary")
        await asyncio.Event().wait()
        return STREAM


def test_a_stream_that_does_not_answer_delays_takeovers_for_ten_seconds_at_most() -> None:
    """It is asked again at every tick meanwhile; who only reads it must not stand still for longer. So every time."""

    async def main() -> None:
        source, clock = SilentStream(World().stream), ManualClock()
        identity = Identity(source, STREAM, table="t", clock=clock)
        for _ in range(2):
            for second in range(13):
                with pytest.raises(Unanswered) if second < 10 else nullcontext():
                    await identity.confirm()
                clock.advance(timedelta(seconds=1))
            clock.advance(timedelta(hours=1))
        assert source.asked == 26

    run_virtual(main())


@pytest.mark.parametrize("tick", [0.5, 7.6, 16.0, 40.0])
def test_a_lasting_silence_is_waited_out_once(tick: float) -> None:
    """However seldom a worker looks: shards without an owner are taken while the stream says nothing."""

    async def main() -> None:
        clock, waited = ManualClock(), 0
        identity = Identity(SilentStream(World().stream), STREAM, table="t", clock=clock)
        for _ in range(100):
            try:
                await identity.confirm()
            except Unanswered:
                waited += 1
            clock.advance(timedelta(seconds=tick))
        assert waited == math.ceil(10 / tick)

    run_virtual(main())


def test_an_answer_ends_a_silence() -> None:
    """The next one is waited out as well: the stream may have been made again since."""

    class Now(MemorySource):
        answers = iter([False, True, False])

        async def identify(self) -> Stream:
            if not next(self.answers):
                raise Throttled("DescribeStreamSummary")
            return STREAM

    async def main() -> None:
        clock = ManualClock()
        identity = Identity(Now(World().stream), STREAM, table="t", clock=clock)
        for silent in (True, False, True):
            with pytest.raises(Unanswered) if silent else nullcontext():
                await identity.confirm()
            clock.advance(timedelta(seconds=5.5))

    run_virtual(main())


def test_a_stream_that_answers_late_is_not_taken_for_another() -> None:
    """Made again while its identity was slow: nothing is taken before it said who it is (rule 13)."""

    class Slow(MemorySource):
        asked = 0

        async def identify(self) -> Stream:
            self.asked += 1
            await asyncio.sleep(3.0 if self.asked < 3 else 0.1)
            return replace(STREAM, incarnation="tuesday")

    async def main() -> None:
        clock = ManualClock()
        identity = Identity(Slow(World().stream), STREAM, table="t", clock=clock)
        for _ in range(2):
            with pytest.raises(Unanswered):
                await identity.confirm()
            clock.advance(timedelta(seconds=2))
        with pytest.raises(ConfigurationError, match="tuesday"):
            await identity.confirm()

    run_virtual(main())


def test_many_takes_at_once_ask_once() -> None:
    """A worker that takes shard after shard asks every five seconds: the service allows 20 a second an account."""

    class Known(MemorySource):
        asked = 0

        async def identify(self) -> Stream:
            self.asked += 1
            return STREAM

    async def main() -> None:
        source, clock = Known(World().stream), ManualClock()
        identity = Identity(source, STREAM, table="t", clock=clock)
        for _ in range(20):
            await identity.confirm()
            clock.advance(timedelta(seconds=0.5))
        assert source.asked == 2

    run_virtual(main())
