"""Subscriptions over the wire, by the SDK, from the embedded endpoint."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from streamkit.aws.clients import Aws
from streamkit.aws.errors import Busy
from streamkit.aws.fan_out_stream import Pushed
from streamkit.errors import Missing, Unanswered
from streamkit.testing.endpoint import Endpoint
from streamkit.testing.endpoint.pushing import message
from streamkit.testing.kinesis import KinesisWorld, Pushing
from tests.aws.fan_out_suites import TestPushed

__all__ = ["TestPushed"]

MEGABYTE = 1 << 20


@pytest.fixture
async def server() -> AsyncIterator[Endpoint]:
    """An endpoint of its own, whose subscriptions do not take their time."""
    async with Endpoint(moto=False) as server:
        server.kinesis().pushing = Pushing(apart_seconds=0.0, heartbeat_seconds=0.05, records=10)
        yield server


@pytest.fixture
def endpoint(server: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lead the SDK there."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)


@pytest.fixture
def world(server: Endpoint) -> KinesisWorld:
    """The service behind it, with a stream of one shard and a consumer."""
    world = server.kinesis()
    world.create_stream(stream_name="flights", shard_count=1)
    world.register_stream_consumer(stream_arn=world.arn("flights"), consumer_name="readers")
    return world


async def subscribe(aws: Aws, world: KinesisWorld) -> Pushed:
    """Subscribe to the shard from its start."""
    arn = world.describe_stream_consumer(stream_arn=world.arn("flights"), consumer_name="readers").consumer_arn
    call = await aws.call("kinesis")
    answer = await call(
        "SubscribeToShard",
        ConsumerARN=arn,
        ShardId="shardId-000000000000",
        StartingPosition={"Type": "TRIM_HORIZON"},
    )
    subscription: Pushed = answer["EventStream"]
    return subscription


async def to_the_end(subscription: Pushed) -> None:
    """Read all events."""
    while await subscription.event() is not None:
        pass


async def test_an_event_is_what_the_service_pushed(aws: Aws, world: KinesisWorld) -> None:
    """Records are decoded as polled ones are; bytes are bytes."""
    data = bytes(range(256))
    put = world.put_record(stream_name="flights", data=data, partition_key="\N{AIRPLANE}")
    subscription = await subscribe(aws, world)
    event = await subscription.event()
    assert event
    [record] = event["Records"]
    assert (record.Data, record.PartitionKey, record.SequenceNumber) == (data, "\N{AIRPLANE}", put.sequence_number)
    assert event["MillisBehindLatest"] == 0
    assert int(event["ContinuationSequenceNumber"]) > int(record.SequenceNumber)
    subscription.close()


async def test_a_subscription_ends_when_its_time_is_over(aws: Aws, world: KinesisWorld) -> None:
    """The response ends, and nothing is wrong."""
    world.pushing = Pushing(life_seconds=0.2, heartbeat_seconds=0.05)
    subscription = await subscribe(aws, world)
    await to_the_end(subscription)
    assert await subscription.event() is None


async def test_a_subscription_that_is_taken_over_says_so(aws: Aws, world: KinesisWorld) -> None:
    """An exception among the events has the meaning it has as an answer."""
    first = await subscribe(aws, world)
    assert await first.event()
    second = await subscribe(aws, world)
    with pytest.raises(Busy):
        await to_the_end(first)
    assert await second.event()
    second.close()


async def test_a_stream_that_goes_away_under_a_subscription_is_missing(aws: Aws, world: KinesisWorld) -> None:
    """The same of another exception."""
    subscription = await subscribe(aws, world)
    assert await subscription.event()
    world.delete_stream(stream_name="flights", enforce_consumer_deletion=True)
    with pytest.raises(Missing):
        await to_the_end(subscription)


async def test_who_does_not_read_takes_no_more_than_a_connection_buffers(aws: Aws, world: KinesisWorld) -> None:
    """Of 64 MB a few; the rest waits in the system's sockets and at the service. Then all of it comes, in order."""
    for number in range(64):
        world.put_record(stream_name="flights", data=b"%03d" % number + bytes(MEGABYTE - 100), partition_key="k")
    world.pushing = Pushing(records=1)
    subscription = await subscribe(aws, world)
    assert await subscription.event()
    await asyncio.sleep(0.5)
    assert subscription.response.content.total_bytes < 4 * MEGABYTE
    numbers = [0]
    while len(numbers) < 64:
        event = await subscription.event()
        assert event
        numbers += [int(record.Data[:3]) for record in event["Records"]]
    assert numbers == list(range(64))
    subscription.close()


async def test_a_wait_that_is_cancelled_loses_nothing(aws: Aws, world: KinesisWorld) -> None:
    """Half a message that has come stays."""
    for number in range(20):
        world.put_record(stream_name="flights", data=b"%03d" % number + bytes(300_000), partition_key="k")
    world.pushing = Pushing(records=1, heartbeat_seconds=0.05)
    subscription, numbers, cut = await subscribe(aws, world), list[int](), 0
    while len(numbers) < 20:
        try:
            async with asyncio.timeout(0.0005):
                event = await subscription.event()
        except TimeoutError:
            cut += 1
            await asyncio.sleep(0.002)
        else:
            assert event
            numbers += [int(record.Data[:3]) for record in event["Records"]]
    assert numbers == list(range(20))
    assert cut
    subscription.close()


class Cut:
    """A response whose body comes in pieces, and ends."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = [*pieces]
        self.content = self

    async def readany(self) -> bytes:
        """Give the next piece."""
        return self.pieces.pop(0) if self.pieces else b""


EVENT = message({":message-type": "event", ":event-type": "SubscribeToShardEvent"}, b'{"Records":[]}')
OTHER = message({":message-type": "event", ":event-type": "something-new"}, b"{}")


@pytest.mark.parametrize("size", [1, 3, 50, 1000])
async def test_messages_come_in_whatever_pieces(size: int) -> None:
    """What is unknown is passed over."""
    body = EVENT + OTHER + EVENT
    subscription = pushed(*(body[at : at + size] for at in range(0, len(body), size)))
    found = [await subscription.event() for _ in range(3)]
    assert [event and event["Records"] for event in found] == [[], [], None]


@pytest.mark.parametrize(
    "body",
    [
        EVENT[:-1],
        EVENT[:-1] + b"\x00",
        b"\x7f" + EVENT[1:],
        b"\x00\x00\x00\x00" + EVENT[4:],
        message({":message-type": "event", ":event-type": "SubscribeToShardEvent"}, b'{"Records":7}'),
        message({":message-type": "error", ":error-code": "InternalFailure", ":error-message": "x"}, b""),
    ],
    ids=["cut off", "damaged", "too long", "too short", "no event", "an error"],
)
async def test_what_is_no_message_is_as_if_nothing_had_come(body: bytes) -> None:
    """A broken connection in disguise: reading goes on by another one."""
    with pytest.raises(Unanswered):
        await pushed(body).event()


def pushed(*pieces: bytes) -> Pushed:
    """Return the messages of a body."""
    response: Any = Cut(*pieces)
    return Pushed(response)
