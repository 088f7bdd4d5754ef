"""docs/permissions.md: a function asks for nothing that the page does not allow, and the page allows no more."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
import msgspec
import pytest

from streamkit import Consumer, DynamoDBStream, Kinesis, Poison, Record, Sqs, consumer
from streamkit.clock import SystemChance
from streamkit.permissions import Place, function_policy
from streamkit.runtimes.function import container
from tests.functions.stage import kinesis
from tests.functions.test_container import Context

PAGE = Path(__file__).resolve().parents[2] / "docs" / "permissions.md"


def shown() -> Any:
    """Return the policy of the page."""
    section = PAGE.read_text(encoding="utf-8").partition("\n## A function\n")[2]
    return json.loads(section.partition("```json\n")[2].partition("```")[0])


def allowed() -> set[str]:
    """Return what the page allows the function itself."""
    named = ("RememberDeliveries", "SendDeadLetters")
    return {action for each in shown()["Statement"] if each["Sid"] in named for action in each["Action"]}


def printed(source: Kinesis | DynamoDBStream) -> Any:
    """Return the policy of a function of this source."""

    @consumer("flights", source=source, dead_letters=Sqs("flights-dlq"))
    async def flights(record: Record) -> None:
        del record

    return json.loads(msgspec.json.encode(function_policy(flights, Place("REGION", "ACCOUNT"), function="flights")))


def test_the_page_shows_the_policy_that_is_printed() -> None:
    """For records of a stream; of a table's changes what the mapping reads is different, and on its streams only."""
    assert printed(Kinesis("flights")) == shown()
    mapped = {each["Sid"]: each["Resource"] for each in printed(DynamoDBStream("flights"))["Statement"]}
    assert mapped["LetTheMappingRead"] == "arn:aws:dynamodb:REGION:ACCOUNT:table/flights/stream/*"
    assert "*" not in mapped["RememberDeliveries"]


def test_a_function_uses_exactly_what_the_page_allows(
    embedded: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clean batches, redeliveries, letters and halts, in both modes: every request that leaves the SDK is counted."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", embedded["AWS_ENDPOINT_URL"])
    monkeypatch.setenv("STREAMKIT_PARTIAL_RESPONSES", "true")
    name = f"test-{SystemChance().token()[:12]}"
    boto3.client("sqs").create_queue(QueueName=name)
    boto3.client("dynamodb").create_table(
        TableName=f"streamkit-{name}",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("pk", "sk")],
        BillingMode="PAY_PER_REQUEST",
    )
    used: set[str] = set()
    listen(used, monkeypatch)
    for factor in ("1", "2"):
        monkeypatch.setenv("STREAMKIT_PARALLELIZATION_FACTOR", factor)
        handler = halting(name).lambda_handler
        for numbers in ((1, 2), (1, 2, 3), (3, 4, 5, 6), (5, 6)):
            handler(kinesis(*numbers, keys=1), Context())
        container.close()
    assert used == allowed()


def halting(name: str) -> Consumer:
    """Return a consumer that halts behind record 4."""

    @consumer(name, source=Kinesis("stream"), dead_letters=Sqs(name), on_dead_letter="halt")
    async def records(record: Record) -> None:
        if record.data == b"4":
            raise Poison("four")

    return records


def listen(used: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Note every action that the SDK's clients are asked for."""
    made = boto3.Session.client

    def noted(model: Any, **_: object) -> None:
        action = "SendMessage" if model.name == "SendMessageBatch" else model.name
        used.add(f"{model.service_model.service_name}:{action}")

    def client(self: boto3.Session, *names: Any, **settings: Any) -> Any:
        found: Any = made(self, *names, **settings)
        found.meta.events.register("before-call", noted)
        return found

    monkeypatch.setattr(boto3.Session, "client", client)
