"""Records are had pushed on LocalStack, whose own SubscribeToShard names no children of a shard that ends."""

import pytest

from tests.aws.fan_out_suites import TestPushed

__all__ = ["TestPushed"]

pytestmark = pytest.mark.localstack
