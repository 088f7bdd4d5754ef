"""A shard in quarantine: its suspects are tried in steps, each of which its row tells of before it starts (rule 22).

They are handled in a ward, a process of their own, where there is one. Else in the worker, one step at a time.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from streamkit.core.quarantine import KEPT, Death, resumed
from streamkit.errors import LeaseLost
from streamkit.events import QuarantineEnded, ShardQuarantined, WardDied, WardMissed
from streamkit.runtimes.apart.ward import NoWard

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from streamkit.consumer import Consumer
    from streamkit.core.leasing import ShardRow
    from streamkit.core.policy import Checkpoint
    from streamkit.core.quarantine import Quarantine
    from streamkit.core.records import Record
    from streamkit.core.settlement import Settling
    from streamkit.engine.engine import Engine, Handling, Surroundings
    from streamkit.ports import Clock, Report
    from streamkit.runtimes.apart.ward import Ward

_STUCK = "killed, for an attempt neither ended nor could be stopped"


WARDS = 4
"""Wards of one process at a time: each takes as much memory as a worker, and all its shards may be in quarantine."""

MISSED_SECONDS = 300.0
"""For so long no ward is opened after one could not be: a busy node may have one to give again, and who has a consumer
that cannot be imported is told every five minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarters:
    """What the trials of one process share."""

    ward: Callable[[Consumer], Ward | None]
    """Makes a ward, where the consumer can have one."""
    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(WARDS))
    """For wards."""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the one step that runs in the process itself: by its death records of one shard only are suspected."""


@dataclass(kw_only=True)
class Means:
    """What the suspects of one consumer are tried with."""

    quarters: Quarters
    consumer: Consumer
    clock: Clock
    report: Report
    missed: float | None = None
    """When (monotonic) a ward was to be opened last that could not be."""

    def ward(self) -> Ward | None:
        """Return a ward, if there can be one: not for a while after one could not be had."""
        if self.missed is not None and self.clock.monotonic() < self.missed + MISSED_SECONDS:
            return None
        return self.quarters.ward(self.consumer)

    def miss(self, shard: str, *, why: str) -> None:
        """Note that a ward could not be had for this shard."""
        self.missed = self.clock.monotonic()
        self.report(WardMissed(shard=shard, why=why))


class Trial:
    """Hands the suspects of one shard to the engine, step by step, until none is left."""

    def __init__(self, row: ShardRow, state: Quarantine, settling: Settling, means: Means, *, most: int) -> None:
        """`most` is how many records a step may have at any rate."""
        self.state = state
        self._row = row
        self._deaths = row.deaths
        self._settling = settling
        self._means = means
        self._most = most
        self._ward = means.ward()
        self._trying = False
        """Whether a step is under way."""
        self._left = False
        """Whether what is under way is to end, whatever it is about."""
        self._opening: asyncio.Timeout | None = None
        """What ends the wait for a place, and the start of the ward."""
        if (culprit := state.condemned) is not None:
            settling.doom(culprit, state.why)

    @property
    def deaths(self) -> tuple[Death, ...]:
        """The deaths to tell of."""
        return self._deaths[-KEPT:]

    # The ward

    def apart(self, handling: Handling, around: Surroundings) -> tuple[Handling, Surroundings]:
        """Return how the handler is called in the ward, and what becomes of it if it gets stuck; else all as it is."""
        if (ward := self._ward) is None:
            return handling, around
        return (
            replace(
                handling,
                call=partial(ward.call, until=around.until),
                collect=partial(ward.collect, until=around.until),
                threads=None,
            ),
            replace(around, on_stuck=partial(ward.kill, _STUCK)),
        )

    @asynccontextmanager
    async def opened(self, stop: Callable[[], None]) -> AsyncGenerator[None]:
        """Keep the ward open. If it dies, or cannot be had, `stop` is called: the shard is to be taken anew."""
        async with AsyncExitStack() as stack:
            if self._ward is not None and not await self._open(self._ward, stack, stop):
                stop()
            yield

    async def _open(self, ward: Ward, stack: AsyncExitStack, stop: Callable[[], None]) -> bool:
        """Wait for a place, and open the ward; return whether it is there, and nobody let go of it meanwhile."""
        if self._left:
            return False
        try:
            async with asyncio.timeout(None) as self._opening:
                await stack.enter_async_context(self._means.quarters.places)
                await stack.enter_async_context(ward.opened(partial(self._fell, stop)))
        except (NoWard, TimeoutError) as error:
            if not self._left:  # else it was ended while it began
                self._means.miss(self._row.id, why=str(error))
            return False
        finally:
            self._opening = None
        return not self._left

    def _fell(self, stop: Callable[[], None], how: str, busy: bool) -> None:  # noqa: FBT001 - it is told by a ward
        """The ward has died. If an attempt was under way and nobody let go of it, it was one of the step's records.

        If none was, as between attempts, or in an outage, it was none of them: the kernel, say, for want of memory.
        """
        if not self._left:
            suspected = busy and self._trying
            self._means.report(WardDied(shard=self._row.id, how=how, tried=self.state.tried if suspected else 0))
            if suspected:
                death = Death(self._means.clock.now().timestamp(), how, self._row.epoch, apart=True)
                self._deaths = (*self._deaths, death)
                self.state = self.state.died([death])
        stop()

    def let_go(self) -> None:
        """End what is under way: it is not the records' fault."""
        self._left = True
        if self._ward is not None:
            self._ward.kill("let go of")
        if self._opening is not None:
            self._opening.reschedule(asyncio.get_running_loop().time())
            self._opening = None

    # The steps

    async def feed(self, records: Sequence[Record], engine: Engine, write: Callable[[], Awaitable[None]]) -> None:
        """Try these records; those that are left once no suspect is stay untouched. Raises `LeaseLost`.

        `write` makes `state` durable, with what is settled. What was settled before is no suspect, and counts for none:
        the shard is read from a little before its suspects on.
        """
        while records and not self.state.over:
            if known := self._settling.known(records):
                engine.feed(records[:known])
                records = records[known:]
                continue
            size = min(self.state.size, self._most)
            step, records = records[:size], records[size:]
            if self._ward is not None:
                await self._try(step, engine, write)
            else:
                async with self._means.quarters.turn:
                    await self._try(step, engine, write)

    async def _try(self, step: Sequence[Record], engine: Engine, write: Callable[[], Awaitable[None]]) -> None:
        if not engine.may_start():  # the step would never run, and be taken for what its owner died of
            msg = f"{self._row!r} may be another's by now"
            raise LeaseLost(msg)
        self.state = self.state.marked(step[-1].position, tried=len(step), epoch=self._row.epoch)
        await write()
        self._trying = True
        engine.feed(step)
        while not self._settling.clear:
            engine.settled.clear()
            await engine.settled.wait()
        self._trying = False
        self.state = self.state.passed()
        await write()

    def stop(self) -> None:
        """Nothing is under way any more, whatever came of it."""
        self.state = self.state.stopped()

    def end(self) -> None:
        """No suspect is left."""
        self._means.report(QuarantineEnded(shard=self._row.id))


def trial_of(row: ShardRow, settling: Settling, checkpoint: Checkpoint, means: Means) -> Trial | None:
    """Return how the suspects of a shard just taken are tried; None where nobody is suspected."""
    state = resumed(row.quarantine, row.deaths, most=checkpoint.records + checkpoint.window)
    if state is None:
        return None
    means.report(ShardQuarantined(shard=row.id, deaths=len(row.deaths), suspects=state.left))
    return Trial(row, state, settling, means, most=checkpoint.window)
