"""The contract of `streamkit.ports.Halts`."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from streamkit.core.memory import Halt
from streamkit.ports import Halts
from streamkit.testing.builders import ARN
from streamkit.testing.contracts.checks import fresh


@pytest.mark.contract
@pytest.mark.asyncio
class HaltsContract:
    """Fixture `halts`: the port over an empty table."""

    async def test_a_halt_stands_until_it_is_lifted(self, halts: Halts) -> None:
        """It comes back as it was written; halting and lifting twice is no error."""
        halt = a_halt()
        for _ in range(2):
            await halts.halt(halt)
        assert await halts.stands(halt.name) == halt
        for _ in range(2):
            await halts.lift(halt)
        assert await halts.stands(halt.name) is None

    async def test_all_that_stand_are_found(self, halts: Halts) -> None:
        """Of any stream and shard; lifting one leaves the others."""
        first, second = a_halt(), replace(a_halt(), shard="")
        for each in (first, second):
            await halts.halt(each)
        assert {each.name for each in await halts.standing()} >= {first.name, second.name}
        await halts.lift(first)
        names = {each.name for each in await halts.standing()}
        assert first.name not in names
        assert second.name in names


def a_halt() -> Halt:
    """Return a halt of a shard nobody has seen before."""
    return Halt(stream=ARN, shard=fresh("shardId"), sequence="7", why="a record was dead-lettered", since=1.5)
