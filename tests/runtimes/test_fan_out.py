"""Workers that have records pushed: deploys, crashes, resharding and slow handlers lose and disorder nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from msgspec.structs import replace

from streamkit import Checkpoint, Consumer, Kinesis, Record
from streamkit.testing.kinesis import Fault, Faults, Pushing
from streamkit.testing.kinesis.fan_out import Registered, Subscription
from tests.runtimes.cluster import LEASE, Cluster, simulate

HAND_OVER = 30.0
"""A shard whose owner has just subscribed is refused to the next for five seconds, and so are some of its retries."""


def pushed(
    cluster: Cluster, handler: Callable[[Record], Awaitable[None]] | None = None, *, window: int = 6_000
) -> Consumer:
    """Return a consumer of the cluster that has records pushed."""
    checkpoint = Checkpoint(lease=LEASE, interval=timedelta(seconds=1), window=window)
    return cluster.consumer(handler, checkpoint=checkpoint).using(source=Kinesis("stream", fan_out=True))


def registered(cluster: Cluster) -> Registered:
    """Return the one stream consumer."""
    [found] = cluster.world.kinesis.registered("stream")
    return found


def subscriptions(cluster: Cluster) -> list[Subscription]:
    """Return the subscriptions that are open."""
    return [each for each in registered(cluster).subscriptions.values() if not each.over and not each.taken_over]


def taken(subscription: Subscription) -> int:
    """Return how many records have left the service by a subscription to the only shard there is, or before it."""
    numbers = subscription.shard._numbers  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - the service's side
    return sum(int(number) < subscription.position for number in numbers)


def slowly(seconds: float) -> Callable[[Record], Awaitable[None]]:
    """Return a handler that takes up to so long."""
    chance = random.Random(0)

    async def handle(record: Record) -> None:
        await asyncio.sleep(chance.random() * seconds)

    return handle


async def trickle(cluster: Cluster, first: int, last: int, *, every: float = 0.5) -> None:
    """Put numbers, one at a time."""
    for value in range(first, last):
        cluster.put(value)
        await asyncio.sleep(every)


def test_a_deploy_repeats_nothing_and_hangs_up() -> None:
    """Workers are replaced one by one: each gives its subscriptions back, and the next has them within seconds."""

    async def main(cluster: Cluster) -> None:
        made = pushed(cluster, slowly(0.2))
        workers = [cluster.start(made), cluster.start(made)]
        for turn in range(4):
            await trickle(cluster, 80 * turn, 80 * turn + 80)
            workers.append(cluster.start(made))
            workers.pop(0).drain()
        took = await cluster.until_handled(*range(320))
        assert took < HAND_OVER
        assert (cluster.repeated, cluster.disorder) == ([], [])
        assert registered(cluster).name == "streamkit-cluster"
        for worker in workers:
            worker.drain()
        await cluster.until(lambda: all(worker.task.done() for worker in workers))
        assert subscriptions(cluster) == []
        assert cluster.events("push.refused") == []

    simulate(main, shards=4)


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_worker_is_succeeded_and_a_frozen_one_that_wakes_takes_nothing_back(seed: int) -> None:
    """Its connections stay as they are: the successor's subscription takes over from them."""

    async def main(cluster: Cluster) -> None:
        made = pushed(cluster, slowly(0.2))
        first, _ = cluster.start(made), cluster.start(made)
        await trickle(cluster, 0, 100)
        first.kill()
        await trickle(cluster, 100, 200)
        first.thaw()
        await trickle(cluster, 200, 300)
        await cluster.until_handled(*range(300))
        assert cluster.disorder == []
        late = [each.value for each in cluster.handled if each.value in cluster.repeated]
        assert len(late) <= 20, "more was repeated than a checkpoint's interval holds"

    simulate(main, shards=2, seed=seed)


def test_children_are_read_after_their_parents_when_a_shard_splits_under_a_subscription() -> None:
    """The end comes as an event, with the children."""

    async def main(cluster: Cluster) -> None:
        cluster.start(pushed(cluster, slowly(0.2)))
        await trickle(cluster, 0, 50, every=0.1)
        [parent] = cluster.world.stream.listed()
        cluster.world.stream.split(parent.id)
        await trickle(cluster, 50, 100, every=0.1)
        left, right = (shard for shard in cluster.world.stream.listed() if shard.parents)
        cluster.world.stream.merge(left.id, right.id)
        await trickle(cluster, 100, 150, every=0.1)
        await cluster.until_handled(*range(150))
        assert (cluster.repeated, cluster.disorder) == ([], [])
        await cluster.until(lambda: len(cluster.events("shard.ended")) == 3)
        assert cluster.events("push.refused") == []

    simulate(main)


def test_a_slow_handler_leaves_the_rest_where_it_is() -> None:
    """No more is in memory than the window, however much is pushed; half an hour later all of it was handled."""

    async def main(cluster: Cluster) -> None:
        most = 0

        async def handle(_: Record) -> None:
            nonlocal most
            most = max([most, *(taken(each) - len(cluster.handled) for each in subscriptions(cluster))])
            await asyncio.sleep(10.0)

        cluster.world.kinesis.pushing = Pushing(records=10)
        cluster.put(*range(900), keys=5)
        cluster.start(pushed(cluster, handle, window=50))
        await cluster.until_handled(*range(900), within=3600)
        assert (cluster.repeated, cluster.disorder) == ([], [])
        assert 0 < most <= 50 + 2 * 10

    simulate(main)


def test_a_consumer_that_may_not_subscribe_polls_and_loses_nothing() -> None:
    """The stream has its twenty consumers: records come all the same, and it is said once."""

    async def main(cluster: Cluster) -> None:
        kinesis = cluster.world.kinesis
        for number in range(20):
            kinesis.register_stream_consumer(stream_arn=kinesis.arn("stream"), consumer_name=f"other-{number}")
        cluster.start(pushed(cluster))
        await trickle(cluster, 0, 100)
        await cluster.until_handled(*range(100))
        assert (cluster.repeated, cluster.disorder) == ([], [])
        assert [event.cause for event in cluster.events("push.refused")] == ["limit"]

    simulate(main, shards=2)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_to_workers_shards_and_requests_nothing_is_lost_or_disordered(seed: int) -> None:
    """Kills, freezes, deploys and splits at random, while requests are refused, fail, or lose their answer."""

    async def main(cluster: Cluster) -> None:
        chance = random.Random(seed)
        kinesis = cluster.world.kinesis
        kinesis.pushing = Pushing(records=chance.choice([1, 3, 10_000]), life_seconds=chance.choice([20.0, 300.0]))
        made = pushed(cluster, slowly(0.3), window=chance.choice([5, 6_000]))
        workers = [cluster.start(made) for _ in range(3)]
        await asyncio.sleep(5)
        kinesis.faults = Faults(otherwise=Fault(throttled=0.1, failing=0.1, lost=0.1))
        kinesis.faults = replace(
            kinesis.faults, of={"PutRecord": Fault(), "SplitShard": Fault(), "ListShards": Fault()}
        )
        for turn in range(6):
            await trickle(cluster, 60 * turn, 60 * turn + 60, every=0.2)
            victim = chance.choice(workers)
            match chance.choice(["kill", "freeze", "deploy", "split"]):
                case "kill":
                    victim.kill()
                    workers[workers.index(victim)] = cluster.start(made)
                case "freeze":
                    victim.kill()
                    cluster.loop.call_later(chance.random() * 30, victim.thaw)
                case "deploy":
                    victim.drain()
                    workers[workers.index(victim)] = cluster.start(made)
                case _:
                    cluster.world.stream.split(chance.choice(open_shards(cluster)))
        kinesis.faults = Faults()
        await cluster.until_handled(*range(360), within=900)
        assert cluster.disorder == []

    simulate(main, seed=seed, shards=2)


def open_shards(cluster: Cluster) -> list[str]:
    """Return the shards that take records."""
    listed = cluster.world.stream.listed()
    parents = {parent for shard in listed for parent in shard.parents}
    return [shard.id for shard in listed if shard.id not in parents]
