"""A table, a stream, or streamkit itself that works in part only: what must go on does, within its bounds."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from streamkit import Checkpoint, ConfigurationError
from streamkit.core.lineage import Shard
from streamkit.errors import Denied, Throttled
from streamkit.testing import MemorySource
from streamkit.testing.kinesis import AnswerLost
from tests.runtimes.cluster import LEASE, TAKEOVER, Cluster, Process, simulate

WINDOW, RECORDS = 30, 20
SMALL = Checkpoint(lease=LEASE, interval=timedelta(seconds=1), records=RECORDS, window=WINDOW)


class Refusals:
    """Makes one method of the table, or of the world, raise an error until told otherwise."""

    def __init__(self, owner: object, method: str, error: Exception) -> None:
        self.on = True
        self._works = getattr(owner, method)
        self._error = error
        setattr(owner, method, self.call if inspect.iscoroutinefunction(self._works) else self.call_plainly)

    async def call(self, *arguments: Any, **named: Any) -> Any:
        """Refuse, or go on."""
        await asyncio.sleep(0)
        if self.on:
            raise self._error
        return await self._works(*arguments, **named)

    def call_plainly(self, *arguments: Any, **named: Any) -> Any:
        """Refuse, or go on."""
        if self.on:
            raise self._error
        return self._works(*arguments, **named)


def causes(error: BaseException | None) -> list[BaseException]:
    """Return the errors in a group."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in causes(each)]
    return [error] if error else []


async def ended(cluster: Cluster, process: Process, *, within: float = 60.0) -> list[BaseException]:
    """Wait for the end of a process; return what ended it."""
    async with asyncio.timeout(within):
        while not process.task.done():
            await asyncio.sleep(0.1)
    return causes(process.task.exception())


# A table that takes heartbeats but no checkpoints


def test_records_run_ahead_of_the_last_durable_checkpoint_by_a_bounded_number_only() -> None:
    """What a successor would repeat has a bound, however long the table refuses; then it goes on (rule 19)."""

    async def main(cluster: Cluster) -> None:
        cluster.put(*range(500))
        refusals = Refusals(cluster.world.table, "write", Throttled("too fast"))
        cluster.start(cluster.consumer(checkpoint=SMALL))
        await asyncio.sleep(300)
        assert len(cluster.handled) == RECORDS + WINDOW
        refusals.on = False
        await cluster.until_handled(*range(500), within=60)
        assert cluster.repeated == []
        assert cluster.events("worker.fenced") == []

    simulate(main)


def test_a_successor_repeats_no_more_than_that_bound() -> None:
    """The worker dies while the table refuses checkpoints, after some were written."""

    async def main(cluster: Cluster) -> None:
        cluster.put(*range(100))
        first = cluster.start(cluster.consumer(checkpoint=SMALL))
        await cluster.until_handled(*range(100))
        await asyncio.sleep(3)
        refusals = Refusals(cluster.world.table, "write", Throttled("too fast"))
        cluster.put(*range(100, 400))
        await asyncio.sleep(100)
        first.kill()
        refusals.on = False
        cluster.start(cluster.consumer(checkpoint=SMALL))
        await cluster.until_handled(*range(400))
        assert len(cluster.repeated) == RECORDS + WINDOW
        assert cluster.disorder == []

    simulate(main)


# A stream that does not list its shards


def test_a_dead_workers_shards_are_taken_although_the_stream_lists_nothing() -> None:
    """Rows say enough: only new shards wait for the stream."""

    async def main(cluster: Cluster) -> None:
        cluster.put(*range(40), keys=40)
        first, second = cluster.start(), cluster.start()
        await cluster.until_handled(*range(40))
        await cluster.until(lambda: len({r.owner for r in cluster.world.table.shard_rows.values()}) == 2)
        Refusals(cluster.world.stream, "listed", AnswerLost("ListShards"))
        await asyncio.sleep(120)
        assert cluster.events("coordination.delayed")
        first.kill()
        cluster.put(*range(40, 80), keys=40)
        await cluster.until_handled(*range(40, 80), within=TAKEOVER)
        assert not second.task.done()

    simulate(main, shards=2)


def test_a_listing_that_never_ends_does_not_hold_up_takeovers_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given a share of the lease, and asked for again."""

    async def main(cluster: Cluster) -> None:
        cluster.put(*range(40), keys=40)
        first, _ = cluster.start(), cluster.start()
        await cluster.until(lambda: len({r.owner for r in cluster.world.table.shard_rows.values()}) == 2)
        await cluster.until_handled(*range(40))
        monkeypatch.setattr(MemorySource, "shards", never)
        await asyncio.sleep(120)
        first.kill()
        cluster.put(*range(40, 80), keys=40)
        await cluster.until_handled(*range(40, 80), within=TAKEOVER + LEASE.total_seconds())

    simulate(main, shards=2)


async def never(source: MemorySource) -> Sequence[Shard]:
    """Wait for an answer to ListShards that does not come."""
    await asyncio.sleep(1e9)
    return ()


# A table that may not be used


@pytest.mark.parametrize("method", ["take", "beat", "write", "rows", "members", "bury"])
def test_a_denied_request_ends_the_worker_with_its_reason(method: str) -> None:
    """Waiting mends no policy: it ends with what a person has to read, and does not stand there in silence."""

    async def main(cluster: Cluster) -> None:
        if method == "bury":
            dead = cluster.start()
            await asyncio.sleep(2)
            dead.kill()
        process = cluster.start()
        if method not in ("take", "rows"):
            await asyncio.sleep(2)
        Refusals(cluster.world.table, method, Denied(f"not authorized to do this: {method}"))
        cluster.put(1)
        (error, *_) = await ended(cluster, process)
        assert isinstance(error, ConfigurationError)
        assert str(error) == f"not authorized to do this: {method}"

    simulate(main)


# A shard that breaks


def test_a_shard_whose_loop_breaks_is_tried_again_after_ever_longer_pauses() -> None:
    """2, 4, 8 ... up to 60 s apart: a fault that stays must not flood table and log; one that goes is over soon."""

    async def main(cluster: Cluster) -> None:
        fault = Refusals(cluster.world.kinesis, "get_shard_iterator", ZeroDivisionError("a slip"))
        cluster.put(*range(10))
        cluster.start()
        await asyncio.sleep(400)
        failures = cluster.when("shard.failed")
        pauses = [later - earlier for earlier, later in pairwise(failures)]
        assert pauses[0] < 4 < pauses[2]
        assert all(later > earlier - 1.0 for earlier, later in pairwise(pauses)), "a tick more or less"
        assert pauses[-1] <= 62
        assert 6 <= len(failures) <= 12
        fault.on = False
        await cluster.until_handled(*range(10), within=62)
        assert cluster.repeated == []

    simulate(main)


def test_a_worker_that_leaves_a_broken_shard_alone_for_a_while_is_not_idle() -> None:
    """`--until-idle` must not call it a day with records unread."""

    async def main(cluster: Cluster) -> None:
        fault = Refusals(cluster.world.kinesis, "get_shard_iterator", ZeroDivisionError("a slip"))
        cluster.put(*range(10))
        process = cluster.start(until_idle=2.0)
        await asyncio.sleep(200)
        assert not process.task.done()
        fault.on = False
        assert await ended(cluster, process, within=200) == []
        assert cluster.seen == set(range(10))

    simulate(main)
