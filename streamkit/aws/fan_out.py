"""Enhanced fan-out: the stream consumer that a source subscribes as, found or registered, once for all its shards.

Source: https://docs.aws.amazon.com/streams/latest/dev/building-enhanced-consumers-api.html
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Protocol

from streamkit.aws.errors import Busy
from streamkit.errors import Denied, Missing, StreamkitError, Throttled, Unanswered, WorldError
from streamkit.events import PushRefused, PushStarted

if TYPE_CHECKING:
    from collections.abc import Generator

    from streamkit.aws.fan_out_renewal import FanOutSettings
    from streamkit.aws.kinesis import KinesisSource

_REFUSALS = 5
"""Of a registration, until it is for the limit of consumers and not for the pace."""


FanOutReason = Literal["denied", "limit", "unsupported", "not active", "unanswered", "in use", "broken", "connections"]
"""Why records are polled: docs/fan-out.md."""


class Subscription(Protocol):
    """What `SubscribeToShard` answers with, as its `EventStream`: the events of one shard, while they last."""

    async def event(self) -> dict[str, Any] | None:
        """Return the next `SubscribeToShardEvent`, as the API reference names it; None once there are no more.

        Nothing is lost if it is cancelled. Raises `WorldError`s.
        """
        ...

    def close(self) -> None:
        """Hang up, at once. What is asked for no more is not sent for long: the connection's buffers are its bound."""
        ...


class NoFanOut(StreamkitError):
    """Records are not to be had pushed, for now: poll."""

    def __init__(self, reason: FanOutReason) -> None:
        super().__init__(f"fan-out is not to be had: {reason}")
        self.reason: FanOutReason = reason


class FanOut:
    """A stream consumer by its name, shared by all readers of a source."""

    def __init__(self, source: KinesisSource, name: str, settings: FanOutSettings) -> None:
        self.name = name
        self.settings = settings
        self.subscriptions = 0
        """How many are open, or asked for."""
        self._source = source
        self._arn: str | None = None
        self._refused: NoFanOut | None = None
        self._again = float("-inf")
        self._started = False
        self._finding = asyncio.Lock()

    def __repr__(self) -> str:
        state = self._arn or self._refused or "not asked for yet"
        return f"<FanOut of {self._source!r} as {self.name}, {state}>"

    async def arn(self) -> str:
        """Return the ARN of the consumer, once it is active. Raises `NoFanOut`, and `Missing` if the stream is gone."""
        async with self._finding:
            if self._arn is None:
                if self._refused is not None and self._source.clock.monotonic() < self._again:
                    raise self._refused
                self._arn = await self._found()
            return self._arn

    def forget(self, arn: str) -> None:
        """Ask for the consumer anew, if this is what it was known by: it may be gone."""
        if self._arn == arn:
            self._arn = None

    def refused(self, reason: FanOutReason) -> NoFanOut:
        """Take note that nobody here is to subscribe for a while, and say it once; return what to raise."""
        self._arn, self._again = None, self._source.clock.monotonic() + self.settings.again_seconds
        if self._refused is None:
            self.say(reason)
        self._refused = NoFanOut(reason)
        return self._refused

    def say(self, reason: FanOutReason, shard: str | None = None) -> None:
        """Say that a shard, or all, are polled."""
        self._source.report(
            PushRefused(
                stream=self._source.name,
                consumer=self.name,
                shard=shard,
                cause=reason,
                again_seconds=self.settings.again_seconds,
            )
        )

    @contextmanager
    def seat(self) -> Generator[None]:
        """Count a subscription while it is asked for, and from then on if it is had. Raises `NoFanOut`."""
        if self.subscriptions >= self.settings.connections:
            raise NoFanOut("connections")
        self.subscriptions += 1
        try:
            yield
        except BaseException:
            self.subscriptions -= 1
            raise

    def pushes(self) -> None:
        """Take note that records come; the first time, and after a refusal, it is news."""
        if not self._started or self._refused is not None:
            self._source.report(PushStarted(stream=self._source.name, consumer=self.name))
        self._started, self._refused = True, None

    async def _found(self) -> str:
        """Find the consumer, registering it if there is none, and wait for it."""
        stream = await self._source.identify()
        try:
            async with asyncio.timeout(self.settings.active_seconds):
                return await self._active({"StreamARN": stream.arn, "ConsumerName": self.name})
        except TimeoutError:
            raise self.refused("not active") from None
        except Missing:
            raise
        except WorldError as error:
            raise self.refused(reason_of(error)) from error

    async def _active(self, address: dict[str, str]) -> str:
        refusals = 0
        while True:
            try:
                answer = await self._source.ask("DescribeStreamConsumer", **address)
            except Missing:
                refusals += await self._is_refused(address)
                if refusals == _REFUSALS:
                    raise Throttled(
                        f"expected a place for {self.name} among the stream's consumers, got none"
                    ) from None
            else:
                if (found := answer["ConsumerDescription"])["ConsumerStatus"] == "ACTIVE":
                    return str(found["ConsumerARN"])
            await asyncio.sleep(self.settings.look_seconds)

    async def _is_refused(self, address: dict[str, str]) -> bool:
        """Register the consumer, whoever else does. Return whether there was no room for one."""
        try:
            await self._source.call("RegisterStreamConsumer", **address)
        except (Busy, Unanswered):
            return False
        except Throttled:
            return True
        return False


def reason_of(error: WorldError) -> FanOutReason:
    """Return why fan-out is not to be had."""
    if isinstance(error, Denied):
        return "denied"
    if isinstance(error, Throttled):
        return "limit"
    return "unanswered" if isinstance(error, Unanswered) else "unsupported"
