"""The rate limit: how many records a second go to handlers, whatever the shards, lanes, batches and failures."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from streamkit import Consumer, Kinesis, Record, Sqs, consumer
from streamkit.engine.pace import SAVED_SECONDS, Pace, Turn
from streamkit.errors import ConfigurationError
from streamkit.testing import run_virtual
from tests.engine.bench import KINDS, SINGLE, Bench, Fate, Interruption, Kind
from tests.runtimes.cluster import Cluster, simulate

FATES = [Fate(key=key) for key in "abcde"] * 12


def most_within(starts: Sequence[float], seconds: float) -> int:
    """The most starts in any stretch of time of this length."""
    return max(sum(first <= each < first + seconds for each in starts) for first in starts)


def lived(kind: Kind, rate: float, fates: Sequence[Fate] = FATES, **about: Any) -> tuple[Bench, list[float]]:
    """One shard to its end; return it, and when its handlers began with each record."""
    starts: list[float] = []
    settings = {"rate": rate, **about.pop("settings", {})}

    async def main() -> Bench:
        bench = Bench(fates, kind, settings=settings, **about)
        bench.on_run = lambda _: starts.append(bench.loop.time())
        turns = bench.count_turns()
        await bench.live()
        assert turns() < 40 * len(fates), "the loop spins while it waits"
        return bench

    return run_virtual(main), starts


@pytest.mark.parametrize("kind", SINGLE)
def test_no_more_records_start_than_the_rate_allows_and_not_many_fewer(kind: Kind) -> None:
    """Whether handlers wait, never wait, or run in threads."""
    bench, starts = lived(kind, 10.0)
    assert sorted(bench.effects) == list(range(len(FATES)))
    assert bench.out_of_order() == []
    assert most_within(starts, 1.0) <= 10 + max(1, SAVED_SECONDS * 10)
    assert starts[-1] - starts[0] == pytest.approx((len(FATES) - 1) / 10, abs=0.2)


def test_slow_handlers_overlap_as_the_rate_and_the_concurrency_allow() -> None:
    """The rate counts starts; what is under way does not hold up what may start."""
    _, starts = lived("record", 10.0, [Fate(key=str(n), seconds=3.0) for n in range(40)])
    assert starts[-1] - starts[0] == pytest.approx(3.9, abs=0.2)


def test_a_batch_counts_by_its_records() -> None:
    """Five of ten records each, at ten records a second: one a second."""
    starts: list[float] = []

    async def main() -> None:
        bench = Bench(FATES[:50], "bisect", settings={"rate": 10.0, "batch_size": 10})
        bench.on_run = lambda record: starts.append(bench.loop.time()) if int(record.data) % 10 == 0 else None
        await bench.live()

    run_virtual(main)
    assert starts == pytest.approx([0.0, 1.0, 2.0, 3.0, 4.0], abs=0.15)


def test_retries_count() -> None:
    """They are calls of the handler like any other."""
    _, starts = lived("record", 2.0, [Fate("bad", 1, key=str(n)) for n in range(5)] + FATES[:10])
    assert len(starts) == 20
    assert most_within(starts, 5.0) <= 11


def test_what_the_filter_drops_does_not_count() -> None:
    """Ninety of a hundred are no business of the handler's."""
    fates = [Fate(key=str(n % 7)) for n in range(100)]
    bench, starts = lived("record", 10.0, fates, rejected=lambda record: int(record.data) % 10 != 0)
    assert len(bench.effects) == 10
    assert starts[-1] - starts[0] < 1.2


@pytest.mark.parametrize("kind", KINDS)
def test_a_drain_waits_for_no_turn(kind: Kind) -> None:
    """What has not started stays unsettled for the next owner, at once."""

    async def main() -> None:
        bench = Bench(FATES, kind, settings={"rate": 0.01, "batch_size": 1})
        await bench.live(Interruption("stop", 5.0), budget=6.0)
        assert bench.effects == [0]

    run_virtual(main)


def test_shards_take_turns() -> None:
    """None starves, and all of them together keep to the rate."""

    async def main(cluster: Cluster) -> None:
        cluster.start(cluster.consumer(rate=20.0))
        cluster.put(*range(400), keys=40)
        await cluster.until_handled(*range(400))
        starts = [each.at for each in cluster.handled]
        assert most_within(starts, 1.0) <= 22
        assert starts[-1] - starts[0] == pytest.approx(20.0, abs=1.0)
        first = [each.record.shard for each in cluster.handled[:40]]
        assert min(first.count(shard) for shard in set(first)) >= 8
        assert cluster.disorder == []

    simulate(main, shards=4)


def test_a_quiet_time_saves_up_a_tenth_of_a_second() -> None:
    """Not more: what is behind the handler was promised a rate."""
    pace = Pace(100.0)
    assert [pace.reserve(1000.0) <= 1000.0 for _ in range(12)] == [True] * 10 + [False] * 2
    assert Pace(0.5).reserve(1000.0) == 1000.0
    turn = Turn(Pace(0.5))
    assert turn.has_come(1000.0)
    turn.use(3)
    assert not turn.has_come(1000.0)
    assert turn.at == 1006.0


def test_a_consumer_that_is_tried_out_does_not_wait() -> None:
    """`Consumer.settle` takes no time."""

    async def main() -> float:
        result = await _made(rate=0.001).settle(range(50))
        assert len(result.handled) == 50
        return asyncio.get_running_loop().time()

    assert run_virtual(main) == 0.0


@pytest.mark.parametrize("rate", [0, -1, 2e6])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    """Where the consumer is made."""
    with pytest.raises(ConfigurationError, match="rate: expected more than 0, up to 1e6, got"):
        _made(rate=rate)


def _made(rate: float) -> Consumer:
    @consumer("paced", source=Kinesis("stream"), dead_letters=Sqs("dead"), rate=rate)
    async def paced(record: Record) -> None:
        del record

    return paced
