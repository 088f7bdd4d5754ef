"""Ends a process whose event loop stands still for good (rule 2).

Its heartbeats stop by then, so that others take its shards; but nothing written in Python could end it, neither a
signal handler nor a thread: a regular expression that never ends holds the interpreter's lock. So it is a timer of the
interpreter's own (faulthandler), which says where every thread stood, without a value of any variable.
"""

from __future__ import annotations

import asyncio
import faulthandler
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from streamkit.runtimes.incarnation import patience_of
from streamkit.runtimes.setup import GRACE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from streamkit.consumer import Consumer


def limit_of(consumers: Iterable[Consumer]) -> float:
    """Return for how many seconds the loop may stand still: its heartbeats have stopped a while before."""
    return max(map(patience_of, consumers)) + GRACE_SECONDS


@asynccontextmanager
async def watched(limit: float) -> AsyncGenerator[None]:
    """End the process, with status 1, once the loop stands still for `limit` seconds. One at a time in a process."""
    async with asyncio.TaskGroup() as group:
        turning = group.create_task(_turn(limit))
        try:
            yield
        finally:
            turning.cancel()
            faulthandler.cancel_dump_traceback_later()


async def _turn(limit: float) -> None:
    while True:
        faulthandler.dump_traceback_later(limit, exit=True)
        await asyncio.sleep(min(1.0, limit / 4))
