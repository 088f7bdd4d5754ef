"""Worker processes, end to end: Kinesis and SQS of LocalStack, and the DynamoDB in force."""

import os
from collections.abc import Mapping

import pytest

from tests.e2e.suite import WorkerSuite, chance

__all__ = ["chance"]

pytestmark = pytest.mark.localstack


class TestWorker(WorkerSuite):
    """On LocalStack."""

    @pytest.fixture
    def variables(self) -> Mapping[str, str]:
        """The SDK's own variables lead there already."""
        return {name: value for name, value in os.environ.items() if name.startswith("AWS_ENDPOINT_URL")}
