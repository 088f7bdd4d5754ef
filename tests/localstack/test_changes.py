"""The adapter of DynamoDB Streams keeps its promises on the DynamoDB in force: the embedded one, or a user's own."""

import pytest

from tests.aws.change_suites import TestChanges, changing, source

__all__ = ["TestChanges", "changing", "source"]

pytestmark = pytest.mark.localstack
