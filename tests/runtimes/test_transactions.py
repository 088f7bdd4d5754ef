"""Transactional consumers in workers: the record's writes and the checkpoint are one (rule 25)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Unpack

import pytest
from msgspec.structs import replace

from streamkit import Checkpoint, Consumer, Kinesis, Outage, Record, Retry, Sqs, Transaction, consumer
from streamkit.consumer import Settings
from streamkit.core.leasing import ShardRow
from streamkit.core.transactions import MAX_WRITES
from streamkit.errors import Throttled
from tests.runtimes.cluster import LEASE, Cluster, simulate

Handler = Callable[[Record, Transaction], Awaitable[None]]


async def count(record: Record, tx: Transaction) -> None:
    """Count the record under its number, and in the sum of its key."""
    one = {":one": 1}
    tx.update("seen", {"id": record.json()}, "ADD times :one", values=one)
    tx.update("sums", {"key": record.key}, "ADD total :one", values=one)


def transactional(handler: Handler = count, **settings: Unpack[Settings]) -> Consumer:
    """Make a transactional consumer of the cluster's stream."""

    async def handle(record: Record, *, tx: Transaction) -> None:
        await handler(record, tx)

    defaults: Settings = {
        "checkpoint": Checkpoint(lease=LEASE),
        "retry": Retry(attempts=2, initial=timedelta(seconds=1)),
        "outage": Outage(limit=timedelta(minutes=10)),
    }
    made = consumer("cluster", source=Kinesis("stream"), dead_letters=Sqs("dead"), mode="transactional")(handle)
    return made.using(**{**defaults, **settings})


def seen(cluster: Cluster) -> dict[int, int]:
    """Return how often each number took effect."""
    return {int(str(item["id"])): int(str(item["times"])) for item in cluster.world.table.items["seen"]}


def the_row(cluster: Cluster) -> ShardRow:
    """Return the row of the only shard."""
    (row,) = cluster.world.table.shard_rows.values()
    return row


def once_each(numbers: range) -> dict[int, int]:
    """Every number once."""
    return dict.fromkeys(numbers, 1)


async def until_all(cluster: Cluster, numbers: range, *, within: float = 600.0) -> None:
    """Wait until each number took effect, and the row says so."""
    await cluster.until(lambda: len(seen(cluster)) == len(numbers), within=within)


def test_the_writes_and_the_checkpoint_are_one_request() -> None:
    """Nothing is written beside them; records of different keys go together, those of one key in turn."""

    async def main(cluster: Cluster) -> None:
        cluster.put(*range(100), keys=20)
        cluster.start(transactional(), until_idle=3)
        await until_all(cluster, range(100))
        table = cluster.world.table
        assert seen(cluster) == once_each(range(100))
        assert all(item["total"] == 5 for item in table.items["sums"])
        assert 5 <= table.requests["commit"] <= 12
        assert table.requests["write"] <= 2
        assert cluster.repeated == []

    simulate(main, latency=lambda: 0.01)


@pytest.mark.parametrize("trouble", ["lost", "late"])
def test_a_kill_in_any_moment_repeats_and_loses_nothing(trouble: str) -> None:
    """Killed with a commit on its way, applied or not: the successor goes on from what the row says."""

    async def main(cluster: Cluster) -> None:
        cluster.put(*range(200), keys=7)
        made = transactional()
        first = cluster.start(made)
        await cluster.until(lambda: len(seen(cluster)) > 20)
        cluster.world.table.inject(trouble, on="commit")  # type: ignore[arg-type] # one of the two
        await asyncio.sleep(0.02)
        first.kill()
        cluster.start(made)
        await cluster.until(lambda: the_row(cluster).epoch > 1)
        cluster.world.table.land()
        await until_all(cluster, range(200))
        assert seen(cluster) == once_each(range(200))

    simulate(main, latency=lambda: 0.01)


@pytest.mark.parametrize("trouble", ["throttled", "lost", "late"])
def test_a_lost_answer_is_asked_for_with_the_same_request(trouble: str) -> None:
    """Whether it took effect or not, and whenever: once."""

    async def main(cluster: Cluster) -> None:
        cluster.put(*range(50), keys=7)
        cluster.world.table.inject(trouble, on="commit", times=2)  # type: ignore[arg-type] # one of the three
        cluster.start(transactional())
        await until_all(cluster, range(50))
        cluster.world.table.land()
        assert seen(cluster) == once_each(range(50))
        assert cluster.events("checkpoint.delayed")

    simulate(main, latency=lambda: 0.01)


def test_a_condition_that_fails_is_isolated_to_its_record() -> None:
    """The others of its group commit without it; it is tried again, and dead-lettered alone."""

    async def handle(record: Record, tx: Transaction) -> None:
        await count(record, tx)
        if record.json() == 3:
            tx.put("seen", {"id": "unique"}, condition="attribute_exists(id)")

    async def main(cluster: Cluster) -> None:
        cluster.put(*range(10), keys=10)
        cluster.start(transactional(handle), until_idle=5)
        await cluster.until(lambda: bool(cluster.world.letters.letters))
        await until_all(cluster, range(9))
        (letter,) = cluster.world.letters.letters
        assert letter.record.json() == 3
        assert letter.verdict.condition == "RetryAttemptsExhausted"
        assert "ConditionalCheckFailed" in letter.reason
        assert seen(cluster) == {number: 1 for number in range(10) if number != 3}

    simulate(main, latency=lambda: 0.01)


def test_what_was_read_must_not_have_changed() -> None:
    """A record whose reads were overtaken is handled anew, and fails nobody."""
    between: list[int] = []

    async def main(cluster: Cluster) -> None:
        items = cluster.world.table.items

        async def handle(record: Record, tx: Transaction) -> None:
            before = await tx.get("stock", {"sku": "a"}) or {"left": 100}
            if len(between) < 3:
                between.append(record.json())
                items.seed("stock", {"sku": "a", "left": 50 - len(between)})
            left = int(str(before["left"]))
            tx.update("stock", {"sku": "a"}, "SET #l = :n", names={"#l": "left"}, values={":n": left - 1})

        cluster.put(*range(5))
        cluster.start(transactional(handle, concurrency=1), until_idle=3)
        await cluster.until(cluster.processes[0].task.done)
        (item,) = items["stock"]
        assert item["left"] == 47 - 5
        assert not cluster.events("record.retried")

    simulate(main, latency=lambda: 0.01)


def test_a_record_beyond_the_limits_is_a_letter_that_says_so() -> None:
    """No transaction can hold it: no retry, and nothing of it is written."""

    async def handle(record: Record, tx: Transaction) -> None:
        for n in range(MAX_WRITES + 1 if record.json() == 1 else 1):
            tx.update("seen", {"id": record.json() * 1000 + n}, "ADD times :one", values={":one": 1})

    async def main(cluster: Cluster) -> None:
        cluster.put(*range(4))
        cluster.start(transactional(handle), until_idle=3)
        await cluster.until(cluster.processes[0].task.done)
        (letter,) = cluster.world.letters.letters
        assert letter.reason == "expected at most 99 items in one record's transaction, got 100"
        assert seen(cluster) == {0: 1, 2000: 1, 3000: 1}

    simulate(main, latency=lambda: 0.01)


def test_a_worker_that_slept_over_its_lease_commits_nothing() -> None:
    """It wakes with handlers done and a commit to send: the fence is down, and the epoch is another's."""

    async def main(cluster: Cluster) -> None:
        cluster.put(*range(300), keys=7)
        made = transactional()
        first = cluster.start(made)
        await cluster.until(lambda: len(seen(cluster)) > 20)
        first.kill()
        cluster.start(made)
        await until_all(cluster, range(300))
        first.thaw()
        await asyncio.sleep(30)
        assert seen(cluster) == once_each(range(300))
        assert cluster.events("worker.fenced", of=first)

    simulate(main, latency=lambda: 0.01)


@pytest.mark.parametrize("grace", [0.0, 25.0])
def test_a_drain_ends_with_every_commit_known(grace: float) -> None:
    """Within the grace and over it, with the table slow: the row released says exactly what took effect."""

    async def main(cluster: Cluster) -> None:
        cluster.put(*range(300), keys=7)
        made = transactional()
        first = cluster.start(made, grace=grace)
        await cluster.until(lambda: len(seen(cluster)) > 20)
        cluster.world.table.inject("lost", on="commit")
        first.drain()
        await cluster.until(first.task.done)
        assert the_row(cluster).owner is None
        cluster.start(made)
        await until_all(cluster, range(300))
        assert seen(cluster) == once_each(range(300))

    simulate(main, latency=lambda: 0.2)


def test_splits_under_transactions_lose_and_repeat_nothing() -> None:
    """The end of a shard follows the last commit."""

    async def main(cluster: Cluster) -> None:
        cluster.put(*range(50))
        cluster.start(transactional())
        await cluster.until(lambda: len(seen(cluster)) > 5)
        cluster.world.stream.split("shardId-000000000000")
        cluster.put(*range(50, 100))
        await until_all(cluster, range(100))
        assert seen(cluster) == once_each(range(100))

    simulate(main, latency=lambda: 0.02)


def test_an_outage_of_the_table_loses_nothing() -> None:
    """Commits wait for it, as checkpoints do."""

    async def main(cluster: Cluster) -> None:
        cluster.put(*range(100))
        cluster.start(transactional())
        await cluster.until(lambda: len(seen(cluster)) > 5)
        cluster.world.table.outage = Throttled("busy")
        await asyncio.sleep(2)
        cluster.world.table.outage = None
        await until_all(cluster, range(100))
        assert seen(cluster) == once_each(range(100))

    simulate(main, latency=lambda: 0.02)


async def test_a_consumer_is_tried_without_any_table() -> None:
    """`settle` commits into tables in memory."""
    result = await transactional().settle([1, 2, 1])
    assert {item["id"]: item["times"] for item in result.items["seen"]} == {1: 2, 2: 1}
    assert len(result.handled) == 3


@pytest.mark.parametrize("end", ["drain", "lease lost"])
def test_a_handler_that_ignores_its_cancellation_commits_nothing_and_ends(end: str) -> None:
    """It returns with writes when nobody commits any more, and waits for no commit: worker and shard go on."""
    heeded: list[int] = []

    async def handle(record: Record, tx: Transaction) -> None:
        await count(record, tx)
        if record.json() == 0 and not heeded:
            heeded.append(0)
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(30)

    async def main(cluster: Cluster) -> None:
        cluster.put(0)
        first = cluster.start(transactional(handle), grace=1.0)
        await cluster.until(lambda: bool(heeded))
        if end == "drain":
            first.drain()
            await cluster.until(first.task.done, within=20)
            assert seen(cluster) == {}
            assert the_row(cluster).owner is None
        else:
            cluster.put(1, keys=2)
            [(shard, row)] = cluster.world.table.shard_rows.items()
            cluster.world.table.shard_rows[shard] = replace(row, epoch=row.epoch + 1, owner=None)
            await until_all(cluster, range(2), within=20)
            assert cluster.events("shard.lost")
            assert seen(cluster) == once_each(range(2))

    simulate(main, latency=lambda: 0.01)
