"""A replay: the range and nothing else, flagged, beside a live consumer that notices nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from msgspec.structs import replace

from streamkit import Consumer, Poison, Record
from streamkit.core.replay import Replay
from streamkit.errors import ConfigurationError
from streamkit.ports import Registration
from streamkit.runtimes.replay import Replaying, Result, begun, key_digest, of_key
from streamkit.runtimes.tallying import count
from streamkit.runtimes.worker import Options
from streamkit.testing import VirtualClock
from streamkit.testing.memory.stream import MemorySource
from tests.runtimes.cluster import Cluster, Process, simulate


@dataclass
class MemoryReplays:
    """Registrations of replays."""

    kept: dict[str, Registration] = field(default_factory=dict[str, Registration])

    async def recorded(self, replay: str) -> Registration | None:
        """Return what is recorded."""
        return self.kept.get(replay)

    async def begin(self, wanted: Registration, *, instead: Registration | None = None) -> Registration:
        """Record one where there is none, or `instead` of another."""
        assert wanted.replay is not None
        if self.kept.get(wanted.replay.id) == instead:
            self.kept[wanted.replay.id] = wanted
        return self.kept[wanted.replay.id]

    async def finish(self, registration: Registration, *, now: float) -> Registration:
        """Note the end."""
        assert registration.replay is not None
        done = replace(registration, replay=replace(registration.replay, finished=now))
        self.kept[registration.replay.id] = done
        return done


class Scene:
    """A cluster whose live consumer has handled numbers, one a second, and replays of them."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.world = cluster.world
        self.clock = VirtualClock()
        self.replays = MemoryReplays()
        self.arrivals: dict[int, Record] = {}

    async def history(self, numbers: int, *, reshard: bool = False) -> None:
        """Put numbers a second apart and have them handled live; the stream is split half-way."""
        self.cluster.start()
        for number in range(numbers):
            key = f"key-{number % 5}"
            self.arrivals[number] = self.world.stream.put(key, number)
            if reshard and number == numbers // 2:
                self.world.stream.split(self.world.stream.listed()[0].id)
            await asyncio.sleep(1)
        await self.cluster.until_handled(*range(numbers))

    def wanted(
        self, first: int, after: int, *, shard: str | None = None, key: str | None = None, id_: str = "r"
    ) -> Replay:
        """Ask for the numbers from `first` on, up to `after`, which is not one of them."""
        since, until = self.arrivals[first].arrived, self.arrivals[after].arrived
        now = self.clock.now().timestamp()
        said = f"{first}-{after}"
        return Replay(id=id_, said=said, since=since, until=until, begun=now, shard=shard, key=key_digest(key))

    async def begun(self, wanted: Replay, made: Consumer, *, again: bool = False) -> Registration:
        """Begin a replay, or find it."""
        source, own = MemorySource(self.world.stream), self.world.table.registration
        return await begun(made, wanted, source, self.replays, own=own, clock=self.clock, again=again)

    async def start(self, wanted: Replay, *, key: str | None = None, made: Consumer | None = None) -> Started:
        """Start a process on the replay."""
        made = of_key(made or self.cluster.consumer(), key)
        registration = await self.begun(wanted, made)
        name = f"replay-{len(self.cluster.processes) + 1}"
        run = Replaying(
            made,
            self.world,
            registration,
            clock=self.clock,
            chance=self.world.chance.fork(name),  # type: ignore[attr-defined]
            report=lambda event: self.cluster.log.append((self.cluster.loop.time(), name, event)),
            options=Options(grace=timedelta(seconds=5), on_stuck=lambda: None),
        )
        task = self.cluster.spawn(name, run.run())
        started = Started(name, run, task, self)
        self.cluster.processes.append(Process(name, run, task, self.cluster.loop))  # type: ignore[arg-type] # it drains
        return started

    def values(self, *, replayed: bool = True) -> list[int]:
        """The numbers handled, replayed or live."""
        return [each.value for each in self.cluster.handled if each.record.replayed is replayed]


@dataclass
class Started:
    """A process on a replay."""

    name: str
    run: Replaying
    task: asyncio.Task[Result]
    scene: Scene

    def kill(self) -> None:
        """SIGKILL."""
        self.scene.cluster.loop.freeze(self.name)

    async def end(self) -> Result:
        """Wait for its end."""
        async with asyncio.timeout(600):
            result = await self.task
        await self.run.finish(self.scene.replays)
        return result


@pytest.mark.parametrize("shards", [1, 3])
def test_a_replay_handles_its_range_once_more_and_nothing_else(shards: int) -> None:
    """Flagged, over splits, and the live consumer's rows are as they were."""

    async def main(cluster: Cluster) -> None:
        scene = Scene(cluster)
        await scene.history(40, reshard=True)
        await asyncio.sleep(60)
        before = {row.id: row.progress for row in await scene.world.table.rows()}
        result = await (await scene.start(scene.wanted(10, 35))).end()
        assert sorted(scene.values()) == [*range(10, 35)]
        assert all(each.record.id == scene.arrivals[each.value].id for each in cluster.handled)
        assert (result.tally.handled, result.headway.over, result.headway.fraction) == (25, True, 1.0)
        assert {row.id: row.progress for row in await scene.world.table.rows()} == before
        assert sorted(scene.values(replayed=False)) == [*range(40)]
        [table] = scene.world.replays.values()
        assert (table.shard_rows, table.worker_rows) == ({}, {})
        assert not cluster.events("records.trimmed")
        assert not cluster.events("hole.noticed")

    simulate(main, shards=shards)


def test_neighbouring_ranges_share_no_record() -> None:
    """A range has its beginning and not its end."""

    async def main(cluster: Cluster) -> None:
        scene = Scene(cluster)
        await scene.history(30)
        await (await scene.start(scene.wanted(5, 15, id_="one"))).end()
        await (await scene.start(scene.wanted(15, 25, id_="two"))).end()
        assert sorted(scene.values()) == [*range(5, 25)]

    simulate(main)


@pytest.mark.parametrize("after", [0.5, 2.0, 3.0, 4.5, 6.0, 8.0])
def test_a_killed_replay_goes_on_where_it_was(after: float) -> None:
    """Whatever was checkpointed is not handled again, all else is; as with any worker (rule 17)."""

    async def main(cluster: Cluster) -> None:
        async def slow(record: Record) -> None:
            if record.replayed:
                await asyncio.sleep(0.5)

        scene = Scene(cluster)
        await scene.history(60, reshard=True)
        made = cluster.consumer(slow, concurrency=1)
        first = await scene.start(scene.wanted(10, 50), made=made)
        await asyncio.sleep(after)
        first.kill()
        done = len(scene.values())
        later = scene.wanted(10, 50)
        second = await scene.start(replace(later, until=later.until + 5, since=later.since + 5), made=made)
        await second.end()
        assert set(scene.values()) == {*range(10, 50)}, "the range is the one that was resolved at first"
        assert len(scene.values()) - 40 <= min(done, 3 * 6), (
            "of three shards a checkpoint interval, at two records a second"
        )
        lines: dict[str, list[int]] = {}
        for each in cluster.handled:
            if each.record.replayed:
                lines.setdefault(each.record.key, []).append(each.value)
        for line in lines.values():
            assert list(dict.fromkeys(line)) == sorted(set(line)), "order per key"

    simulate(main, shards=2)


def test_an_interrupted_replay_repeats_nothing_and_a_finished_one_is_not_begun_again() -> None:
    """Only `again` begins a finished one anew."""

    async def main(cluster: Cluster) -> None:
        async def slow(record: Record) -> None:
            if record.replayed:
                await asyncio.sleep(0.2)

        scene = Scene(cluster)
        await scene.history(30)
        made, wanted = cluster.consumer(slow, concurrency=1), scene.wanted(0, 25)
        first = await scene.start(wanted, made=made)
        await cluster.until(lambda: len(scene.values()) > 5)
        first.run.drain("SIGTERM")
        result = await first.end()
        assert 5 < len(scene.values()) < 25
        assert not result.headway.over
        await (await scene.start(wanted, made=made)).end()
        assert sorted(scene.values()) == [*range(25)]
        finished = (await scene.begun(wanted, made)).replay
        assert finished is not None
        assert finished.finished is not None
        anew = (await scene.begun(replace(wanted, begun=wanted.begun + 100), made, again=True)).replay
        assert anew is not None
        assert anew.finished is None

    simulate(main)


def test_two_processes_share_a_replay() -> None:
    """Each record once, and each of them stays until all is done."""

    async def main(cluster: Cluster) -> None:
        async def slow(record: Record) -> None:
            if record.replayed:
                await asyncio.sleep(1)

        scene = Scene(cluster)
        await scene.history(60)
        made, wanted = cluster.consumer(slow, concurrency=1), scene.wanted(0, 50)
        runs = [await scene.start(wanted, made=made) for _ in range(2)]
        results = [await run.end() for run in runs]
        assert sorted(scene.values()) == [*range(50)]
        assert all(result.tally.handled for result in results)
        assert all(result.headway.over for result in results)

    simulate(main, shards=4)


def test_one_shard_and_one_key_can_be_named() -> None:
    """The other keys are filtered; the other shards are not read."""

    async def main(cluster: Cluster) -> None:
        scene = Scene(cluster)
        await scene.history(40)
        await (await scene.start(scene.wanted(3, 33, key="key-2", id_="key"), key="key-2")).end()
        assert scene.values() == [n for n in range(3, 33) if n % 5 == 2]
        shard = scene.arrivals[2].shard
        cluster.handled.clear()
        await (await scene.start(scene.wanted(3, 33, shard=shard, id_="shard"))).end()
        assert sorted(scene.values()) == [n for n in range(3, 33) if scene.arrivals[n].shard == shard]

    simulate(main, shards=3)


def test_what_fails_in_a_replay_is_retried_and_becomes_a_dead_letter() -> None:
    """By the consumer's own rules, but for the age of records: those of a replay are old."""

    async def main(cluster: Cluster) -> None:
        async def picky(record: Record) -> None:
            if record.replayed and record.json() == 7:
                raise Poison("bad")
            if record.replayed and record.json() == 9 and record.attempt == 1:
                raise OSError

        scene = Scene(cluster)
        await scene.history(20)
        made = cluster.consumer(picky)
        await asyncio.sleep(120)
        made = made.using(retry=replace_age(made))
        result = await (await scene.start(scene.wanted(0, 15), made=made)).end()
        assert sorted(scene.values()) == [n for n in range(15) if n != 7]
        [letter] = scene.world.letters.letters
        assert (letter.record.json(), letter.record.replayed, letter.reason) == (7, True, "bad")
        assert (result.headway.dead, result.headway.over) == (1, True)

    simulate(main)


def replace_age(made: Consumer) -> object:
    """Return the consumer's retries, for records of the last minute only."""
    return replace(made.retry, max_age=timedelta(minutes=1))


def test_a_shard_that_was_not_begun_before_its_records_expired_is_reported() -> None:
    """An interruption that outlasts the retention loses nothing quietly (rule 14)."""

    async def main(cluster: Cluster) -> None:
        async def never(record: Record) -> None:
            if record.replayed:
                await asyncio.sleep(1e6)

        scene = Scene(cluster)
        await scene.history(20)
        wanted = scene.wanted(0, 15)
        first = await scene.start(wanted, made=cluster.consumer(never))
        await asyncio.sleep(10)
        first.kill()
        cluster.processes[0].drain()
        await asyncio.sleep(25 * 3600)
        result = await (await scene.start(wanted)).end()
        assert scene.values() == []
        assert result.trimmed

    simulate(main)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"since": -90_000}, "expected a moment within the retention of stream stream, which is 24 hours, so from "),
        ({"until": 500}, "expected a moment that has passed"),
        ({"until": -100, "since": -50}, "expected --from before --to"),
        ({"shard": "shardId-000000000009"}, "expected one that the stream has \\(shardId-000000000000\\)"),
        ({"said": "another"}, "--id r: expected a replay of first, as it was begun"),
    ],
)
def test_a_range_that_cannot_be_had_is_refused_with_what_can(changes: dict[str, float | str], expected: str) -> None:
    """Before anything is written."""

    async def main(cluster: Cluster) -> None:
        scene = Scene(cluster)
        await scene.history(3)
        now = scene.clock.now().timestamp()
        made = cluster.consumer()
        wanted = Replay(id="r", said="first", since=now - 100, until=now, begun=now)
        if "said" in changes:
            await scene.begun(wanted, made)
        moved = {name: now + value if isinstance(value, int) else value for name, value in changes.items()}
        kept = dict(scene.replays.kept)
        with pytest.raises(ConfigurationError, match=expected):
            await scene.begun(replace(wanted, **moved), made)
        assert scene.replays.kept == kept

    simulate(main)


def test_a_count_is_what_a_replay_handles() -> None:
    """Nothing is handled or written for it."""

    async def main(cluster: Cluster) -> None:
        scene = Scene(cluster)
        await scene.history(40, reshard=True)
        made = of_key(cluster.consumer(), None)
        counts: Sequence[object] = await count(
            made, MemorySource(scene.world.stream), scene.wanted(10, 35), clock=scene.clock
        )
        by_shard = Counter(scene.arrivals[n].shard for n in range(10, 35))
        assert {each.shard: each.records for each in counts if each.records} == by_shard  # type: ignore[attr-defined]
        assert scene.values() == []
        assert scene.world.replays == {}

    simulate(main, shards=2)
