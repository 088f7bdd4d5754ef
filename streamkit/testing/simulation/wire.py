"""How the real adapters ask, as one process: requests travel, may be stopped before they go, and fail."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from streamkit.errors import Expired, Throttled, Unanswered

if TYPE_CHECKING:
    from streamkit.aws.call import Call
    from streamkit.aws.fan_out import Subscription
    from streamkit.testing.simulation.process import Process

_READS = {"GetRecords", "GetShardIterator", "SubscribeToShard"}
_SAID = {
    Throttled: "read refused: ProvisionedThroughputExceededException",
    Unanswered: "read refused: InternalFailureException",
    Expired: "read refused: ExpiredIteratorException",
}


class Wire:
    """The way of one process to a service. What reads meet besides is drawn here, where the service draws nothing."""

    def __init__(self, call: Call, process: Process, *, faulty: bool) -> None:
        self._call = call
        self._process = process
        self._faulty = faulty
        self._earlier: dict[object, object] = {}
        """Before each iterator, the one whose answer it came with."""

    async def __call__(self, operation: str, /, **parameters: object) -> dict[str, Any]:
        """Send one request. Raises what the service refuses, or what becomes of it on its way."""
        process = self._process
        await process.leave("read" if operation in _READS else "list")
        lost = self._faulty and self._meets(operation)
        asked = parameters.get("ShardIterator")
        if self._faulty and asked in self._earlier and self._happens(process.weather.rates.repeated):
            process.history.saw("records read again")
            parameters["ShardIterator"] = self._earlier[asked]
        answer = await self._call(operation, **parameters)
        if "NextShardIterator" in answer:
            self._earlier = {answer["NextShardIterator"]: parameters["ShardIterator"]}
        if lost:
            process.history.saw("read lost")
            raise Unanswered(operation)
        await asyncio.sleep(process.weather.way())
        if "EventStream" in answer:
            answer["EventStream"] = Connection(answer["EventStream"], process)
        return answer

    def _meets(self, operation: str) -> bool:
        """Raise what a request meets, if anything; say whether its answer is lost."""
        rates = self._process.weather.rates
        if operation not in _READS:
            if self._happens(rates.reads_fail):
                self._process.history.saw("listing failed")
                raise Throttled(operation)
            return False
        for kind, share in ((Throttled, rates.reads_fail / 3), (Unanswered, rates.reads_fail / 3)):
            if self._happens(share):
                self._refuse(kind)
        if operation == "GetRecords" and self._happens(rates.expired):
            self._refuse(Expired)
        return self._happens(rates.reads_fail / 3)

    def _refuse(self, kind: type[Throttled | Unanswered | Expired]) -> None:
        self._process.history.saw(_SAID[kind])
        raise kind("read")

    def _happens(self, share: float) -> bool:
        return share > 0.0 and self._process.weather.happens(share)


class Connection:
    """A subscription on its way: events travel; it may break, or fall silent."""

    def __init__(self, events: Subscription, process: Process) -> None:
        self._events = events
        self._process = process
        self._silent = False

    async def event(self) -> dict[str, Any] | None:
        """Return the next event; None once there are no more. Raises `Unanswered` where the connection breaks."""
        weather, saw = self._process.weather, self._process.history.saw
        event = await self._events.event()
        share = weather.rates.reads_fail / 10
        if share and weather.happens(share):
            saw("connection broken")
            raise Unanswered("broken")
        if share and weather.happens(share):
            saw("connection silent")
            self._silent = True
        if self._silent:
            await asyncio.sleep(1e9)
        await asyncio.sleep(weather.way())
        return event

    def close(self) -> None:
        """Hang up."""
        self._events.close()
