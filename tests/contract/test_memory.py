"""The in-memory adapters keep every promise of the ports."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from streamkit.ports import (
    DeadLetters,
    Halts,
    Leases,
    Ledger,
    Members,
    Memory,
    Redriven,
    Registry,
    Source,
    Successes,
    Transactions,
)
from streamkit.testing import (
    Items,
    KinesisWorld,
    ManualClock,
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
    letter,
    record,
)
from streamkit.testing.contracts import (
    DeadLettersContract,
    HaltsContract,
    LeasesContract,
    LedgerContract,
    MailboxContract,
    MembersContract,
    MemoryContract,
    PayloadsContract,
    QueueDriver,
    RedrivenContract,
    RefusalsContract,
    RegistryContract,
    RequestsContract,
    SourceContract,
    StreamDriver,
    SuccessesContract,
    SuccessesDriver,
    TransactionsContract,
)


@pytest.fixture
def clock() -> ManualClock:
    """A clock that the test moves."""
    return ManualClock()


class TestLeases(LeasesContract):
    """Leases."""

    @pytest.fixture
    def leases(self) -> Leases:
        """An empty table."""
        return MemoryTable()


class TestTransactions(TransactionsContract):
    """Transactions."""

    @pytest.fixture
    def leases(self) -> MemoryTable:
        """An empty table."""
        return MemoryTable()

    @pytest.fixture
    def transactions(self, leases: MemoryTable) -> Transactions:
        """The same, with a table of the consumer's own."""
        leases.items = Items({"items": ["id"]})
        return leases

    @pytest.fixture
    def items(self) -> str:
        """Its name."""
        return "items"


class TestRequests(RequestsContract):
    """Requests of operators."""

    @pytest.fixture
    def leases(self) -> MemoryTable:
        """An empty table."""
        return MemoryTable()


class TestMembers(MembersContract):
    """Members."""

    @pytest.fixture
    def members(self) -> Members:
        """An empty table."""
        return MemoryTable()


class TestRegistry(RegistryContract):
    """Registry."""

    @pytest.fixture
    def registry(self) -> Registry:
        """An empty table."""
        return MemoryTable()


class TestRedriven(RedrivenContract):
    """The memory of redriven records."""

    @pytest.fixture
    def redriven(self, clock: ManualClock) -> Redriven:
        """An empty one."""
        return MemoryRedriven(clock)

    @pytest.fixture
    def pass_by(self, clock: ManualClock) -> Callable[[float], None]:
        """Let time pass."""
        return lambda seconds: clock.advance(timedelta(seconds=seconds))


class TestPayloads(PayloadsContract):
    """A bucket in memory."""

    @pytest.fixture
    def payloads(self) -> MemoryPayloads:
        """An empty one."""
        return MemoryPayloads()


class TestMailbox(MailboxContract):
    """Letters taken out of a queue."""

    @pytest.fixture
    def mailbox(self, clock: ManualClock) -> MemoryMailbox:
        """An empty queue."""
        return MemoryMailbox(clock, poll_seconds=0.0)

    @pytest.fixture
    def put(self, mailbox: MemoryMailbox) -> Callable[[int], Awaitable[object]]:
        """Put letters in."""

        async def put(number: int) -> None:
            mailbox.put(*(letter(record(n)) for n in range(number)))

        return put


class TestMemory(MemoryContract):
    """The memory of functions."""

    @pytest.fixture
    def memory(self) -> Memory:
        """An empty table."""
        return MemoryDeliveries()


class TestHalts(HaltsContract):
    """Where functions stand still."""

    @pytest.fixture
    def halts(self) -> Halts:
        """An empty table."""
        return MemoryHalts()


class TestLedger(LedgerContract):
    """Ledger."""

    @pytest.fixture
    def ledger(self, clock: ManualClock) -> Ledger:
        """A ledger that keeps claims for an hour."""
        return MemoryLedger(clock, keep=timedelta(hours=1))

    @pytest.fixture
    def expire(self, clock: ManualClock) -> Callable[[], None]:
        """Let the hour pass."""
        return lambda: clock.advance(timedelta(hours=1))


class MemoryQueue:
    """Looks into the queue and lets it refuse."""

    def __init__(self, letters: MemoryDeadLetters) -> None:
        self.letters = letters

    async def delivered(self) -> list[tuple[str, bytes]]:
        """Look into the queue."""
        return [(letter.record.id, letter.record.data) for letter in self.letters.letters]

    def refuse(self, letters: int) -> None:
        """Let it refuse."""
        self.letters.refuse(letters)


class TestDeadLetters(DeadLettersContract, RefusalsContract):
    """Dead letters, refusals included."""

    @pytest.fixture
    def dead_letters(self) -> DeadLetters:
        """An empty queue."""
        return MemoryDeadLetters()

    @pytest.fixture
    def queue(self, dead_letters: MemoryDeadLetters) -> QueueDriver:
        """The other side of it."""
        return MemoryQueue(dead_letters)


class ToldQueue:
    """Looks into the queue for successes and lets it refuse."""

    def __init__(self, successes: MemorySuccesses) -> None:
        self.successes = successes

    async def delivered(self) -> list[tuple[str, bytes]]:
        """Look into the queue."""
        return [(success.record.id, success.record.data) for success in self.successes.successes]

    def refuse(self, letters: int) -> None:
        """Let it refuse."""
        self.successes.refuse(letters)


class TestSuccesses(SuccessesContract):
    """Successes."""

    @pytest.fixture
    def successes(self) -> Successes:
        """An empty queue."""
        return MemorySuccesses()

    @pytest.fixture
    def queue(self, successes: MemorySuccesses) -> SuccessesDriver:
        """The other side of it."""
        return ToldQueue(successes)


class MemoryProducer:
    """Puts and reshards; a second passes with each step, so that arrivals differ."""

    def __init__(self, stream: MemoryStream, clock: ManualClock) -> None:
        self.stream = stream
        self.clock = clock

    async def put(self, key: str, data: bytes) -> tuple[str, str]:
        """Put a second later."""
        self.clock.advance(timedelta(seconds=1))
        record = self.stream.put(key, data)
        return record.shard, record.sequence_number

    async def split(self, shard: str) -> None:
        """Split in the middle."""
        self.stream.split(shard)

    async def merge(self, shard: str, adjacent: str) -> None:
        """Merge."""
        self.stream.merge(shard, adjacent)

    async def delete(self) -> None:
        """Delete."""
        self.stream.delete()

    async def create(self) -> None:
        """Make it a second later."""
        self.clock.advance(timedelta(seconds=1))
        self.stream.create(shards=2)


class TestSource(SourceContract):
    """Source and reader."""

    @pytest.fixture
    def memory(self, clock: ManualClock) -> MemoryStream:
        """A new stream."""
        kinesis = KinesisWorld(clock=lambda: clock.now().timestamp(), chance=random.Random(0))
        return MemoryStream(kinesis, clock, shards=2)

    @pytest.fixture
    def stream(self, memory: MemoryStream, clock: ManualClock) -> StreamDriver:
        """The side of its producer."""
        return MemoryProducer(memory, clock)

    @pytest.fixture
    def source(self, memory: MemoryStream) -> Source:
        """The side of its consumer, impatient."""
        return MemorySource(memory, idle=timedelta())
