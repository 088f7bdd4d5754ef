"""What an adapter of a port must do, as test classes to subclass: one suite a port, one test a promise.

    class TestMyLeases(LeasesContract):
        @pytest.fixture
        def leases(self) -> Leases:
            return MyTable(...)

Each suite names the fixtures it needs in its docstring; they may be shared and hold rows of others, unless it
says otherwise. They run in real time, on the loop that pytest-asyncio gives them.
"""

import pytest

_SUITES = (
    "changes",
    "checks",
    "dead_letters",
    "halts",
    "leases",
    "ledger",
    "members",
    "memory",
    "payloads",
    "redriven",
    "registry",
    "requests",
    "source",
    "successes",
    "transactions",
)
pytest.register_assert_rewrite(*(f"{__name__}.{suite}" for suite in _SUITES))

from streamkit.testing.contracts.changes import (
    ChangesContract,
    RollingContract,
    RollingDriver,
    TableDriver,
)
from streamkit.testing.contracts.dead_letters import DeadLettersContract, QueueDriver, RefusalsContract
from streamkit.testing.contracts.halts import HaltsContract
from streamkit.testing.contracts.leases import LeasesContract
from streamkit.testing.contracts.ledger import LedgerContract
from streamkit.testing.contracts.members import MembersContract
from streamkit.testing.contracts.memory import MemoryContract
from streamkit.testing.contracts.payloads import PayloadsContract
from streamkit.testing.contracts.redriven import MailboxContract, RedrivenContract
from streamkit.testing.contracts.registry import RegistryContract
from streamkit.testing.contracts.requests import RequestsContract
from streamkit.testing.contracts.source import SourceContract, StreamDriver
from streamkit.testing.contracts.successes import SuccessesContract, SuccessesDriver
from streamkit.testing.contracts.transactions import TransactionsContract

__all__ = [
    "ChangesContract",
    "DeadLettersContract",
    "HaltsContract",
    "LeasesContract",
    "LedgerContract",
    "MailboxContract",
    "MembersContract",
    "MemoryContract",
    "PayloadsContract",
    "QueueDriver",
    "RedrivenContract",
    "RefusalsContract",
    "RegistryContract",
    "RequestsContract",
    "RollingContract",
    "RollingDriver",
    "SourceContract",
    "StreamDriver",
    "SuccessesContract",
    "SuccessesDriver",
    "TableDriver",
    "TransactionsContract",
]
