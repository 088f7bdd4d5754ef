"""The AWS adapters keep every promise of the ports: on LocalStack's Kinesis and SQS, and the DynamoDB in force."""

import pytest

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

pytestmark = pytest.mark.localstack
