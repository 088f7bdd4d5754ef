"""The AWS adapters keep every promise of the ports: on LocalStack's Kinesis and SQS, and the DynamoDB in force."""

import pytest

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

pytestmark = pytest.mark.localstack
