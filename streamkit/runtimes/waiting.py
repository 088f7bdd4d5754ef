"""Waiting for something, but not for ever."""

from __future__ import annotations

import asyncio


async def came(event: asyncio.Event, *, within: float) -> bool:
    """Wait for the event, at most so many seconds; say whether it came."""
    try:
        async with asyncio.timeout(within):
            await event.wait()
    except TimeoutError:
        return False
    return True
