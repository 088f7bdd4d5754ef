"""Where workers start, how far a checkpoint carries, and whose rows they are (rules 10, 13-21)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Literal

import pytest
from msgspec.structs import replace

from streamkit import Checkpoint, ConfigurationError, Kinesis, Poison, Record
from streamkit.core.positions import Position
from streamkit.runtimes.budget import Budget
from tests.runtimes.cluster import Cluster, Process, simulate


async def ended(process: Process, cluster: Cluster, *, within: float = 60.0) -> BaseException | None:
    """Wait for the end of a process; return its error."""
    began = cluster.loop.time()
    while not process.task.done():
        assert cluster.loop.time() - began < within
        await asyncio.sleep(0.1)
    return process.task.exception()


def leaves(error: BaseException | None) -> list[BaseException]:
    """Return the errors in a group."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in leaves(each)]
    return [error] if error else []


# Starts


@pytest.mark.parametrize("crash_after", [0.0, 0.3, 0.6, 1.2, 2.5])
def test_latest_is_resolved_once_so_that_a_crash_before_the_first_checkpoint_loses_nothing(crash_after: float) -> None:
    """What came after the consumer first saw the stream is read, whoever reads it in the end (rule 15)."""

    async def main(cluster: Cluster) -> None:
        cluster.put(1, 2, 3)
        await asyncio.sleep(1)

        async def never(record: Record) -> None:
            await asyncio.sleep(1e6)

        first = cluster.start(cluster.consumer(never, start="LATEST"))
        await cluster.until(lambda: cluster.world.table.registration is not None)
        await asyncio.sleep(crash_after)
        cluster.put(4, 5, 6)
        await asyncio.sleep(crash_after)
        first.kill()
        cluster.put(7)
        await asyncio.sleep(20)
        cluster.start(cluster.consumer(start="LATEST"))
        await cluster.until_handled(4, 5, 6, 7)
        await asyncio.sleep(5)
        assert sorted(cluster.values) == [4, 5, 6, 7]

    simulate(main, shards=2)


def test_a_moment_starts_at_its_first_record() -> None:
    """By the service's clock."""

    async def main(cluster: Cluster) -> None:
        cluster.put(1, 2)
        await asyncio.sleep(10)
        moment = cluster.world.clock.now()
        await asyncio.sleep(10)
        cluster.put(3, 4)
        cluster.start(cluster.consumer(start=moment))
        await cluster.until_handled(3, 4)
        await asyncio.sleep(5)
        assert sorted(cluster.values) == [3, 4]

    simulate(main)


def test_a_shard_found_later_starts_at_its_oldest_record_even_for_latest() -> None:
    """The children of a split hold what came before anyone listed them."""

    async def main(cluster: Cluster) -> None:
        cluster.start(cluster.consumer(start="LATEST"))
        await asyncio.sleep(2)
        cluster.world.stream.split(cluster.world.stream.listed()[0].id)
        cluster.put(*range(20), keys=20)
        await cluster.until_handled(*range(20))
        assert cluster.repeated == []

    simulate(main)


# Identity


def test_a_stream_made_again_under_its_name_is_refused() -> None:
    """Its positions mean nothing for the new one (rule 13)."""

    async def main(cluster: Cluster) -> None:
        cluster.put(1)
        first = cluster.start()
        await cluster.until_handled(1)
        first.drain()
        assert await ended(first, cluster) is None
        await asyncio.sleep(60)
        cluster.world.stream.delete()
        await asyncio.sleep(60)
        cluster.world.stream.create()
        (error,) = leaves(await ended(cluster.start(), cluster))
        assert isinstance(error, ConfigurationError)
        assert "a different stream" in str(error)

    simulate(main)


def test_the_table_of_another_consumer_is_refused() -> None:
    """Two consumers on one table would each get half of the stream (rule 10)."""

    async def main(cluster: Cluster) -> None:
        cluster.start()
        await asyncio.sleep(2)
        other = cluster.consumer().using(name="other", checkpoint=Checkpoint(table="streamkit-cluster"))
        (error,) = leaves(await ended(cluster.start(other), cluster))
        assert isinstance(error, ConfigurationError)
        assert "'other'" in str(error)
        assert "'cluster'" in str(error)

    simulate(main)


def test_a_corrupt_row_ends_the_worker_with_its_name() -> None:
    """It must not be guessed around: a person has to look."""

    async def main(cluster: Cluster) -> None:
        cluster.put(1)
        first = cluster.start()
        await cluster.until_handled(1)
        first.drain()
        await ended(first, cluster)
        (shard,) = cluster.world.table.shard_rows
        cluster.world.table.corrupt.add(shard)
        (error,) = leaves(await ended(cluster.start(), cluster))
        assert isinstance(error, ConfigurationError)
        assert shard in str(error)

    simulate(main)


# Gaps


@pytest.mark.parametrize("on_gap", ["resume", "halt"])
def test_records_trimmed_before_they_were_read_are_reported(on_gap: Literal["resume", "halt"]) -> None:
    """With their range; then the shard resumes at the oldest record, or halts (rule 14)."""

    async def main(cluster: Cluster) -> None:
        made = cluster.consumer(on_gap=on_gap)
        cluster.put(1)
        first = cluster.start(made)
        await cluster.until_handled(1)
        first.drain()
        await ended(first, cluster)
        await asyncio.sleep(3600)
        cluster.put(2)
        await asyncio.sleep(25 * 3600)
        cluster.put(3)
        second = cluster.start(made)
        await cluster.until(lambda: bool(cluster.events("records.trimmed")))
        await asyncio.sleep(5)
        assert sorted(cluster.seen) == ([1, 3] if on_gap == "resume" else [1])
        assert bool(cluster.events("shard.halted", of=second)) == (on_gap == "halt")

    simulate(main)


def test_what_is_trimmed_of_a_backlog_is_reported_however_young_the_first_snapshot() -> None:
    """The moment of the snapshot says nothing of what is unread, from the first frontier on."""

    async def main(cluster: Cluster) -> None:
        async def stuck(record: Record) -> None:
            await asyncio.sleep(20 if record.json() == 2 else 0)

        cluster.put(1)
        await asyncio.sleep(3600)
        cluster.put(2)
        await asyncio.sleep(22 * 3600)
        first = cluster.start(cluster.consumer(stuck))
        await asyncio.sleep(10)
        first.kill()
        await asyncio.sleep(3 * 3600)
        cluster.put(3)
        cluster.start()
        await cluster.until_handled(3)
        assert cluster.values == [1, 3]
        [gap] = cluster.events("records.trimmed")
        assert gap.after is not None

    simulate(main)


def test_a_shard_that_was_caught_up_and_quiet_is_no_gap() -> None:
    """Nothing was trimmed unread: `caught_up_at` decides."""

    async def main(cluster: Cluster) -> None:
        cluster.put(1)
        first = cluster.start()
        await cluster.until_handled(1)
        first.drain()
        await ended(first, cluster)
        await asyncio.sleep(47 * 3600)
        rows = cluster.world.table.shard_rows
        rows.update(
            {shard: replace(row, caught_up_at=cluster.world.stream.now() - 3600) for shard, row in rows.items()}
        )
        cluster.start()
        cluster.put(2)
        await cluster.until_handled(1, 2)
        assert cluster.events("records.trimmed") == []

    simulate(main)


def test_a_quiet_shard_says_every_hour_that_it_is_caught_up() -> None:
    """In its row, at the cost of one write."""

    async def main(cluster: Cluster) -> None:
        made = cluster.consumer().using(source=Kinesis("stream", poll=timedelta(minutes=1)))
        cluster.put(1)
        cluster.start(made)
        await cluster.until_handled(1)
        await asyncio.sleep(60)
        before = cluster.world.table.requests["write"]
        await asyncio.sleep(2.2 * 3600)
        (row,) = cluster.world.table.shard_rows.values()
        assert cluster.world.stream.now() - (row.caught_up_at or 0) <= 3700
        assert cluster.world.table.requests["write"] - before == 2

    simulate(main)


# Checkpoints


def test_a_clean_batch_costs_at_most_two_requests_whatever_its_size() -> None:
    """One write a shard, of any number of records; heartbeats belong to the worker (rule 18)."""

    async def main(cluster: Cluster) -> None:
        cluster.start()
        await asyncio.sleep(5)
        for first, size in ((0, 1), (1, 100), (101, 6000)):
            await asyncio.sleep(5)
            before = cluster.world.table.requests.copy()
            cluster.put(*range(first, first + size), keys=500)
            await cluster.until_handled(*range(first, first + size))
            await asyncio.sleep(5)
            spent = cluster.world.table.requests - before
            for heartbeat in ("beat", "members"):
                del spent[heartbeat]
            assert sum(spent.values()) <= 2, f"{size} records cost {spent}"

    simulate(main)


def test_a_crash_repeats_at_most_one_interval() -> None:
    """Time and count bound what is not durable yet."""

    async def main(cluster: Cluster) -> None:
        async def handle(record: Record) -> None:
            await asyncio.sleep(0.1)

        made = cluster.consumer(handle, concurrency=1, checkpoint=Checkpoint(interval=timedelta(seconds=1)))
        cluster.put(*range(200))
        first = cluster.start(made)
        await asyncio.sleep(9.95)
        first.kill()
        cluster.start(made)
        await cluster.until_handled(*range(200))
        assert 0 < len(cluster.repeated) <= 12

    simulate(main)


def test_a_count_of_records_writes_a_checkpoint_before_its_interval() -> None:
    """Whichever comes first."""

    async def main(cluster: Cluster) -> None:
        checkpoint = Checkpoint(interval=timedelta(minutes=5), records=10)

        async def handle(record: Record) -> None:
            await asyncio.sleep(0.1)

        cluster.put(*range(100))
        cluster.start(cluster.consumer(handle, concurrency=1, checkpoint=checkpoint))
        await cluster.until_handled(*range(100))
        assert 5 <= len(cluster.events("checkpoint.written")) <= 10

    simulate(main)


def test_a_record_settled_during_a_checkpoint_is_written_by_the_next() -> None:
    """Also where the reader waits for room: nobody's waiting may swallow the news."""

    async def main(cluster: Cluster) -> None:
        async def handle(record: Record) -> None:
            await asyncio.sleep({1: 0.0, 2: 0.7}.get(record.json(), 1e6))

        checkpoint = Checkpoint(interval=timedelta(), window=4)
        cluster.put(*range(50), keys=50)
        cluster.start(cluster.consumer(handle, checkpoint=checkpoint))
        await asyncio.sleep(50)
        (row,) = cluster.world.table.shard_rows.values()
        assert row.progress.done == bytes([0b110])
        assert sorted(cluster.values) == [1, 2]

    simulate(main, latency=lambda: 0.7)


def test_a_slow_lane_bounds_how_far_the_others_run_ahead() -> None:
    """Lanes wait beyond the window (rule 17)."""

    async def main(cluster: Cluster) -> None:
        gate = asyncio.Event()

        async def handle(record: Record) -> None:
            if record.json() == 0:
                await gate.wait()

        cluster.put(*range(500), keys=100)
        cluster.start(cluster.consumer(handle, checkpoint=Checkpoint(window=50), handler_timeout=timedelta(hours=1)))
        await asyncio.sleep(30)
        assert len(cluster.handled) < 50
        gate.set()
        await cluster.until_handled(*range(500))
        assert cluster.disorder == []

    simulate(main)


def test_memory_read_ahead_is_given_back_when_a_shard_ends_or_is_handed_over() -> None:
    """However it ends: else a worker would read ever less."""

    async def main(cluster: Cluster) -> None:
        budgets: list[Budget] = []
        add = Budget.add

        async def handle(record: Record) -> None:
            await asyncio.sleep(0.2)

        def spy(budget: Budget, size: int) -> None:
            if budget not in budgets:
                budgets.append(budget)
            add(budget, size)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Budget, "add", spy)
            made = cluster.consumer(handle, concurrency=2, checkpoint=Checkpoint(window=20))
            cluster.put(*range(300), keys=10)
            first = cluster.start(made)
            await asyncio.sleep(3)
            first.drain()
            await ended(first, cluster)
        assert [budget.used for budget in budgets] == [0]

    simulate(main)


# Dead letters and halts, over owners


def test_parked_keys_survive_takeover() -> None:
    """They are in the row (rule 21)."""

    async def main(cluster: Cluster) -> None:
        async def handle(record: Record) -> None:
            if record.json() == 1:
                raise Poison("bad")

        made = cluster.consumer(handle, on_dead_letter="park")
        cluster.put(0, 1, 2, keys=3)
        first = cluster.start(made)
        await cluster.until(lambda: len(cluster.world.letters.letters) == 1)
        await asyncio.sleep(3)
        first.kill()
        cluster.put(3, 4, 5, keys=3)
        cluster.start(made)
        await cluster.until(lambda: len(cluster.world.letters.letters) == 2)
        await cluster.until_handled(0, 2, 3, 5)
        assert [letter.record.json() for letter in cluster.world.letters.letters] == [1, 4]
        assert 4 not in cluster.seen

    simulate(main)


def test_a_halted_shard_waits_for_a_person() -> None:
    """Its row says why; nobody takes it, and the other shards go on."""

    async def main(cluster: Cluster) -> None:
        async def handle(record: Record) -> None:
            if record.json() == 0:
                raise Poison("bad")

        made = cluster.consumer(handle, on_dead_letter="halt")
        cluster.put(*range(40), keys=20)
        cluster.start(made)
        cluster.start(made)
        await asyncio.sleep(30)
        states = sorted(row.state for row in cluster.world.table.shard_rows.values())
        assert states == ["halted", "open"]
        assert len(cluster.world.letters.letters) == 1
        (row,) = (row for row in cluster.world.table.shard_rows.values() if row.state == "halted")
        assert row.owner is None
        assert "halt" in (row.halted or "")
        cluster.put(*range(100, 140), keys=20)
        handled = len(cluster.handled)
        await asyncio.sleep(10)
        assert handled < len(cluster.handled) < handled + 40

    simulate(main, shards=2)


def test_a_dead_letter_is_durable_before_a_checkpoint_passes_it() -> None:
    """While the queue is down the row stays where it is, for hours if need be (rules 16, 19)."""

    async def main(cluster: Cluster) -> None:
        async def handle(record: Record) -> None:
            if record.json() == 5:
                raise Poison("bad")

        cluster.world.letters.outage = True
        cluster.put(*range(10), keys=10)
        first = cluster.start(cluster.consumer(handle))
        await asyncio.sleep(3600)
        (row,) = cluster.world.table.shard_rows.values()
        before = next(each.record for each in cluster.handled if each.value == 4)
        assert row.progress.frontier == before.position
        assert len(cluster.events("letters.delayed")) > 50
        first.kill()
        cluster.world.letters.outage = False
        cluster.start(cluster.consumer(handle))
        await cluster.until(lambda: len(cluster.world.letters.letters) == 1)
        assert cluster.repeated == []

    simulate(main)


# Idle


def test_until_idle_stops_once_everything_is_settled() -> None:
    """Not while a record is retried, and not before so many quiet seconds."""

    async def main(cluster: Cluster) -> None:
        tries: list[float] = []

        async def handle(record: Record) -> None:
            if record.json() == 7 and cluster.loop.time() < 40:
                tries.append(cluster.loop.time())
                raise OSError("not yet")

        from streamkit import Retry

        retry = Retry(attempts=1000, initial=timedelta(seconds=1), maximum=timedelta(seconds=2))
        cluster.put(*range(20))
        process = cluster.start(cluster.consumer(handle, retry=retry), until_idle=5)
        assert await ended(process, cluster) is None
        assert tries
        assert cluster.seen == set(range(20))
        assert 45 <= cluster.loop.time() <= 55
        (row,) = cluster.world.table.shard_rows.values()
        assert row.owner is None
        assert (
            row.progress
            == replace(row.progress, frontier=Position(cluster.handled[-1].record.sequence_number), done=b"")
            or not row.progress.done
        )

    simulate(main)


@pytest.mark.parametrize("until_idle", [0.5, 1.0, 3.0])
def test_until_idle_goes_on_to_the_children_of_a_split(until_idle: float) -> None:
    """A shard that ended leaves work: its children."""

    async def main(cluster: Cluster) -> None:
        cluster.put(*range(10), keys=10)
        cluster.world.stream.split(cluster.world.stream.listed()[0].id)
        cluster.put(*range(10, 30), keys=10)
        process = cluster.start(until_idle=until_idle)
        assert await ended(process, cluster) is None
        assert cluster.seen == set(range(30))

    simulate(main)
