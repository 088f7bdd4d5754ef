"""What is under way in a delivery, and what its deadline makes of that.

An attempt that the deadline cuts off is no verdict over its record: it may have begun late, the process may have stood
still. So it is let off once. A record that has had all the time of an invocation once before, and has it again, fails
when that time is over, as by a time-out of its own: then the engine judges it, and an outage is told from a bad record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from streamkit.core.memory import place
from streamkit.events import HandlerTimedOut

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamkit.core.records import Batch, Record
    from streamkit.engine.watch import UnderWay
    from streamkit.ports import Clock, Report
    from streamkit.runtimes.function.deadline import Deadline

    Call = Callable[[Record | Batch], Awaitable[object]]


class Attempts:
    """The attempts of one delivery. `cut` says which records were cut off before, and how often."""

    def __init__(
        self,
        deadline: Deadline,
        clock: Clock,
        report: Report,
        *,
        cut: Mapping[str, int],
        under_way: Callable[[], Iterable[UnderWay]],
    ) -> None:
        self._clock = clock
        self._report = report
        self._cut = cut
        self._under_way = under_way
        self._early = clock.monotonic() + deadline.cancel - deadline.stop
        """Who begins by then can have all the time there is."""
        self._last = (deadline.stop + deadline.cancel) / 2
        """Who was cut off before fails by then: there is time left for a verdict and its letter."""

    def limited(self, call: Call) -> Call:
        """Return the call that fails where there is no more time to be given."""
        if not self._cut:
            return call

        async def attempt(subject: Record | Batch) -> object:
            return await (self._limited(call, subject) if self._was_let_off(subject) else call(subject))

        return attempt

    def places(self) -> tuple[str, ...]:
        """Name the records under way."""
        return tuple(place(record) for each in self._under_way() for record in each.records)

    def cut_off(self) -> dict[str, int]:
        """Return how often each record that is under way, alone in its attempt and all the time, was cut off by now."""
        now = self._clock.monotonic()
        whole = [each.records for each in self._under_way() if now - each.seconds <= self._early]
        found = [place(records[0]) for records in whole if len(records) == 1]
        return {at: self._cut.get(at, 0) + 1 for at in found}

    def _was_let_off(self, subject: Record | Batch) -> bool:
        records = tuple(_records(subject))
        return len(records) == 1 and place(records[0]) in self._cut

    async def _limited(self, call: Call, subject: Record | Batch) -> object:
        """Call, and raise `TimeoutError` shortly before it would be cut off again."""
        seconds = max(0.0, self._last - self._clock.monotonic())
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await call(subject)
        except TimeoutError:
            if not limit.expired():
                raise
        [record] = _records(subject)
        shard, number = record.shard, record.sequence_number
        self._report(HandlerTimedOut(shard=shard, sequence=number, timeout_seconds=seconds))
        raise TimeoutError(f"expected the handler to end within the {seconds:g} s that the function has")


def _records(subject: Record | Batch) -> Iterator[Record]:
    return iter(subject if isinstance(subject, tuple) else (subject,))
