"""The view of a table equals it on the DynamoDB in force too: the embedded one, LocalStack's, or a user's own."""

import os
from collections.abc import Mapping

import pytest

from tests.e2e.view_suite import ViewSuite

pytestmark = pytest.mark.localstack


class TestView(ViewSuite):
    """As on the embedded endpoint, where no shard rolls."""

    @pytest.fixture
    def variables(self) -> Mapping[str, str]:
        """The SDK's own variables lead there already."""
        return {name: value for name, value in os.environ.items() if name.startswith("AWS_ENDPOINT_URL")}
