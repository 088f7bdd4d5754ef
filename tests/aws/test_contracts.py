"""The AWS adapters keep every promise of the ports, on the embedded endpoint."""

from tests.aws.suites import (
    TestFifoQueue,
    TestLeases,
    TestLedger,
    TestMembers,
    TestMemory,
    TestRegistry,
    TestSource,
    TestStandardQueue,
)

__all__ = [
    "TestFifoQueue",
    "TestLeases",
    "TestLedger",
    "TestMembers",
    "TestMemory",
    "TestRegistry",
    "TestSource",
    "TestStandardQueue",
]
