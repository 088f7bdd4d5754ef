"""All the world in memory: every port of `streamkit.ports`, exact in its conditions, with troubles to order.

`World` holds one of each. Workers share it as they would share AWS: each with a clock of its own.
"""

from streamkit.core.items import Items
from streamkit.testing.memory.deliveries import MemoryDeliveries
from streamkit.testing.memory.halts import MemoryHalts
from streamkit.testing.memory.ledger import MemoryLedger
from streamkit.testing.memory.letters import MemoryDeadLetters, MemorySuccesses
from streamkit.testing.memory.mailbox import MemoryMailbox, MemoryRedriven
from streamkit.testing.memory.payloads import MemoryPayloads
from streamkit.testing.memory.recorder import Recorder
from streamkit.testing.memory.stream import MemorySource, MemoryStream
from streamkit.testing.memory.table import MemoryTable, Trouble
from streamkit.testing.memory.world import World

__all__ = [
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
    "Trouble",
    "World",
]
