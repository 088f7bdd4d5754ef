"""Enhanced fan-out: consumers of a stream that are registered, and shards whose records are pushed to them.

A subscription is `Shard.read` from a position. It is as pure as the rest: whoever carries it asks what is due.
Sources: https://docs.aws.amazon.com/kinesis/latest/APIReference/API_SubscribeToShard.html, and the pages beside it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from streamkit.testing.kinesis import errors
from streamkit.testing.kinesis.account import operation, shard_of
from streamkit.testing.kinesis.data import DataPlane
from streamkit.testing.kinesis.limits import Pushing
from streamkit.testing.kinesis.values import Push, StartingPosition, StreamConsumer, StreamConsumers

if TYPE_CHECKING:
    from streamkit.testing.kinesis.shards import Shard
    from streamkit.testing.kinesis.streams import Stream

_NAME: Final = re.compile(r"[a-zA-Z0-9_.-]{1,128}")


class Registered:
    """One consumer of a stream, and its subscriptions by shard: one for each."""

    def __init__(self, name: str, stream: Stream, *, created_at: float, active_at: float) -> None:
        self.name = name
        self.arn = f"{stream.arn}/consumer/{name}:{int(created_at)}"
        self.created_at = created_at
        self.active_at = active_at
        self.subscriptions: dict[str, Subscription] = {}

    def __repr__(self) -> str:
        """Tell the state."""
        return f"<Consumer {self.name}, {len(self.subscriptions)} subscriptions>"

    def described(self, now: float, stream_arn: str | None = None) -> StreamConsumer:
        """What descriptions and listings say."""
        active = now >= self.active_at
        return StreamConsumer(self.name, self.arn, "ACTIVE" if active else "CREATING", self.created_at, stream_arn)


class Subscription:
    """Records of one shard on their way to one consumer, for five minutes at most."""

    def __init__(self, plane: FanOutPlane, stream: Stream, shard: Shard, position: int, *, opened: float) -> None:
        self.over = False
        """Whether nothing comes any more."""
        self.taken_over = False
        """Whether the consumer has subscribed to the shard anew."""
        self.opened = opened
        self._plane = plane
        self._stream = stream
        self.shard = shard
        self.position = position
        self._told = float("-inf")

    def __repr__(self) -> str:
        """Tell the state."""
        return f"<Subscription to {self.shard.id}, {'over' if self.over else 'open'}>"

    def due(self, now: float) -> Push | None:
        """Return the next event, if one is due by now. Raises the `KinesisError` that ends the subscription."""
        if self.over:
            return None
        try:
            return self._due(now)
        except errors.KinesisError:
            self.over = True
            raise

    def _due(self, now: float) -> Push | None:
        pushing, stream, shard = self._plane.pushing, self._stream, self.shard
        if self.taken_over:
            raise errors.in_use(f"Another subscription has taken over shard {shard.id} in stream {stream.name}.")
        self._plane.still_there(stream, shard)
        if now - self.opened >= pushing.life_seconds:
            self.over = True
            return None
        found = shard.read(self.position, horizon=stream.horizon(now), limit=pushing.records)
        if not found.records and shard.closed_at is not None:
            self.over = True
            return Push([], 0, None, list(shard.children))
        if not found.records and now - self._told < pushing.heartbeat_seconds:
            return None
        self._told, self.position = now, found.position
        behind = 0 if found.waiting_since is None else max(1, int((now - found.waiting_since) * 1000))
        return Push(found.records, behind, shard.continuation(found.position))


class FanOutPlane(DataPlane):
    """RegisterStreamConsumer, DescribeStreamConsumer, ListStreamConsumers, DeregisterStreamConsumer, SubscribeToShard.

    `pushing` may be replaced at any time.
    """

    pushing: Pushing = Pushing()

    @operation
    def register_stream_consumer(self, *, stream_arn: str, consumer_name: str) -> StreamConsumer:
        """Start making a consumer of a stream."""
        stream = self._stream(None, stream_arn)
        if not _NAME.fullmatch(consumer_name):
            pattern = f"Member must satisfy regular expression pattern: {_NAME.pattern}"
            raise errors.malformed(consumer_name, "consumerName", pattern)
        if consumer_name in stream.consumers:
            raise errors.in_use(f"Consumer {consumer_name} of stream {stream.name} already exists.")
        if len(stream.consumers) >= self.pushing.consumers:
            raise errors.limit_exceeded(f"Stream {stream.name} has {len(stream.consumers)} consumers already.")
        now = self._now()
        active_at = now + self.pushing.registering_seconds
        made = Registered(consumer_name, stream, created_at=now, active_at=active_at)
        stream.consumers[consumer_name] = made
        return made.described(now)

    @operation
    def describe_stream_consumer(
        self, *, stream_arn: str | None = None, consumer_name: str | None = None, consumer_arn: str | None = None
    ) -> StreamConsumer:
        """Describe a consumer, by its ARN or by its stream and name."""
        stream, consumer = self._consumer(stream_arn, consumer_name, consumer_arn)
        return consumer.described(self._now(), stream.arn)

    @operation
    def list_stream_consumers(self, *, stream_arn: str) -> StreamConsumers:
        """List the consumers of a stream."""
        now = self._now()
        return StreamConsumers([each.described(now) for each in self._stream(None, stream_arn).consumers.values()])

    @operation
    def deregister_stream_consumer(
        self, *, stream_arn: str | None = None, consumer_name: str | None = None, consumer_arn: str | None = None
    ) -> None:
        """Remove a consumer; its subscriptions end."""
        stream, consumer = self._consumer(stream_arn, consumer_name, consumer_arn)
        del stream.consumers[consumer.name]
        for subscription in consumer.subscriptions.values():
            subscription.over = True

    @operation
    def subscribe_to_shard(
        self, *, consumer_arn: str, shard_id: str, starting_position: StartingPosition
    ) -> Subscription:
        """Open a subscription, in place of the one there is for this consumer and shard."""
        stream, consumer = self._consumer(None, None, consumer_arn)
        shard, now = shard_of(stream, shard_id), self._now()
        if now < consumer.active_at:
            raise errors.in_use(f"Consumer {consumer.name} is not ACTIVE.")
        earlier = consumer.subscriptions.get(shard_id)
        if earlier is not None and now - earlier.opened < self.pushing.apart_seconds:
            raise errors.in_use(f"Consumer {consumer.name} has just subscribed to shard {shard_id}.")
        position = self.position(stream, shard, starting_position)
        if earlier is not None:
            earlier.taken_over = True
        opened = Subscription(self, stream, shard, position, opened=now)
        consumer.subscriptions[shard_id] = opened
        return opened

    def registered(self, stream_name: str) -> list[Registered]:
        """Return the consumers of a stream as the service knows them, for whoever looks on."""
        return [*self._stream(stream_name, None).consumers.values()]

    def still_there(self, stream: Stream, shard: Shard) -> None:
        """Raise ResourceNotFoundException if it is another stream by now, or the shard has expired."""
        if self._streams.get(stream.name) is not stream or self._stream(stream.name, None) is not stream:
            raise errors.missing_stream(stream.name)
        shard_of(stream, shard.id)

    def _consumer(self, stream_arn: str | None, name: str | None, arn: str | None) -> tuple[Stream, Registered]:
        """Find a consumer by its ARN, or by its stream and name."""
        if arn is not None:
            stream_arn, _, tail = arn.partition("/consumer/")
            name = tail.rpartition(":")[0]
        if not (stream_arn and name):
            raise errors.invalid("Either ConsumerARN, or both StreamARN and ConsumerName should be provided.")
        stream = self._stream(None, stream_arn)
        found = stream.consumers.get(name)
        if found is None or arn not in (None, found.arn):
            raise errors.missing_consumer(name)
        return stream, found
