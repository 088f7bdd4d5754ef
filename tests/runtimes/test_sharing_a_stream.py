"""Workers that share a stream: takes, crashes, pauses, drains (rules 1-7)."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import pytest
from msgspec.structs import replace

from streamkit import Checkpoint, Kinesis, Record
from streamkit.core.leasing import Member, ShardRow
from streamkit.core.lineage import Shard
from streamkit.core.policy import Listing
from streamkit.runtimes import lookout
from streamkit.runtimes.incarnation import tick_seconds
from streamkit.testing import MemorySource, SeededChance
from tests.runtimes.cluster import LEASE, TAKEOVER, TICK, Cluster, simulate


def slowly(seconds: float, seed: int = 0) -> Callable[[Record], Awaitable[None]]:
    """Return a handler that takes up to so long."""
    chance = random.Random(seed)

    async def handle(record: Record) -> None:
        await asyncio.sleep(chance.random() * seconds)

    return handle


def test_two_workers_share_a_stream_evenly_and_repeat_nothing() -> None:
    """Every record once, in order per key; the shards fall to both."""

    async def main(cluster: Cluster) -> None:
        cluster.put(*range(400), keys=40)
        made = cluster.consumer(slowly(0.2))
        first = cluster.start(made)
        await asyncio.sleep(3)
        second = cluster.start(made)
        await cluster.until(lambda: len(cluster.events("shard.taken", of=second)) == 2)
        cluster.put(*range(400, 800), keys=40)
        await cluster.until_handled(*range(800))
        assert cluster.repeated == []
        assert cluster.disorder == []
        held = {row.owner for row in cluster.world.table.shard_rows.values()}
        assert len(held) == 2
        assert first.worker.tally.handled + second.worker.tally.handled == 800

    simulate(main, shards=4)


@pytest.mark.parametrize("phase", [3.0, 3.7, 4.4, 5.1])
def test_a_shard_handed_over_stands_still_for_no_longer_than_a_look(phase: float) -> None:
    """Its owner tells at once that it holds it no more: the newcomer need not wait for the next heartbeat."""

    async def main(cluster: Cluster) -> None:
        first = cluster.start()
        await cluster.until(lambda: len(cluster.events("shard.taken", of=first)) == 2)
        await asyncio.sleep(phase)
        second = cluster.start()
        await cluster.until(lambda: bool(cluster.events("shard.taken", of=second)))
        [released], [taken] = cluster.when("shard.released", of=first), cluster.when("shard.taken", of=second)
        assert 0 < taken - released <= TICK + 0.1

    simulate(main, shards=2, latency=lambda: 0.01)


@pytest.mark.parametrize("seed", range(4))
def test_a_killed_workers_shards_are_taken_in_time_and_lose_nothing(seed: int) -> None:
    """Within 1.05 leases, two ticks and a second; what repeats is what no checkpoint covered yet (rule 18)."""

    async def main(cluster: Cluster) -> None:
        interval = timedelta(seconds=1)
        cluster.put(*range(800), keys=100)
        made = cluster.consumer(
            slowly(0.5, seed), checkpoint=Checkpoint(lease=LEASE, interval=interval), concurrency=10
        )
        first, second = cluster.start(made), cluster.start(made)
        await cluster.until(lambda: bool(cluster.events("checkpoint.written", of=first)), within=30)
        await asyncio.sleep(random.Random(seed).random() * 3)
        killed_at = cluster.loop.time()
        lost = len([row for row in cluster.world.table.shard_rows.values() if row.owner in owner_of(cluster, first)])
        assert lost
        first.kill()
        took = await cluster.until(lambda: taken_after(cluster, second, killed_at) >= lost)
        assert took <= TAKEOVER
        assert cluster.events("worker.buried", of=second)
        await cluster.until_handled(*range(800))
        assert cluster.disorder == []
        late = [each for each in cluster.handled if each.process == first.name and each.at < killed_at - 1.6]
        assert not {each.value for each in late} & set(cluster.repeated), "a checkpoint was ignored"

    simulate(main, shards=4, seed=seed)


def owner_of(cluster: Cluster, process: object) -> set[str]:
    """Return the incarnations of a process."""
    return {event.worker for event in cluster.events("worker.started", of=process)}  # type: ignore[arg-type]


def taken_after(cluster: Cluster, process: object, at: float) -> int:
    """Count the takes since."""
    return sum(when > at for when in cluster.when("shard.taken", of=process))  # type: ignore[arg-type]


def test_what_ran_ahead_of_the_frontier_is_not_repeated_by_a_successor() -> None:
    """The done set travels with the checkpoint (rule 17)."""

    async def main(cluster: Cluster) -> None:
        gate = asyncio.Event()

        async def handle(record: Record) -> None:
            if record.json() == 0:
                await gate.wait()

        cluster.put(*range(100), keys=10)
        first = cluster.start(cluster.consumer(handle))
        await cluster.until(lambda: len(cluster.handled) == 90)
        await asyncio.sleep(3)
        first.kill()
        gate.set()
        cluster.start(cluster.consumer())
        await cluster.until_handled(*range(100))
        assert cluster.repeated == []

    simulate(main)


def test_a_worker_that_slept_longer_than_its_lease_starts_no_handler() -> None:
    """It notices before it touches anything, and begins anew as another incarnation (rule 3)."""

    async def main(cluster: Cluster) -> None:
        cluster.put(*range(500), keys=20)
        made = cluster.consumer(slowly(0.4), concurrency=4)
        first = cluster.start(made)
        await asyncio.sleep(5)
        first.kill()
        second = cluster.start(made)
        await cluster.until(lambda: len(cluster.handled) > 200)
        awake = cluster.loop.time()
        first.thaw()
        await asyncio.sleep(0.45)
        mine = [each for each in cluster.handled if each.process == first.name and each.at >= awake]
        assert len(mine) <= 4, "more than what was under way"
        await cluster.until_handled(*range(500))
        assert len(cluster.events("worker.started", of=first)) == 2
        assert cluster.events("worker.fenced", of=first)
        assert second.worker.tally.handled > 0
        assert cluster.disorder == []

    simulate(main)


def test_a_worker_declared_dead_begins_anew() -> None:
    """Its heartbeat is refused: it stops, and joins as another incarnation."""

    async def main(cluster: Cluster) -> None:
        process = cluster.start()
        cluster.put(1)
        await cluster.until_handled(1)
        (member,) = cluster.world.table.worker_rows.values()
        assert await cluster.world.table.bury(member)
        cluster.put(2)
        await cluster.until(lambda: len(cluster.events("worker.started", of=process)) == 2)
        await cluster.until_handled(1, 2)
        states = sorted(member.state for member in cluster.world.table.worker_rows.values())
        assert states == ["alive", "dead"]

    simulate(main)


def test_a_drain_releases_at_once_and_costs_no_repeat() -> None:
    """SIGTERM: attempts under way end, the successor starts within two ticks, nobody waits for a lease (rule 7)."""

    async def main(cluster: Cluster) -> None:
        cluster.put(*range(600), keys=30)
        made = cluster.consumer(slowly(0.5), concurrency=8)
        first = cluster.start(made)
        await asyncio.sleep(4)
        second = cluster.start(made)
        await asyncio.sleep(2)
        asked = cluster.loop.time()
        first.drain()
        await first.task
        assert cluster.loop.time() - asked < 1.5
        gone = cluster.loop.time()
        await cluster.until(lambda: all(row.owner in owner_of(cluster, second) for row in rows(cluster)))
        assert cluster.loop.time() - gone <= 2 * TICK + 0.1
        await cluster.until_handled(*range(600))
        assert cluster.repeated == []
        assert cluster.disorder == []
        assert {m.state for m in cluster.world.table.worker_rows.values() if m.worker in owner_of(cluster, first)} == {
            "left"
        }

    simulate(main, shards=2)


def rows(cluster: Cluster) -> list[ShardRow]:
    """Return the rows of the shards."""
    return list(cluster.world.table.shard_rows.values())


def test_a_drain_cuts_off_what_does_not_end_within_the_grace_period() -> None:
    """It is cancelled, its record stays unsettled, and everything else is checkpointed and released."""

    async def main(cluster: Cluster) -> None:
        async def handle(record: Record) -> None:
            await asyncio.sleep(50 if record.json() == 3 else 0.1)

        cluster.put(*range(10), keys=10)
        first = cluster.start(cluster.consumer(handle), grace=5)
        await asyncio.sleep(3)
        first.drain()
        await first.task
        assert 7.9 <= cluster.loop.time() <= 9
        (row,) = rows(cluster)
        assert row.owner is None
        cluster.start(cluster.consumer())
        await cluster.until_handled(*range(10))
        assert cluster.repeated == []

    simulate(main)


def test_a_live_owners_shard_is_never_taken() -> None:
    """Not while its table is slow, not while another joins: as long as it beats, it keeps what it has (rule 6)."""

    async def main(cluster: Cluster) -> None:
        cluster.put(*range(300), keys=10)
        made = cluster.consumer(slowly(0.3), concurrency=4)
        for _ in range(3):
            cluster.start(made)
            await asyncio.sleep(0.7)
        await cluster.until_handled(*range(300))
        await asyncio.sleep(30)
        assert cluster.events("worker.buried") == []
        assert cluster.events("shard.lost") == []
        released = {(e.shard, e.epoch) for e in cluster.events("shard.released")}
        taken = [(e.shard, e.epoch) for e in cluster.events("shard.taken")]
        for shard, epoch in taken:
            assert epoch == 1 or (shard, epoch - 1) in released, "taken from a live owner"
        assert cluster.repeated == []

    chance = random.Random(7)
    simulate(main, shards=3, latency=lambda: chance.random() * 0.8)


def test_a_worker_that_joined_since_the_members_were_read_keeps_its_shard() -> None:
    """Whose row is newer than the members read is not free because its owner is not among them."""

    async def main(cluster: Cluster) -> None:
        table = cluster.world.table
        made = cluster.consumer()
        first = cluster.start(made)
        await asyncio.sleep(1.5)
        first.drain()
        await first.task
        real, (row,) = table.members, rows(cluster)
        stolen: list[str] = []

        async def outdated() -> Sequence[Member]:
            answer = await real()
            if not stolen:
                stolen.append("newcomer")
                await table.join(Member("newcomer", counter=1, state="alive"))
                table.steal(row.id, by="newcomer")
            return answer

        table.members = outdated  # type: ignore[method-assign]
        cluster.start(made)
        for counter in range(2, 20):
            await asyncio.sleep(1)
            await table.beat(Member("newcomer", counter=counter, state="alive"))
        assert rows(cluster)[0].owner == "newcomer"

    simulate(main)


def test_a_slow_table_makes_nobody_look_dead() -> None:
    """How long a counter stood still is counted from when it was seen, not from when it was asked for."""

    async def main(cluster: Cluster) -> None:
        cluster.start(cluster.consumer())
        await asyncio.sleep(2)
        table = cluster.world.table
        real = table.members

        async def slow() -> Sequence[Member]:
            """Answer at once in three seconds out of fifteen; who asks before waits for them."""
            await asyncio.sleep(max(0.0, 12.0 - cluster.loop.time() % 15.0))
            return await real()

        cluster.start(cluster.consumer())
        table.members = slow  # type: ignore[method-assign]
        await asyncio.sleep(120)
        assert cluster.events("worker.buried") == []

    simulate(main)


def test_a_worker_whose_loop_is_stuck_stops_beating() -> None:
    """Only a worker that is well may look alive (rule 2): frozen beyond its patience, others take its shards."""

    async def main(cluster: Cluster) -> None:
        first = cluster.start()
        cluster.put(1)
        await cluster.until_handled(1)
        first.kill()
        second = cluster.start()
        await cluster.until(lambda: bool(cluster.events("shard.taken", of=second)), within=TAKEOVER + 2 * TICK)

    simulate(main)


def test_a_take_whose_answer_was_lost_is_taken_anew() -> None:
    """A row that names me but that I do not run is re-taken with the next epoch (rule 4)."""

    async def main(cluster: Cluster) -> None:
        cluster.world.table.inject("lost", on="take")
        cluster.put(1, 2, 3)
        cluster.start()
        await cluster.until_handled(1, 2, 3, within=10)
        (row,) = rows(cluster)
        assert row.epoch == 2
        assert cluster.repeated == []

    simulate(main)


def test_a_take_that_lands_late_changes_nothing() -> None:
    """Its epoch is no longer the one it was sent for."""

    async def main(cluster: Cluster) -> None:
        table = cluster.world.table
        table.inject("late", on="take")
        cluster.put(1)
        cluster.start()
        await cluster.until_handled(1, within=10)
        assert table.land() == 0
        cluster.put(2)
        await cluster.until_handled(1, 2, within=10)
        assert cluster.events("shard.lost") == []

    simulate(main)


def test_a_stolen_shard_stops_and_writes_nothing_more() -> None:
    """The epoch seals: the old owner's next checkpoint is refused, and it lets go (rules 1, 4)."""

    async def main(cluster: Cluster) -> None:
        table = cluster.world.table
        made = cluster.consumer(slowly(1.0), concurrency=1)
        cluster.put(*range(50))
        cluster.start(made)
        await cluster.until(lambda: len(cluster.handled) > 3)
        await table.join(Member("thief", counter=1, state="alive"))
        stolen = table.steal(rows(cluster)[0].id, by="thief")
        await cluster.until(lambda: bool(cluster.events("shard.lost")), within=10)
        handled = len(cluster.handled)
        await asyncio.sleep(5)
        assert len(cluster.handled) <= handled + 1
        assert rows(cluster)[0] == stolen

    simulate(main)


def test_an_outage_of_the_table_stops_checkpoints_and_loses_nothing() -> None:
    """Visibly, with back-off; what waits for it goes on when it is back (rule 19)."""

    async def main(cluster: Cluster) -> None:
        from streamkit.errors import Throttled

        cluster.put(*range(20))
        cluster.start()
        await cluster.until_handled(*range(20))
        cluster.world.table.inject("throttled", on="write", times=5)
        cluster.world.table.outage = Throttled("busy")
        cluster.put(*range(20, 40))
        await asyncio.sleep(5)
        cluster.world.table.outage = None
        await cluster.until_handled(*range(40))
        await asyncio.sleep(5)
        assert cluster.events("checkpoint.delayed")
        assert cluster.events("coordination.delayed")
        (row,) = rows(cluster)
        assert row.progress.frontier is not None
        assert row.progress.frontier.sequence_number == cluster.handled[-1].record.sequence_number
        assert cluster.repeated == []

    simulate(main)


# Balance


def test_a_newcomer_is_given_its_whole_share_within_seconds() -> None:
    """All of the surplus in one plan, not a shard a tick; each shard pauses for a moment, and nothing repeats."""

    async def main(cluster: Cluster) -> None:
        cluster.put(*range(400), keys=200)
        made = cluster.consumer(slowly(0.2), concurrency=20)
        cluster.start(made)
        await cluster.until(lambda: len({row.owner for row in rows(cluster)} - {None}) == 1)
        await asyncio.sleep(5)
        second = cluster.start(made)
        took = await cluster.until(lambda: len(cluster.events("shard.taken", of=second)) >= 20)
        assert took <= 5
        (offer,) = cluster.events("shards.offered")
        assert len(offer.shards) == 20
        await cluster.until_handled(*range(400))
        await asyncio.sleep(30)
        assert len(cluster.events("shards.offered")) == 1, "and then all stand still"
        assert cluster.repeated == []

    simulate(main, shards=40)


@pytest.mark.parametrize("seed", [0, 2])
def test_nothing_is_handed_over_by_rows_that_are_out_of_date(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where rows may not be read at every look, as in large fleets: who joins meanwhile makes no shard go twice."""
    monkeypatch.setattr(lookout, "SERVED_SECONDS", 0.05)

    async def main(cluster: Cluster) -> None:
        made = cluster.consumer()
        cluster.start(made)
        await cluster.until(lambda: len(cluster.events("shard.taken")) == 40)
        await asyncio.sleep(40)
        for _ in range(3):
            cluster.start(made)
            await asyncio.sleep(3)
        await asyncio.sleep(60)
        offers = Counter(shard for offer in cluster.events("shards.offered") for shard in offer.shards)
        assert max(offers.values()) <= 2
        assert offers.total() <= 40
        assert set(Counter(row.owner for row in rows(cluster)).values()) == {10}

    simulate(main, seed=seed, shards=40)


def test_a_shard_that_brings_most_is_balanced_by_those_that_bring_little() -> None:
    """By count the loads are even from the start; once they are measured, the busy ones are shared out, once."""

    async def main(cluster: Cluster) -> None:
        made = cluster.consumer()
        cluster.start(made)
        second = cluster.start(made)
        await cluster.until(lambda: len(cluster.events("shard.taken", of=second)) >= 4)
        (mine,) = owner_of(cluster, second)
        busy = [row.shard for row in rows(cluster) if row.owner == mine]
        number = 0
        for _ in range(600):
            for shard in busy:
                assert shard.hash_range is not None
                for _ in range(5):
                    cluster.world.stream.put(f"key-{number}", number, hash_key=shard.hash_range[0])
                    number += 1
            await asyncio.sleep(1)
        owners = [next(row.owner for row in rows(cluster) if row.id == shard.id) for shard in busy]
        assert owners.count(mine) == 2
        assert sum(row.owner == mine for row in rows(cluster)) == 4
        heavy = [offer for offer in cluster.events("shards.offered") if offer.for_throughput]
        assert sum(offer.for_throughput for offer in heavy) == 2
        assert cluster.repeated == []

    simulate(main, shards=8)


def test_rows_of_workers_that_are_gone_are_removed_after_an_hour() -> None:
    """Of those who left and of the dead; until then everybody can see what became of them (rule 2)."""

    async def main(cluster: Cluster) -> None:
        left, killed, _ = cluster.start(), cluster.start(), cluster.start()
        await asyncio.sleep(10)
        left.drain()
        killed.kill()
        table = cluster.world.table
        await cluster.until(lambda: {row.state for row in table.worker_rows.values()} == {"left", "dead", "alive"})
        await asyncio.sleep(3_580)
        assert len(table.worker_rows) == 3
        await cluster.until(lambda: len(table.worker_rows) == 1, within=3_700)
        assert [row.state for row in table.worker_rows.values()] == ["alive"]

    simulate(main)


def test_a_fleet_shares_what_the_service_allows_for_listings(monkeypatch: pytest.MonkeyPatch) -> None:
    """DynamoDB Streams has ten descriptions a second for all: half of them are for those who look for children."""
    listings: list[float] = []
    listed = MemorySource.shards

    async def counted(self: MemorySource) -> Sequence[Shard]:
        listings.append(asyncio.get_running_loop().time())
        return await listed(self)

    async def main(cluster: Cluster) -> None:
        for _ in range(3):
            cluster.start()
        await asyncio.sleep(30)
        began = len(listings)
        await asyncio.sleep(1200)
        assert 6 <= len(listings) - began <= 33, "one every 120 s each, and not one every 60 s"

    monkeypatch.setattr(MemorySource, "shards", counted)
    monkeypatch.setattr(Kinesis, "listing", Listing(shards=1, calls_per_second=0.1))
    simulate(main, shards=2)
    assert Listing(shards=100, calls_per_second=10.0).seconds(workers=40, shards=7_000) == 560
    assert Listing(shards=100, calls_per_second=10.0).seconds(workers=3, shards=50) == 60


def test_a_large_fleet_looks_less_often() -> None:
    """Everybody reads everybody's row: small fleets look every second, none less than four times a lease."""
    chance = SeededChance(3)

    def pauses(workers: int, lease: float) -> list[float]:
        return [tick_seconds(workers, lease=lease, chance=chance) for _ in range(200)]

    for workers, lease, most in ((1, 10.0, 1.0), (40, 10.0, 1.0), (80, 10.0, 2.0), (500, 10.0, 2.5), (1, 3.0, 0.3)):
        found = pauses(workers, lease)
        assert 0.8 * most <= min(found) < 0.85 * most
        assert 0.95 * most < max(found) <= most


def test_a_table_has_a_bucket_for_every_500_shards_of_the_first_listing() -> None:
    """Whatever the stream becomes later: rows that lie elsewhere would not be found again (rule 9)."""

    async def main(cluster: Cluster) -> None:
        first = cluster.start()
        await asyncio.sleep(3)
        first.drain()
        await first.task
        registration = cluster.world.table.registration
        assert registration is not None
        assert registration.buckets == 2
        cluster.world.table.registration = replace(registration, buckets=7)
        cluster.start()
        await asyncio.sleep(3)
        assert cluster.world.table.registration.buckets == 7

    simulate(main, shards=501)
