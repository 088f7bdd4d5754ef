"""The AWS adapters keep every promise of the ports, on the embedded endpoint."""

from tests.aws.suites import (
    TestFifoQueue,
    TestHalts,
    TestLeases,
    TestLedger,
    TestMailbox,
    TestMembers,
    TestMemory,
    TestPayloads,
    TestRedriven,
    TestRegistry,
    TestRequests,
    TestSource,
    TestStandardQueue,
    TestSuccesses,
    TestTransactions,
)

__all__ = [
    "TestFifoQueue",
    "TestHalts",
    "TestLeases",
    "TestLedger",
    "TestMailbox",
    "TestMembers",
    "TestMemory",
    "TestPayloads",
    "TestRedriven",
    "TestRegistry",
    "TestRequests",
    "TestSource",
    "TestStandardQueue",
    "TestSuccesses",
    "TestTransactions",
]
