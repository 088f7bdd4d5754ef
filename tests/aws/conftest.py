"""The embedded endpoint for the adapters."""

from collections.abc import Mapping

import pytest

from tests.aws.fixtures import aws, dynamodb, layout, name, recorder, table

__all__ = ["aws", "dynamodb", "layout", "name", "recorder", "table"]


@pytest.fixture
def endpoint(embedded: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lead the SDK there."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", embedded["AWS_ENDPOINT_URL"])
