"""A shard in quarantine: its suspects are tried in steps, each of which its row tells of before it starts (rule 22)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.core.quarantine import resumed
from streamkit.events import QuarantineEnded, ShardQuarantined

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Sequence

    from streamkit.core.leasing import ShardRow
    from streamkit.core.policy import Checkpoint
    from streamkit.core.quarantine import Quarantine
    from streamkit.core.records import Record
    from streamkit.core.settlement import Settling
    from streamkit.engine.engine import Engine
    from streamkit.ports import Report


class Trial:
    """Hands the suspects of one shard to the engine, step by step, until none is left."""

    def __init__(
        self, state: Quarantine, settling: Settling, *, epoch: int, most: int, turn: asyncio.Lock, report: Report
    ) -> None:
        """`most` is how many records a step may have at any rate. Of those that share `turn` one step runs at a time.

        A death of the process would else be held against records of several shards, and all but one were innocent.
        """
        self.state = state
        self._settling = settling
        self._epoch = epoch
        self._most = most
        self._turn = turn
        self._report = report
        if (culprit := state.condemned) is not None:
            settling.doom(culprit, state.why)

    async def feed(self, records: Sequence[Record], engine: Engine, write: Callable[[], Awaitable[None]]) -> None:
        """Try these records; those that are left once no suspect is stay untouched.

        `write` makes `state` durable, with what is settled.
        """
        while records and not self.state.over:
            size = min(self.state.size, self._most)
            step, records = records[:size], records[size:]
            async with self._turn:
                self.state = self.state.marked(step[-1].position, tried=len(step), epoch=self._epoch)
                await write()
                engine.feed(step)
                await self._settled(engine)
                self.state = self.state.passed()
                await write()

    async def _settled(self, engine: Engine) -> None:
        while not self._settling.clear:
            engine.settled.clear()
            await engine.settled.wait()

    def stop(self) -> None:
        """Nothing is under way any more, whatever came of it."""
        self.state = self.state.stopped()

    def end(self, shard: str) -> None:
        """No suspect is left."""
        self._report(QuarantineEnded(shard=shard))


def trial_of(
    row: ShardRow, settling: Settling, checkpoint: Checkpoint, *, turn: asyncio.Lock, report: Report
) -> Trial | None:
    """Return how the suspects of a shard just taken are tried; None where nobody is suspected."""
    state = resumed(row.quarantine, row.deaths, most=checkpoint.records + checkpoint.window)
    if state is None:
        return None
    report(ShardQuarantined(shard=row.id, deaths=len(row.deaths), suspects=state.left))
    return Trial(state, settling, epoch=row.epoch, most=checkpoint.window, turn=turn, report=report)
