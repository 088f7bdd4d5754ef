"""Every event that AWS documents, through a function: what its handler sees, and what is answered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streamkit import Change, Record
from streamkit.errors import MalformedEvent
from streamkit.testing import run_virtual
from tests.functions.golden import GOLDEN, WINDOWED, Golden
from tests.functions.stage import SETTLED, Stage


def seeing(golden: Golden) -> tuple[Stage, list[object]]:
    """Return a function of the event's source, and what its handler will have seen."""
    stage, seen = Stage(source=golden.source), list[object]()

    async def handle(record: Record) -> None:
        await asyncio.sleep(0)
        seen.append((record.event, record.old, record.new) if isinstance(record, Change) else record.text())

    stage.handler = handle
    return stage, seen


@pytest.mark.parametrize("name", GOLDEN)
def test_a_documented_event_reaches_its_handler_and_is_settled(name: str) -> None:
    """Whole, once, however often it is delivered; nothing of it is a dead letter."""
    golden = GOLDEN[name]

    async def main() -> None:
        stage, seen = seeing(golden)
        for _ in range(2):
            assert await stage.invoke(golden.event) == SETTLED
        assert seen == golden.seen
        assert not stage.world.letters.letters

    run_virtual(main)


@pytest.mark.parametrize("name", WINDOWED)
def test_an_event_of_a_tumbling_window_is_refused_whole(name: str) -> None:
    """With a clear error, before anything runs: the mapping takes no answer without a state for success."""
    source, event = WINDOWED[name]

    async def main() -> None:
        stage, seen = seeing(Golden(source, event, []))
        with pytest.raises(MalformedEvent, match="without a tumbling window"):
            await stage.invoke(event)
        assert (seen, stage.cost) == ([], 0)

    run_virtual(main)


def test_a_deletion_that_nobody_asked_for_is_told_apart() -> None:
    """By the identity that DynamoDB's own deletions bear."""
    expired: list[bool] = []

    async def main() -> None:
        for name in ("dynamodb, expired", "dynamodb"):
            stage = Stage(source=GOLDEN[name].source)

            async def handle(change: Any) -> None:
                expired.append(change.expired)

            stage.handler = handle
            await stage.invoke(GOLDEN[name].event)

    run_virtual(main)
    assert expired == [True, False, False, False]
