"""Dead letters in memory, from the side of who works them off: `Mailbox` and `Redriven`."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING

from streamkit.core.envelope import envelope
from streamkit.ports import Held

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamkit.core.letters import Letter
    from streamkit.errors import WorldError
    from streamkit.ports import Clock, Standing
    from streamkit.testing.memory.payloads import MemoryPayloads

_TEN = 10


class MemoryMailbox:
    """A standard queue: letters come out in an order of its own. `outage`, where set, is raised by every request."""

    def __init__(self, clock: Clock, *, sight_seconds: float = 30.0, poll_seconds: float = 1.0) -> None:
        self.bodies: dict[str, str] = {}
        """What is in the queue, by message."""
        self.outage: WorldError | None = None
        self._clock = clock
        self._sight = sight_seconds
        self._poll = poll_seconds
        self._seen_at: dict[str, float] = {}
        self._receipts: dict[str, str] = {}
        """The latest receipt of each message: an older one is good for nothing."""
        self._numbers = count()

    def __repr__(self) -> str:
        return f"<MemoryMailbox, {len(self.bodies)} letters>"

    @property
    def sight_seconds(self) -> float:
        """How long a letter stays out of sight."""
        return self._sight

    def put(self, *letters: Letter, bucket: MemoryPayloads | None = None, limit_bytes: int = 2**20) -> None:
        """Put letters in; the last one comes out first. Payloads over the limit go to the bucket, if there is one."""
        for letter in letters:
            put = envelope(letter, limit_bytes=limit_bytes, bucket=bucket.bucket if bucket else None)
            if bucket is not None and put.kept is not None:
                bucket.objects[put.kept.key] = letter.record.data
            self.bodies[f"message-{next(self._numbers)}"] = put.body

    async def take(self, most: int) -> Sequence[Held]:
        """Take up to so many letters, 10 at most, out of sight; wait a moment if there is none."""
        await self._request()
        now = self._clock.monotonic()
        seen = [name for name in reversed(self.bodies) if self._seen_at.get(name, now) <= now][: min(most, _TEN)]
        if not seen:
            await asyncio.sleep(self._poll)
        for name in seen:
            self._seen_at[name] = now + self._sight
            self._receipts[name] = f"{name}/{next(self._numbers)}"
        return [Held(self.bodies[name], self._receipts[name]) for name in seen]

    async def keep(self, held: Sequence[Held]) -> None:
        """Keep these out of sight from now on."""
        await self._see_again(held, self._sight)

    async def put_back(self, held: Sequence[Held]) -> None:
        """Let these be seen again at once."""
        await self._see_again(held, 0.0)

    async def delete(self, held: Sequence[Held]) -> None:
        """Returning means that these are gone for good."""
        await self._request()
        for each in held:
            self.bodies.pop(each.receipt.partition("/")[0], None)

    async def _see_again(self, held: Sequence[Held], seconds: float) -> None:
        await self._request()
        for each in held:
            name = each.receipt.partition("/")[0]
            if self._receipts.get(name) == each.receipt:
                self._seen_at[name] = self._clock.monotonic() + seconds

    async def _request(self) -> None:
        await asyncio.sleep(0)
        if self.outage is not None:
            raise self.outage


class MemoryRedriven:
    """Redriven records, by id: whose run has them until when, or that they are done."""

    def __init__(self, clock: Clock) -> None:
        self.effects: set[str] = set()
        self.outage: WorldError | None = None
        self._clock = clock
        self._runs: dict[str, tuple[str, float]] = {}

    def __repr__(self) -> str:
        return f"<MemoryRedriven, {len(self.effects)} done>"

    async def begin(self, record_id: str, *, run: str, within: float) -> Standing:
        """Say how the record stands."""
        await self._request()
        if record_id in self.effects:
            return "done"
        now = self._clock.now().timestamp()
        owner, until = self._runs.get(record_id, (run, 0.0))
        if owner != run and now <= until:
            return "busy"
        self._runs[record_id] = (run, now + within)
        return "mine"

    async def done(self, record_id: str, *, run: str) -> None:
        """Remember the effect."""
        del run
        await self._request()
        self.effects.add(record_id)

    async def abandon(self, record_id: str, *, run: str) -> None:
        """Let others begin it at once."""
        await self._request()
        if self._runs.get(record_id, ("", 0.0))[0] == run:
            del self._runs[record_id]

    async def _request(self) -> None:
        await asyncio.sleep(0)
        if self.outage is not None:
            raise self.outage
