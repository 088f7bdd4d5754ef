"""Handlers whose writes and checkpoint are one transaction, in the engine alone (rule 25)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from streamkit import Kinesis, Record, Transaction, consumer
from streamkit.core.positions import Progress
from streamkit.core.settlement import Settling, Tally
from streamkit.engine.engine import Engine
from streamkit.engine.handling import Threads
from streamkit.engine.needs import Surroundings
from streamkit.engine.transacting import Transacting
from streamkit.errors import Cancelled
from streamkit.runtimes.setup import handling_of, rules_of
from streamkit.testing import MemoryTable, Recorder, SeededChance, VirtualClock, record, run_virtual

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamkit.core.transactions import Write


@consumer("reader", source=Kinesis("stream"), mode="transactional", concurrency=1)
async def reader(each: Record, *, tx: Transaction) -> None:
    """Write what follows from what is read."""
    await tx.get("stock", {"sku": each.key})
    tx.update("seen", {"id": each.text()}, "ADD times :one", values={":one": 1})


def test_a_fence_that_falls_while_others_change_what_was_read_is_no_failure() -> None:
    """The record is not handled anew, and nothing is held against it: it is the next owner's."""

    async def main() -> None:
        report, clock, commits = Recorder(), VirtualClock(), 0
        rules = rules_of(reader, chance=SeededChance(), retention=timedelta(days=1))
        settling = Settling("shard", rules, progress=Progress(), tally=Tally(), report=report)
        handling = handling_of(reader, state=None, threads=Threads(1, name="one"), stream_arn="arn")
        around = Surroundings(
            clock=clock,
            report=report,
            dead_letters=None,
            ledger=None,
            may_start=lambda: not commits,
            delay=float,
            on_stuck=lambda: None,
        )

        async def changed(writes: Sequence[Write], ordinals: Sequence[int], applied: Callable[[], None]) -> None:
            nonlocal commits
            del ordinals, applied
            commits += 1
            await asyncio.sleep(1)
            [read] = [at for at, write in enumerate(writes) if write.kind == "check"]
            raise Cancelled({read: "ConditionalCheckFailed"}, "a condition failed")

        engine = Engine(handling, settling, around, Transacting(handling, settling, around, MemoryTable(), changed))
        engine.feed([record(b"one")])
        await engine.run()
        assert commits == 1
        assert engine.fenced
        assert settling.attempts(0) == 0
        assert settling.pending == 1

    run_virtual(main)
