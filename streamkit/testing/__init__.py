"""Test consumers without AWS and without sleeping: a world in memory, virtual time, builders, contracts.

Names load when they are used, so this import costs nothing. What needs more than streamkit itself says so:
`streamkit.testing.contracts` needs pytest and pytest-asyncio, `streamkit.testing.strategies` hypothesis,
`streamkit.testing.endpoint` the extra `streamkit[local]`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamkit.testing.builders import aggregate, change, letter, payload, record, records
    from streamkit.testing.dynamodb_streams import ChangeStreams, ChangingTable
    from streamkit.testing.kinesis import KinesisWorld
    from streamkit.testing.memory import (
        Items,
        MemoryDeadLetters,
        MemoryDeliveries,
        MemoryHalts,
        MemoryLedger,
        MemoryMailbox,
        MemoryPayloads,
        MemoryRedriven,
        MemorySource,
        MemoryStream,
        MemorySuccesses,
        MemoryTable,
        Recorder,
        World,
    )
    from streamkit.testing.rehearsal import NotIdempotent, Rehearsals, expect_idempotent
    from streamkit.testing.threads import Gate, StuckThread
    from streamkit.testing.time import (
        START,
        Deadlock,
        ManualClock,
        SeededChance,
        VirtualClock,
        VirtualLoop,
        run_virtual,
    )

__all__ = [
    "START",
    "ChangeStreams",
    "ChangingTable",
    "Deadlock",
    "Gate",
    "Items",
    "KinesisWorld",
    "ManualClock",
    "MemoryDeadLetters",
    "MemoryDeliveries",
    "MemoryHalts",
    "MemoryLedger",
    "MemoryMailbox",
    "MemoryPayloads",
    "MemoryRedriven",
    "MemorySource",
    "MemoryStream",
    "MemorySuccesses",
    "MemoryTable",
    "NotIdempotent",
    "Recorder",
    "Rehearsals",
    "SeededChance",
    "StuckThread",
    "VirtualClock",
    "VirtualLoop",
    "World",
    "aggregate",
    "change",
    "expect_idempotent",
    "letter",
    "payload",
    "record",
    "records",
    "run_virtual",
]

_HOMES = {
    "dynamodb_streams": ("ChangeStreams", "ChangingTable"),
    "kinesis": ("KinesisWorld",),
    "memory": (
        "Items",
        "MemoryDeadLetters",
        "MemoryDeliveries",
        "MemoryHalts",
        "MemoryLedger",
        "MemoryMailbox",
        "MemoryPayloads",
        "MemoryRedriven",
        "MemorySource",
        "MemoryStream",
        "MemorySuccesses",
        "MemoryTable",
        "Recorder",
        "World",
    ),
    "builders": ("aggregate", "change", "letter", "payload", "record", "records"),
    "rehearsal": ("NotIdempotent", "Rehearsals", "expect_idempotent"),
    "threads": ("Gate", "StuckThread"),
    "time": (
        "START",
        "Deadlock",
        "ManualClock",
        "SeededChance",
        "VirtualClock",
        "VirtualLoop",
        "run_virtual",
    ),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Load a public name from its module."""
    if name not in _HOME:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
