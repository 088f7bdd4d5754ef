"""The AWS adapters keep every promise of the ports, on the embedded endpoint."""

from tests.aws.suites import (
    TestFifoQueue,
    TestLeases,
    TestLedger,
    TestMailbox,
    TestMembers,
    TestMemory,
    TestRedriven,
    TestRegistry,
    TestRequests,
    TestSource,
    TestStandardQueue,
    TestTransactions,
)

__all__ = [
    "TestFifoQueue",
    "TestLeases",
    "TestLedger",
    "TestMailbox",
    "TestMembers",
    "TestMemory",
    "TestRedriven",
    "TestRegistry",
    "TestRequests",
    "TestSource",
    "TestStandardQueue",
    "TestTransactions",
]
