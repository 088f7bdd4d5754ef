"""Have the records of one shard pushed (enhanced fan-out): no record skipped, none repeated.

subscribe --> event, event, ... --> after 5 minutes, or a silence, or a failure: subscribe, at the continuation
    |                                                          |
 not to be had, or failed too often  <-------------------------+
    |
  poll, for a while

Nothing is read ahead: an event is taken off the connection when it is asked for, so a slow handler fills the
connection's buffers and no more. The place moves in one step with an event being returned.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from streamkit.aws.backoff import PASSING
from streamkit.aws.errors import Busy, Rejected
from streamkit.aws.fan_out import FanOut, FanOutReason, NoFanOut, Subscription, reason_of
from streamkit.aws.fan_out_renewal import Renewal
from streamkit.aws.reader import KinesisReader, behind, opening, records_of
from streamkit.aws.shapes import child_shard
from streamkit.aws.track import Delays, Track, with_defects
from streamkit.errors import Denied, Missing, Unanswered
from streamkit.ports import Read

if TYPE_CHECKING:
    from streamkit.aws.kinesis import KinesisSource


class FanOutReader:
    """Reads one shard onwards from the place of its track; polls it while fan-out is not to be had."""

    def __init__(self, source: KinesisSource, fan_out: FanOut, track: Track) -> None:
        self._source = source
        self._fan_out = fan_out
        self._track = track
        self._renewal = Renewal(fan_out.settings)
        self._delayed = Delays(track.origin.shard, source.report)
        self._subscription: Subscription | None = None
        self._arn = ""
        self._continuation: str | None = None
        self._polling: KinesisReader | None = None
        self._said = False

    def __repr__(self) -> str:
        how = "polled" if self._polling else "pushed" if self._subscription else "not subscribed"
        return f"<FanOutReader of {self._track!r}, {how}>"

    async def read(self) -> Read:
        """Return the next event, or answer.

        Raises `Missing` if stream or shard are gone, and whatever polling raises.
        """
        while self._track.end is None:
            if self._polling is not None and self._source.clock.monotonic() < self._renewal.next_at:
                return await self._polling.read()
            self._polling = None
            read = await self._pushed()
            if read is not None:
                return read
        return self._track.end

    def close(self) -> None:
        """Hang up."""
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None
            self._fan_out.subscriptions -= 1

    async def _pushed(self) -> Read | None:
        """Return the next event, or None where there is to be another try, or polling."""
        try:
            if self._subscription is None:
                self._subscription = await self._subscribed()
            event = await self._event(self._subscription)
        except NoFanOut as refused:
            self._poll(refused.reason)
        except Missing as error:
            await self._missed(error)
        except PASSING as error:
            self._ended(error)
        except (Denied, Rejected) as error:
            self._poll(self._fan_out.refused(reason_of(error)).reason)
        else:
            if event is not None:
                return self._accept(event)
            self._ended(None)
        return None

    async def _subscribed(self) -> Subscription:
        """Subscribe, no sooner than may be."""
        wait = self._renewal.next_at - self._source.clock.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        self._arn = await self._fan_out.arn()
        with self._fan_out.seat():
            answer = await self._source.call(
                "SubscribeToShard",
                ConsumerARN=self._arn,
                ShardId=self._track.origin.shard,
                StartingPosition=self._starting(),
            )
        self._renewal.began(self._source.clock.monotonic())
        subscription: Subscription = answer["EventStream"]
        return subscription

    def _starting(self) -> dict[str, Any]:
        """Return where to subscribe: *at* the continuation, which may be of a record that was not sent yet."""
        place = self._track.reopen()
        if self._continuation is not None:
            return {"Type": "AT_SEQUENCE_NUMBER", "SequenceNumber": self._continuation}
        kind, number, moment = opening(place, now=self._source.clock.now().timestamp())
        position = {"Type": kind, "SequenceNumber": number, "Timestamp": moment}
        return {name: value for name, value in position.items() if value is not None}

    async def _event(self, subscription: Subscription) -> dict[str, Any] | None:
        """Wait for an event, but not for ever: a connection may be dead without a word."""
        limit = self._fan_out.settings.silence_seconds
        try:
            async with asyncio.timeout(limit):
                return await subscription.event()
        except TimeoutError as silence:
            raise Unanswered(f"expected an event every 5 s, got none for {limit:g} s") from silence

    def _accept(self, event: dict[str, Any]) -> Read:
        """Move the place to the end of an event and return what is new in it."""
        records = records_of(event["Records"], self._track.origin)
        fresh = self._track.moved(with_defects(records, self._source.settings.max_record_bytes))
        self._continuation = _continuation(event)
        if fresh:
            self._renewal.brought()
        self._said = False
        self._fan_out.pushes()
        children = tuple(map(child_shard, event.get("ChildShards") or ()))
        if not children:
            return Read(fresh, behind(event))
        self.close()
        return self._track.ended(Read(fresh, behind(event), ended=True, children=children))

    def _ended(self, cause: Exception | None) -> None:
        """Wait for the time to subscribe anew, or give it up for a while."""
        self.close()
        seconds = self._renewal.ended(self._source.clock.monotonic(), cause=cause, chance=self._source.chance)
        if self._renewal.hopeless:
            self._poll("in use" if isinstance(cause, Busy) else "broken")
        elif cause is not None:
            self._delayed(cause, max(1, self._renewal.failures), seconds)

    async def _missed(self, error: Missing) -> None:
        """Find out what is missing: a stream consumer is registered anew. Raises `Missing` for shard or stream."""
        self.close()
        known, self._arn = self._arn, ""
        self._fan_out.forget(known)
        try:
            found = await self._fan_out.arn()
        except NoFanOut as refused:
            self._poll(refused.reason)
            return
        if found == known:
            origin = self._track.origin
            raise Missing(f"stream {origin.stream}, shard {origin.shard}: {error}") from error

    def _poll(self, reason: FanOutReason) -> None:
        """Poll for a while, from the same place; where it is about this shard alone, say so once."""
        self.close()
        self._continuation = None
        self._renewal.given_up(self._source.clock.monotonic())
        self._polling = KinesisReader(self._source, self._track)
        if reason in ("in use", "broken", "connections") and not self._said:
            self._fan_out.say(reason, self._track.origin.shard)
            self._said = True


def _continuation(event: dict[str, Any]) -> str | None:
    """Return the number to go on at; "0", which some endpoints say, is none."""
    number = event.get("ContinuationSequenceNumber")
    return None if number in (None, "0") else str(number)
