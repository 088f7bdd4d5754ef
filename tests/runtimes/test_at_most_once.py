"""Consumers that handle at most once: marked before, per wave; interrupted records become letters (rule 25)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Unpack

import pytest

from streamkit import Batch, Checkpoint, Consumer, Kinesis, Outage, Partial, Record, Retry, Sqs, Unavailable, consumer
from streamkit.consumer import Settings
from streamkit.core.positions import Position
from streamkit.runtimes.places import started_at
from tests.runtimes.cluster import LEASE, Cluster, simulate


def at_most_once(cluster: Cluster, *, seconds: float = 0.0, **settings: Unpack[Settings]) -> Consumer:
    """Make a consumer that takes so long for a record, after it has noted it."""

    async def handle(record: Record) -> None:
        row = cluster.world.table.shard_rows[record.shard]
        assert row.marked is not None
        assert row.marked.place >= record.position.place
        await asyncio.sleep(seconds)

    return cluster.consumer(handle, **settings).using(mode="at_most_once")


def letters(cluster: Cluster) -> dict[int, str]:
    """Return the conditions of the letters, by number."""
    return {each.record.json(): each.verdict.condition for each in cluster.world.letters.letters}


def test_a_wave_is_marked_before_it_is_handled_with_one_write() -> None:
    """Every handler finds its record marked; waves are as large as what runs at a time."""

    async def main(cluster: Cluster) -> None:
        cluster.put(*range(640), keys=100)
        cluster.start(at_most_once(cluster), until_idle=3)
        await cluster.until_handled(*range(640))
        assert cluster.repeated == []
        assert cluster.world.letters.letters == []
        assert cluster.world.table.requests["write"] <= 640 / 64 + 4

    simulate(main, latency=lambda: 0.01)


@pytest.mark.parametrize("trouble", ["lost", "late", None])
def test_what_a_kill_interrupted_is_a_letter_and_never_runs_again(trouble: str | None) -> None:
    """Nothing twice, nothing lost: each record has been handled, or is a letter that says what may be."""

    async def main(cluster: Cluster) -> None:
        cluster.put(*range(300), keys=50)
        made = at_most_once(cluster, seconds=0.05, concurrency=8)
        first = cluster.start(made)
        await cluster.until(lambda: len(cluster.seen) > 100)
        if trouble is not None:
            cluster.world.table.inject(trouble)  # type: ignore[arg-type] # one of the two
            await asyncio.sleep(0.08)
        first.kill()
        cluster.start(made)
        await cluster.until(lambda: set(range(300)) <= cluster.seen | letters(cluster).keys())
        assert cluster.repeated == []
        assert set(letters(cluster).values()) == {"Interrupted"}
        assert 0 < len(letters(cluster)) <= 2 * 16
        assert cluster.world.letters.letters[0].reason == "interrupted, may have run"

    simulate(main, latency=lambda: 0.01)


def test_a_drain_interrupts_nothing() -> None:
    """What is marked runs to its end within the grace; what is not is the successor's."""

    async def main(cluster: Cluster) -> None:
        cluster.put(*range(300), keys=50)
        made = at_most_once(cluster, seconds=0.2, concurrency=8)
        first = cluster.start(made)
        await cluster.until(lambda: len(cluster.seen) > 50)
        first.drain()
        cluster.start(made)
        await cluster.until_handled(*range(300))
        assert cluster.repeated == []
        assert letters(cluster) == {}

    simulate(main, latency=lambda: 0.01)


def test_what_the_grace_cut_short_is_a_letter() -> None:
    """It may have run."""

    async def main(cluster: Cluster) -> None:
        cluster.put(*range(40), keys=40)
        made = at_most_once(cluster, seconds=20.0, concurrency=8)
        first = cluster.start(made, grace=1.0)
        await cluster.until(lambda: bool(cluster.when("shard.taken")))
        await asyncio.sleep(1)
        first.drain()
        await cluster.until(first.task.done)
        cluster.start(at_most_once(cluster, concurrency=8))
        await cluster.until(lambda: set(range(40)) <= cluster.seen | letters(cluster).keys())
        assert cluster.repeated == []
        assert set(letters(cluster).values()) == {"Interrupted"}

    simulate(main, latency=lambda: 0.01)


@pytest.mark.parametrize("error", [ValueError("no"), Unavailable("no")])
def test_what_fails_is_not_tried_again(error: Exception) -> None:
    """Not even where nothing can succeed right now: it may have had its effect."""
    runs: list[int] = []

    async def handle(record: Record) -> None:
        runs.append(record.json())
        if record.json() % 3 == 0:
            raise error

    async def main(cluster: Cluster) -> None:
        cluster.put(*range(30), keys=10)
        cluster.start(cluster.consumer(handle, mode="at_most_once"), until_idle=3)
        await cluster.until(lambda: set(range(30)) <= cluster.seen | letters(cluster).keys())
        assert sorted(runs) == list(range(30))
        assert letters(cluster) == dict.fromkeys(range(0, 30, 3), "RetryAttemptsExhausted")
        assert not cluster.events("shard.paused")

    simulate(main)


def test_a_batch_that_fails_is_not_halved() -> None:
    """All of it may have run, but for what the handler says is done."""
    runs: list[int] = []

    async def handle(batch: Batch) -> None:
        runs.extend(record.json() for record in batch)
        if batch[0].json() == 0:
            raise ValueError("no")
        raise Partial(done=batch[1:])

    async def main(cluster: Cluster) -> None:
        cluster.put(*range(10))
        made = consumer.batch("cluster", source=Kinesis("stream"), dead_letters=Sqs("dead"), mode="at_most_once")
        settings: Settings = {
            "checkpoint": Checkpoint(lease=LEASE),
            "batch_size": 5,
            "retry": Retry(),
            "outage": Outage(limit=timedelta(hours=1)),
        }
        cluster.start(made(handle).using(**settings))
        await cluster.until(lambda: len(letters(cluster)) == 6)
        assert sorted(runs) == list(range(10))
        assert set(letters(cluster)) == {0, 1, 2, 3, 4, 5}

    simulate(main)


def test_an_operators_reset_forgets_the_marks() -> None:
    """A position that a person chose is read again, and handled."""

    async def main(cluster: Cluster) -> None:
        cluster.put(*range(10))
        cluster.start(at_most_once(cluster), until_idle=3)
        await cluster.until(cluster.processes[0].task.done)
        (row,) = cluster.world.table.shard_rows.values()
        assert isinstance(row.marked, Position)
        assert started_at(row, "TRIM_HORIZON").marked is None

    simulate(main)
