"""What is counted and measured: all of it, and without a step more for any record."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from streamkit.errors import Unanswered
from streamkit.events import (
    CheckpointDelayed,
    CheckpointWritten,
    Event,
    LettersDelayed,
    ReadDelayed,
    RecordsTrimmed,
    ShardTaken,
)
from streamkit.metrics import BUCKETS, CHECKPOINT, HANDLER, LIVE, READY, Sample, catalogue
from streamkit.runtimes.health.meters import Meters, Spread
from streamkit.runtimes.health.snapshot import Snapshot, aged
from streamkit.testing import Recorder, run_virtual
from tests.engine.bench import SINGLE, Bench, Fate, Kind
from tests.runtimes.cluster import Cluster, simulate

FATES = [Fate(key=key) for key in "abcab"] * 30
TAKEN = ShardTaken(shard="s", epoch=1, previous_owner=None, frontier=None)


def values(samples: Sequence[Sample], name: str) -> dict[tuple[str, ...], float]:
    """The values of one metric, by its labels."""
    return {each.labels: each.value for each in samples if each.metric == f"streamkit_{name}"}


@pytest.mark.parametrize("kind", SINGLE)
def test_every_call_of_a_handler_is_timed_once(kind: Kind) -> None:
    """Quick ones by the stretch, waiting and failing ones each; what the filter drops is no call."""
    noted: list[tuple[float, int]] = []

    async def main() -> Bench:
        troubled = {7: Fate("poison"), 40: Fate("bad", 1), 90: Fate(seconds=3.0), 91: Fate(key="x", seconds=1.0)}
        bench = Bench(
            [troubled.get(index, fate) for index, fate in enumerate(FATES)],
            kind,
            observe=lambda took, calls: noted.append((took, calls)),
            rejected=lambda record: int(record.data) % 10 == 5,
        )
        await bench.live()
        return bench

    bench = run_virtual(main)
    assert sum(calls for _, calls in noted) == sum(bench.runs.values())
    assert sum(took for took, _ in noted) == pytest.approx(4.0)
    assert min(took for took, _ in noted) >= 0.0


def test_a_batch_is_one_call() -> None:
    """Halves of a failed one are calls too."""
    noted: list[int] = []

    async def main() -> None:
        bench = Bench([Fate(), Fate("poison"), Fate(), Fate()], "bisect", observe=lambda _, calls: noted.append(calls))
        await bench.live()

    run_virtual(main)
    assert set(noted) == {1}
    assert len(noted) >= 3


def test_durations_fall_into_the_bucket_they_fit() -> None:
    """A bound belongs to its own bucket; several are counted with their mean."""
    spread = Spread()
    spread.note(BUCKETS[0])
    spread.note(BUCKETS[0] * 1.01)
    spread.note(100 * BUCKETS[-1])
    spread.note(4.0, 8)
    sample = spread.sample(HANDLER, "orders")
    assert (sample.counts[0], sample.counts[1], sample.counts[-1], sum(sample.counts)) == (1, 1, 1, 11)
    assert sample.counts[BUCKETS.index(0.5)] == 8
    assert sample.value == pytest.approx(BUCKETS[0] * 2.01 + 6000 + 4.0)


def test_events_are_counted_and_passed_on() -> None:
    """By what they tell of; throttling apart from other trouble, by service."""
    recorder = Recorder()
    meters = Meters("orders", recorder)
    events: list[Event] = [
        TAKEN,
        RecordsTrimmed(shard="s", after=None, until=None),
        ReadDelayed(shard="s", error="Throttled", delay_seconds=1.0),
        CheckpointDelayed(shard="s", error="Unanswered", delay_seconds=1.0),
        LettersDelayed(shard="s", letters=1, error="Undelivered", delay_seconds=1.0),
        CheckpointWritten(shard="s", frontier=None, ahead=0, took_seconds=0.2),
    ]
    for event in events:
        meters.note(event)
    samples = list(meters.samples())
    assert list(recorder.events) == events
    assert values(samples, "shards_taken_total") == {("orders",): 1}
    assert values(samples, "gaps_total") == {("orders",): 1}
    assert values(samples, "requests_throttled_total")["orders", "stream"] == 1
    assert values(samples, "requests_throttled_total")["orders", "table"] == 0
    assert values(samples, "requests_failed_total") == {
        ("orders", "stream"): 0, ("orders", "table"): 1, ("orders", "queue"): 1,
    }  # fmt: skip
    [checkpoint] = [each for each in samples if each.metric == CHECKPOINT.series]
    assert (checkpoint.value, sum(checkpoint.counts)) == (0.2, 1)


def test_a_worker_gives_all_that_the_catalogue_names_and_nothing_else() -> None:
    """Labels as it says, each choice of labels once; handlers are timed only if somebody looks."""

    async def main(cluster: Cluster) -> None:
        process = cluster.start()
        cluster.put(*range(50))
        await cluster.until_handled(*range(50))
        await cluster.until(lambda: bool(cluster.events("checkpoint.written")))
        [crew] = process.worker._crews  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - what the health page asks
        samples = list(crew.samples(cluster.world.clock.now()))
        known = catalogue()
        assert {each.metric for each in samples} == known.keys() - {HANDLER.series, LIVE.series, READY.series}
        assert len({(each.metric, each.labels) for each in samples}) == len(samples)
        assert all(len(each.labels) == len(known[each.metric].labels) for each in samples)
        assert values(samples, "records_handled_total") == {("cluster",): 50}
        assert values(samples, "received_bytes_total") == {("cluster",): sum(len(str(n)) for n in range(50))}
        assert values(samples, "shards_held") == {("cluster",): 1}
        assert values(samples, "oldest_unsettled_age_seconds") == {("cluster",): 0.0}
        assert (crew.stuck(), crew.unready()) == (None, None)

    simulate(main)


def test_what_waits_is_measured() -> None:
    """The age of the oldest record that does not settle, and what stands behind it."""

    async def main(cluster: Cluster) -> None:
        down = True

        async def handle(_: object) -> None:
            if down:
                raise OSError

        process = cluster.start(cluster.consumer(handle))
        cluster.put(*range(20))
        await cluster.until(lambda: bool(cluster.events("shard.paused")))
        await cluster.until(lambda: cluster.loop.time() > 60)
        [crew] = process.worker._crews  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - what the health page asks
        samples = list(crew.samples(cluster.world.clock.now()))
        assert values(samples, "shards_paused") == {("cluster",): 1}
        assert values(samples, "records_waiting") == {("cluster",): 20}
        assert 50 < values(samples, "oldest_unsettled_age_seconds")["cluster",] < 70

    simulate(main)


def test_a_worker_is_ready_while_it_does_what_falls_to_it() -> None:
    """Not before it has looked, not while the table is down, not while it drains; it lives all the time."""

    async def main(cluster: Cluster) -> None:
        process = cluster.start()
        [crew] = process.worker._crews  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - what the health page asks
        assert crew.unready() == "stream, table or queue were not opened yet"
        await cluster.until(lambda: crew.unready() is None, within=10)
        cluster.world.table.outage = Unanswered("down")
        await cluster.until(lambda: "the table" in (crew.unready() or ""), within=10)
        assert crew.stuck() is None
        cluster.world.table.outage = None
        await cluster.until(lambda: crew.unready() is None, within=30)
        process.drain()
        assert crew.unready() == "it drains"
        assert crew.stuck() is None

    simulate(main)


def test_a_snapshot_that_grows_old_is_of_a_loop_that_is_stuck() -> None:
    """Its samples say so too."""
    young = Snapshot(at=100.0, unready=(), samples=(Sample(LIVE.series, ("orders",), 1.0),))
    assert aged(young, now=109.0, patience=10.0) == young
    old = aged(young, now=112.0, patience=10.0)
    assert old.stuck == old.unready == ("the worker's loop has not turned for 12 s",)
    assert old.samples == (Sample(LIVE.series, ("orders",), 0.0),)
