"""`streamkit init`: nothing half-written, and everything twice without harm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

Run = Callable[..., Any]
Client = Callable[[str], Any]
Stage = Callable[..., str]


def tables(client: Client) -> list[str]:
    """The names of all tables there are."""
    names: list[str] = client("dynamodb").list_tables()["TableNames"]
    return names


def said(outcome: Any) -> list[str]:
    """What was found and made; where requests went aside."""
    return [line for line in outcome.out.splitlines() if not line.startswith("endpoint of ")]


def test_a_missing_stream_is_one_line_and_nothing_is_made(operate: Run, client: Client) -> None:
    """Status 2, and what to do."""
    outcome = operate("init", "shop:orders", "--queue")
    assert outcome.status == 2
    assert outcome.complaint.startswith("stream orders: ")
    assert "create the stream, or correct its name" in outcome.complaint
    assert "streamkit-orders" not in tables(client)
    assert "QueueUrls" not in client("sqs").list_queues(QueueNamePrefix="orders")


def test_a_missing_queue_is_one_line_and_no_table_is_made(operate: Run, client: Client, stage: Stage) -> None:
    """Status 2; `--queue` is named as the way out."""
    outcome = operate("init", stage("quiet"))
    assert outcome.status == 2
    assert outcome.complaint.startswith("dead-letter queue quiet-dlq: ")
    assert outcome.complaint.endswith("or say `streamkit init --queue`")
    assert "streamkit-quiet" not in tables(client)


def test_queue_and_table_are_made_once(operate: Run, client: Client, stage: Stage) -> None:
    """The second time says so and changes nothing."""
    path = stage("parcels")
    first, second = operate("init", path, "--queue"), operate("init", path, "--queue")
    assert (first.status, first.err) == (0, "")
    assert said(first)[:3] == [
        "stream parcels: found, keeps records for 24 hours",
        "dead-letter queue parcels-dlq: made, encrypted, keeps messages for 14 days",
        "table streamkit-parcels: made",
    ]
    assert second.status == 0
    assert said(second)[1:3] == ["dead-letter queue parcels-dlq: found", "table streamkit-parcels: found"]
    sqs = client("sqs")
    url = sqs.get_queue_url(QueueName="parcels-dlq")["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert attributes["MessageRetentionPeriod"] == str(14 * 24 * 3600)
    assert attributes["SqsManagedSseEnabled"] == "true"
    table = client("dynamodb").describe_table(TableName="streamkit-parcels")["Table"]
    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"


def test_a_fifo_queue_is_made_where_the_name_says_so(operate: Run, client: Client, stage: Stage) -> None:
    """And the queue of another address than a name is not made up."""
    path = stage("mail")
    assert operate("init", path, "--queue", STREAMKIT_DEAD_LETTERS="mail.fifo").status == 0
    sqs = client("sqs")
    url = sqs.get_queue_url(QueueName="mail.fifo")["QueueUrl"]
    assert sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]["FifoQueue"] == "true"
    foreign = url.replace("mail.fifo", "nowhere")
    assert "expected a queue's name" in operate("init", path, "--queue", STREAMKIT_DEAD_LETTERS=foreign).complaint


def test_names_from_outside_count(operate: Run, client: Client, stage: Stage) -> None:
    """What is made is what a worker with the same settings looks for."""
    path = stage("letters")
    settings = {"STREAMKIT_CHECKPOINT_TABLE": "elsewhere", "STREAMKIT_DEAD_LETTERS": "undeliverable"}
    assert operate("init", path, "--queue", **settings).status == 0
    assert "elsewhere" in tables(client)
    assert "streamkit-letters" not in tables(client)


def test_a_table_of_another_shape_is_left_alone(run: Run, client: Client, stage: Stage) -> None:
    """One line with what was expected and what is there; `run` says the same."""
    path = stage("cards")
    client("sqs").create_queue(QueueName="cards-dlq")
    client("dynamodb").create_table(
        TableName="streamkit-cards",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "N"}],
        BillingMode="PAY_PER_REQUEST",
    )
    for command in ("init", "run"):
        outcome = run(command, path)
        assert outcome.status == 2
        assert outcome.complaint == (
            "table streamkit-cards: expected the keys pk HASH S, sk RANGE S, got id HASH N: "
            "it is not a checkpoint table, name another one"
        )


@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_REGION"])
def test_missing_settings_of_the_sdk_are_one_line(operate: Run, stage: Stage, variable: str) -> None:
    """Credentials and region: what to set."""
    path = stage("none" + variable.lower().replace("_", ""))
    cleared = {variable: "", "AWS_DEFAULT_REGION": "" if variable == "AWS_REGION" else "us-east-1"}
    outcome = operate("init", path, **cleared)
    assert outcome.status == 2
    assert "AWS_" in outcome.complaint


def test_an_endpoint_other_than_aws_is_named(operate: Run, stage: Stage, world: Mapping[str, str]) -> None:
    """Nobody prepares the wrong world unawares."""
    outcome = operate("init", stage("seen"), "--queue")
    url = world["AWS_ENDPOINT_URL"]
    shown = [line for line in outcome.out.splitlines() if line.startswith("endpoint")]
    assert shown == [f"endpoint of {service}: {url}" for service in ("kinesis", "sqs", "dynamodb")]
