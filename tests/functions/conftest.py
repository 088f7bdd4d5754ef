"""Resources of functions that work through the SDK."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import boto3
import pytest

from streamkit.clock import SystemChance


@pytest.fixture
def resource(embedded: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """Make a queue and a table of a new name at each call; lead the SDK there, and functions to these settings."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", embedded["AWS_ENDPOINT_URL"])
    monkeypatch.setenv("STREAMKIT_PARTIAL_RESPONSES", "true")

    def make() -> str:
        name = f"test-{SystemChance().token()[:12]}"
        boto3.client("sqs").create_queue(QueueName=name)
        boto3.client("dynamodb").create_table(
            TableName=f"streamkit-{name}",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("pk", "sk")],
            BillingMode="PAY_PER_REQUEST",
        )
        return name

    return make
