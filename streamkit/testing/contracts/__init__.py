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
    "redriven",
    "registry",
    "requests",
    "source",
)
pytest.register_assert_rewrite(*(f"{__name__}.{suite}" for suite in _SUITES))

from streamkit.testing.contracts.changes import (  # noqa: E402
    ChangesContract,
    RollingContract,
    RollingDriver,
    TableDriver,
)
from streamkit.testing.contracts.dead_letters import DeadLettersContract, QueueDriver, RefusalsContract  # noqa: E402
from streamkit.testing.contracts.halts import HaltsContract  # noqa: E402
from streamkit.testing.contracts.leases import LeasesContract  # noqa: E402
from streamkit.testing.contracts.ledger import LedgerContract  # noqa: E402
from streamkit.testing.contracts.members import MembersContract  # noqa: E402
from streamkit.testing.contracts.memory import MemoryContract  # noqa: E402
from streamkit.testing.contracts.redriven import MailboxContract, RedrivenContract  # noqa: E402
from streamkit.testing.contracts.registry import RegistryContract  # noqa: E402
from streamkit.testing.contracts.requests import RequestsContract  # noqa: E402
from streamkit.testing.contracts.source import SourceContract, StreamDriver  # noqa: E402

__all__ = [
    "ChangesContract",
    "DeadLettersContract",
    "HaltsContract",
    "LeasesContract",
    "LedgerContract",
    "MailboxContract",
    "MembersContract",
    "MemoryContract",
    "QueueDriver",
    "RedrivenContract",
    "RefusalsContract",
    "RegistryContract",
    "RequestsContract",
    "RollingContract",
    "RollingDriver",
    "SourceContract",
    "StreamDriver",
    "TableDriver",
]
