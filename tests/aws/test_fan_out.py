"""Records that are pushed: nothing skipped, nothing repeated, through renewals, silence and hand-overs; or polled."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import pytest
from msgspec.structs import replace

from streamkit.aws.call import Call
from streamkit.aws.errors import Busy, Rejected
from streamkit.aws.fan_out_reader import FanOutReader
from streamkit.aws.fan_out_renewal import FanOutSettings
from streamkit.aws.kinesis import KinesisSettings, KinesisSource
from streamkit.core.lineage import Shard
from streamkit.core.positions import Place
from streamkit.core.records import Record
from streamkit.errors import Denied, Missing, Throttled, Unanswered
from streamkit.events import PushRefused
from streamkit.ports import Reader
from streamkit.testing import KinesisWorld, MemoryStream, Recorder, SeededChance, VirtualClock
from streamkit.testing.kinesis import Pushing
from streamkit.testing.kinesis.service import call_of
from tests.aws.virtual import virtual

SHARD = Shard("shardId-000000000000")
MINUTE = 60.0


class Watched:
    """Carries out what is asked, but fails with what is on order; remembers when what was asked."""

    def __init__(self, call: Call, clock: VirtualClock) -> None:
        self.call = call
        self.clock = clock
        self.orders: dict[str, list[Exception]] = {}
        self.asked: list[tuple[str, float]] = []
        self.subscriptions: list[Any] = []
        self.wrap: Callable[[Any], Any] = lambda subscription: subscription

    async def __call__(self, operation: str, /, **parameters: Any) -> dict[str, Any]:
        """Carry out, or fail."""
        self.asked.append((operation, self.clock.monotonic()))
        if self.orders.get(operation):
            raise self.orders[operation].pop(0)
        answer = await self.call(operation, **parameters)
        if "EventStream" in answer:
            answer["EventStream"] = self.wrap(answer["EventStream"])
            self.subscriptions.append(answer["EventStream"])
        return answer

    def times(self, operation: str) -> list[float]:
        """When it was asked for."""
        return [at for name, at in self.asked if name == operation]


class Silent:
    """A connection that is dead without a word from some event on; nobody closed it."""

    def __init__(self, subscription: Any, after: int) -> None:
        self.subscription = subscription
        self.left = after
        self.closed = False

    async def event(self) -> dict[str, Any] | None:
        """Give the next event, while there are any left."""
        self.left -= 1
        if self.left < 0:
            await asyncio.Event().wait()
        event: dict[str, Any] | None = await self.subscription.event()
        return event

    def close(self) -> None:
        """Hang up."""
        self.closed = True


class Breaking(Silent):
    """A connection that breaks."""

    async def event(self) -> dict[str, Any] | None:
        """Give the next event, or break."""
        if self.left == 0:
            raise Unanswered("broken")
        return await super().event()


class Stage:
    """A stream of one shard, a source that has its records pushed, and what was reported."""

    def __init__(self, *, fan_out: FanOutSettings | None = None, pushing: Pushing | None = None) -> None:
        self.clock = VirtualClock()
        self.kinesis = KinesisWorld(clock=self.now, chance=random.Random(0))
        self.kinesis.pushing = pushing or Pushing()
        self.stream = MemoryStream(self.kinesis, self.clock)
        self.recorder = Recorder()
        self.settings = KinesisSettings(fan_out=fan_out or FanOutSettings())
        self.service, self.source = self.worker(0)

    def now(self) -> float:
        """The service's time."""
        return self.clock.now().timestamp()

    def worker(self, seed: int, name: str = "readers") -> tuple[Watched, KinesisSource]:
        """Return what another worker has: clients and a source of its own."""
        watched = Watched(call_of(self.kinesis, now=self.now), self.clock)
        return watched, KinesisSource(
            watched,
            stream=self.stream.name,
            clock=self.clock,
            chance=SeededChance(seed),
            report=self.recorder,
            fan_out=name,
            settings=self.settings,
        )

    def reader(self, place: Place = "TRIM_HORIZON") -> Reader:
        """Open the shard."""
        return self.source.reader(SHARD, place)

    def put(self, *values: int) -> None:
        """Put numbers."""
        for value in values:
            self.stream.put("k", value)

    def reasons(self) -> list[str]:
        """Why records were polled, as reported."""
        return [each.cause for each in self.recorder.events if isinstance(each, PushRefused)]


async def some(reader: Reader, count: int) -> list[int]:
    """Read so many values."""
    found: list[int] = []
    while len(found) < count:
        found += values((await reader.read()).records)
    return found


def values(records: Iterable[Record]) -> list[int]:
    """Return what was put."""
    return [int(record.data) for record in records]


@virtual
async def test_records_are_pushed_as_they_arrive_and_nothing_is_polled() -> None:
    """What is put reaches the reader at once, without a request of its own."""
    stage = Stage()
    reader = stage.reader()
    stage.put(0)
    assert await some(reader, 1) == [0]
    for value in range(1, 5):
        stage.put(value)
        before = stage.clock.monotonic()
        assert await some(reader, 1) == [value]
        assert stage.clock.monotonic() - before < 0.2
    assert len(stage.service.times("SubscribeToShard")) == 1
    assert stage.service.times("GetRecords") == []
    assert stage.recorder.counts["push.started"] == 1


@virtual
async def test_a_subscription_is_renewed_when_its_five_minutes_are_over() -> None:
    """An hour of records, one a minute, and twelve subscriptions: all of them once, in order."""
    stage = Stage()
    reader, seen = stage.reader(), list[int]()

    async def read() -> None:
        seen.extend(await some(reader, 60))

    async with asyncio.TaskGroup() as group:
        group.create_task(read())
        for value in range(60):
            stage.put(value)
            await asyncio.sleep(MINUTE)
    assert seen == list(range(60))
    times = stage.service.times("SubscribeToShard")
    gaps = [after - before for before, after in pairwise(times)]
    assert len(times) == 12
    assert all(300 <= gap < 301 for gap in gaps)
    assert stage.recorder.counts["read.delayed"] == 0


@pytest.mark.parametrize("after", [1, 2, 3])
def test_reading_goes_on_at_the_continuation(after: int) -> None:
    """It may be the number of a record that was not sent yet: that one must come, and no other twice."""

    @virtual
    async def main() -> None:
        stage = Stage(pushing=Pushing(records=3))
        stage.service.wrap = lambda subscription: Breaking(subscription, after)
        stage.put(*range(30))
        assert await some(stage.reader(), 30) == list(range(30))
        assert len(stage.service.subscriptions) >= 10 / after

    main()


@virtual
async def test_what_arrives_at_a_quiet_tip_after_a_break_is_not_missed() -> None:
    """The continuation at the tip may be the very number that the next record gets, within the same second."""
    stage = Stage()
    stage.service.wrap = lambda subscription: Breaking(subscription, 2)
    reader = stage.reader()
    await reader.read()
    stage.put(0)
    await some(reader, 1)
    stage.put(1)
    async with asyncio.timeout(20):
        assert await some(reader, 1) == [1]


@virtual
async def test_a_silent_connection_is_given_up() -> None:
    """An event comes every five seconds, so none for fifteen is the end of it: what was put meanwhile comes then."""
    stage = Stage()
    stage.service.wrap = lambda subscription: Silent(subscription, 2 if not stage.service.subscriptions else 100)
    stage.put(0)
    reader = stage.reader()
    await some(reader, 1)
    await reader.read()
    stage.put(1)
    before = stage.clock.monotonic()
    assert await some(reader, 1) == [1]
    assert 15 <= stage.clock.monotonic() - before < 17
    assert stage.service.subscriptions[0].closed
    assert stage.recorder.counts["read.delayed"] == 1


@virtual
async def test_a_quiet_shard_is_not_silent() -> None:
    """An hour without a record is an answer every five seconds, and no resubscription before its time."""
    stage = Stage()
    reader = stage.reader()
    answers = [await reader.read() for _ in range(3600 // 5)]
    assert all(not answer.records and not answer.behind for answer in answers)
    assert 11 <= len(stage.service.subscriptions) <= 13


@virtual
async def test_a_successor_takes_the_shard_over_within_seconds() -> None:
    """One subscription a consumer and shard: the new owner is refused for five seconds at most, and then has it."""
    stage = Stage()
    stage.put(0)
    first = stage.reader()
    await some(first, 1)
    first.close()
    service, source = stage.worker(1)
    stage.put(1)
    before = stage.clock.monotonic()
    assert await some(source.reader(SHARD, "TRIM_HORIZON"), 2) == [0, 1]
    assert 5 <= stage.clock.monotonic() - before <= 15
    times = service.times("SubscribeToShard")
    assert all(after - one >= 5 for one, after in pairwise(times))


@virtual
async def test_two_that_take_the_same_shard_for_theirs_do_not_spin() -> None:
    """They take over from each other no faster than every five seconds, and then one of them polls, and says so."""
    stage = Stage()
    others = [stage.worker(seed) for seed in (1, 2)]
    stopped = asyncio.Event()

    async def read(source: KinesisSource) -> None:
        reader = source.reader(SHARD, "TRIM_HORIZON")
        while not stopped.is_set():
            await reader.read()

    async with asyncio.TaskGroup() as group:
        for _, source in others:
            group.create_task(read(source))
        for value in range(10):
            stage.put(value)
            await asyncio.sleep(MINUTE)
        stopped.set()
    assert set(stage.reasons()) <= {"in use"}
    for service, _ in others:
        times = service.times("SubscribeToShard")
        assert len(times) < 10 * MINUTE / 5
        assert all(after - one >= 5 for one, after in pairwise(times))


@virtual
async def test_a_closed_shard_ends_with_its_children() -> None:
    """The last event names them; the subscription is over, and the end stays the end."""
    stage = Stage()
    stage.put(0, 1)
    reader = stage.reader()
    await some(reader, 1)
    stage.stream.split(SHARD.id)
    answers = [await reader.read() for _ in range(3)]
    end = next(answer for answer in answers if answer.ended)
    assert len(end.children) == 2
    assert all(child.parents == (SHARD.id,) for child in end.children)
    assert await reader.read() == replace(end, records=())
    assert len(stage.service.subscriptions) == 1


@virtual
async def test_a_read_that_is_cancelled_was_never_made() -> None:
    """At whatever moment: the next one gives what it would have given."""
    stage = Stage(pushing=Pushing(records=1))
    stage.put(*range(20))
    reader, found = stage.reader(), list[int]()
    chance = random.Random(7)
    while len(found) < 20:
        try:
            async with asyncio.timeout(chance.random() * 0.02):
                found += await some(reader, 1)
        except TimeoutError:
            continue
    assert found == list(range(20))


@virtual
async def test_nothing_is_taken_off_the_connection_before_it_is_asked_for() -> None:
    """A handler that is slow for an hour leaves the rest where it is; then it comes, in order."""
    stage = Stage(pushing=Pushing(records=1))
    asked = Counter[str]()

    class Counting(Silent):
        async def event(self) -> dict[str, Any] | None:
            asked["event"] += 1
            return await super().event()

    stage.service.wrap = lambda subscription: Counting(subscription, 1000)
    stage.put(*range(10))
    reader = stage.reader()
    assert await some(reader, 1) == [0]
    await asyncio.sleep(3600)
    assert asked["event"] == 1
    assert await some(reader, 9) == list(range(1, 10))


@virtual
async def test_a_reader_that_is_closed_hangs_up() -> None:
    """The connection is closed at once, and may be had by another reader."""
    stage = Stage(fan_out=FanOutSettings(connections=1))
    stage.put(0)
    reader = stage.reader()
    assert isinstance(reader, FanOutReader)
    await some(reader, 1)
    reader.close()
    reader.close()
    await asyncio.sleep(5)
    assert await some(stage.reader(), 1) == [0]
    assert len(stage.service.times("SubscribeToShard")) == 2
    assert stage.reasons() == []


# ------------------------------------------------------------------------------------------------ the consumer


@virtual
async def test_a_consumer_is_registered_once_and_awaited() -> None:
    """Whoever comes first; it takes seconds until it is active."""
    stage = Stage(pushing=Pushing(registering_seconds=20.0))
    stage.put(0)
    _, other = stage.worker(1)
    async with asyncio.TaskGroup() as group:
        group.create_task(some(stage.reader(), 1))
        group.create_task(some(other.reader(SHARD, "TRIM_HORIZON"), 1))
    assert stage.clock.monotonic() >= 20
    arn = stage.kinesis.arn(stage.stream.name)
    assert [each.consumer_name for each in stage.kinesis.list_stream_consumers(stream_arn=arn).consumers] == ["readers"]
    assert stage.reasons() == []


@virtual
async def test_a_consumer_that_is_removed_is_registered_anew() -> None:
    """By an operator, or with the stream's policy: reading goes on where it was."""
    stage = Stage()
    arn = stage.kinesis.arn(stage.stream.name)
    stage.put(0)
    reader = stage.reader()
    await some(reader, 1)
    await asyncio.sleep(10)
    stage.kinesis.deregister_stream_consumer(stream_arn=arn, consumer_name="readers")
    stage.put(1)
    assert await some(reader, 1) == [1]
    assert len(stage.kinesis.list_stream_consumers(stream_arn=arn).consumers) == 1
    assert stage.reasons() == []


@pytest.mark.parametrize(
    ("operation", "errors", "reason"),
    [
        ("DescribeStreamConsumer", [Denied("no")], "denied"),
        ("DescribeStreamConsumer", [Rejected("UnknownOperationException")], "unsupported"),
        ("DescribeStreamConsumer", [Unanswered("lost")] * 5, "unanswered"),
        ("RegisterStreamConsumer", [Denied("no")], "denied"),
        ("RegisterStreamConsumer", [Throttled("LimitExceededException")] * 5, "limit"),
        ("SubscribeToShard", [Denied("no")], "denied"),
        ("SubscribeToShard", [Rejected("InvalidArgumentException")], "unsupported"),
        ("SubscribeToShard", [Unanswered("lost")] * 5, "broken"),
        ("SubscribeToShard", [Busy("ResourceInUseException")] * 5, "in use"),
    ],
    ids=str,
)
def test_where_fan_out_is_not_to_be_had_records_are_polled(
    operation: str, errors: list[Exception], reason: str
) -> None:
    """It is said once, with the reason; five minutes later it is tried again, and reading goes on from its place."""

    @virtual
    async def main() -> None:
        stage = Stage()
        stage.service.orders[operation] = [*errors]
        stage.put(0, 1)
        reader = stage.reader()
        assert await some(reader, 2) == [0, 1]
        assert stage.service.times("GetRecords")
        for value in range(2, 20):
            stage.put(value)
            assert await some(reader, 1) == [value]
            await asyncio.sleep(30)
        assert stage.reasons() == [reason]
        assert stage.recorder.counts["push.started"] == 1
        assert stage.service.subscriptions

    main()


@virtual
async def test_the_twentieth_and_first_consumer_is_refused_and_polls() -> None:
    """A stream has twenty; a place that becomes free is taken later."""
    stage = Stage(pushing=Pushing(consumers=1))
    arn = stage.kinesis.arn(stage.stream.name)
    stage.kinesis.register_stream_consumer(stream_arn=arn, consumer_name="other")
    stage.put(0)
    reader = stage.reader()
    assert await some(reader, 1) == [0]
    assert stage.reasons() == ["limit"]
    stage.kinesis.deregister_stream_consumer(stream_arn=arn, consumer_name="other")
    await asyncio.sleep(300)
    stage.put(1)
    assert await some(reader, 1) == [1]
    assert stage.recorder.counts["push.started"] == 1


@virtual
async def test_a_refusal_is_said_once_for_all_shards_and_again_after_it_had_ended() -> None:
    """Not for every shard, not every five minutes."""
    stage = Stage()
    stage.stream.split(SHARD.id)
    shards = [shard for shard in stage.stream.listed() if shard.parents]
    stage.service.orders["SubscribeToShard"] = [Denied("no")] * 12
    readers = [stage.source.reader(shard, "TRIM_HORIZON") for shard in shards]
    until = stage.clock.monotonic() + 3600
    while stage.clock.monotonic() < until:
        for reader in readers:
            await reader.read()
    assert stage.reasons() == ["denied"]


@virtual
async def test_a_shard_whose_end_is_not_told_ends_all_the_same() -> None:
    """Some endpoints hang up at the end of a closed shard and name no children: it is polled, which finds out."""
    stage = Stage()

    class Mute(Silent):
        async def event(self) -> dict[str, Any] | None:
            found = await super().event()
            return None if found and "ChildShards" in found else found

    stage.service.wrap = lambda subscription: Mute(subscription, 1000)
    stage.put(0)
    reader = stage.reader()
    await some(reader, 1)
    stage.stream.split(SHARD.id)
    read = await reader.read()
    while not read.ended:
        read = await reader.read()
    assert len(read.children) == 2
    assert stage.reasons() == ["broken"]


@virtual
async def test_more_shards_than_connections_are_polled() -> None:
    """Subscriptions leave connections for everything else."""
    stage = Stage(fan_out=FanOutSettings(connections=1))
    stage.put(0)
    assert await some(stage.reader(), 1) == [0]
    stage.stream.split(SHARD.id)
    child = next(shard for shard in stage.stream.listed() if shard.parents)
    read = await stage.source.reader(child, "TRIM_HORIZON").read()
    assert not read.records
    assert stage.service.times("GetRecords")
    assert stage.reasons() == ["connections"]


@virtual
async def test_connections_are_counted_while_they_are_asked_for() -> None:
    """A thousand shards that begin at once do not all get one; a refused request gives its own back."""
    stage = Stage(fan_out=FanOutSettings(connections=2))
    stage.service.orders["SubscribeToShard"] = [Unanswered("lost")]
    stage.stream.split(SHARD.id)
    shards = stage.stream.listed()
    async with asyncio.TaskGroup() as group:
        for shard in shards:
            group.create_task(stage.source.reader(shard, "TRIM_HORIZON").read())
    assert len(stage.service.times("SubscribeToShard")) == 3
    assert len(stage.service.subscriptions) == 2
    assert stage.reasons() == ["connections"]


@virtual
async def test_a_shard_or_stream_that_is_gone_is_missing() -> None:
    """It is not polled for, and is not the end of a shard."""
    stage = Stage()
    stage.put(0)
    reader = stage.reader()
    await some(reader, 1)
    with pytest.raises(Missing):
        await stage.source.reader(Shard("shardId-000000000009"), "TRIM_HORIZON").read()
    stage.kinesis.delete_stream(stream_name=stage.stream.name, enforce_consumer_deletion=True)
    with pytest.raises(Missing):
        await reader.read()
    assert stage.reasons() == []
