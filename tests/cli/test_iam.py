"""`streamkit iam` prints what a consumer's role is to be allowed: the same as the documentation says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamkit import Consumer, DynamoDBStream, Kinesis, Record, Sqs, consumer
from streamkit.permissions import Place, policy

PAGE = Path(__file__).resolve().parents[2] / "docs" / "permissions.md"
PLACE = Place("REGION", "ACCOUNT")
Call = Callable[..., Any]


def made(source: Kinesis | DynamoDBStream, queue: str | None = "flights-dlq") -> Consumer:
    """A consumer of this source."""

    @consumer("flights", source=source, dead_letters=Sqs(queue) if queue else None)
    async def flights(record: Record) -> None:
        del record

    return flights


def listed(action: str | list[str]) -> list[str]:
    """One action, or several, as IAM takes them."""
    return [action] if isinstance(action, str) else action


def flat(statements: Any) -> list[tuple[str, list[str], list[str]]]:
    """What is allowed, on what."""
    return [(each["Sid"], listed(each["Action"]), listed(each["Resource"])) for each in statements]


def allowed(subject: Consumer) -> list[tuple[str, list[str], list[str]]]:
    """What a consumer's policy allows, on what."""
    return flat(json.loads(msgspec.json.encode(policy(subject, PLACE)))["Statement"])


def test_the_page_shows_what_is_printed() -> None:
    """For a stream, with what enhanced fan-out takes besides, and for the changes of a table."""
    section = PAGE.read_text(encoding="utf-8").partition("\n## The worker")[2].partition("\n## ")[0]
    stream, pushed, changes = map(json.loads, re.findall(r"```json\n(.*?)```", section, flags=re.DOTALL))
    assert allowed(made(Kinesis("flights"))) == flat(stream["Statement"])
    assert allowed(made(Kinesis("flights", fan_out=True)))[1:2] == flat([pushed])
    assert allowed(made(DynamoDBStream("flights")))[:-2] == flat(changes)


def test_a_destination_for_successes_is_sent_to_as_the_dead_letter_queue_is() -> None:
    """And its queue is its own."""
    *_, letters, told = allowed(made(Kinesis("flights")).using(on_success=Sqs("done")))
    assert told == ("TellSuccesses", letters[1], [PLACE.arn("sqs", "done")])


def test_a_bucket_is_written_to_in_the_consumers_own_folder() -> None:
    """And nothing else of it: the worker reads no payload back, and lists none."""
    subject = made(Kinesis("flights")).using(dead_letters=Sqs("flights-dlq", "large-payloads"))
    assert allowed(subject)[-1] == (
        "KeepLargePayloads",
        ["s3:PutObject"],
        ["arn:aws:s3:::large-payloads/dead-letters/flights/*"],
    )


def test_a_stream_consumer_is_named_as_it_is_declared() -> None:
    """Any time it was registered: its ARN ends in that moment."""
    arn = "arn:aws:kinesis:eu-west-1:210987654321:stream/theirs"
    _, _, resources = allowed(made(Kinesis(arn, fan_out="mine")))[1]
    assert resources == [arn, f"{arn}/consumer/mine:*"]


def test_the_command_prints_a_policy(call: Call) -> None:
    """Valid JSON of IAM's grammar, for the place that is said; no wildcard but that of a table's streams."""
    outcome = call("iam", "shop:orders", "--region", "eu-west-1", "--account", "123456789012")
    assert outcome.status == 0
    printed = json.loads(outcome.out)
    assert list(printed) == ["Version", "Statement"]
    assert {each["Effect"] for each in printed["Statement"]} == {"Allow"}
    assert [each["Resource"] for each in printed["Statement"]] == [
        "arn:aws:kinesis:eu-west-1:123456789012:stream/orders",
        "arn:aws:dynamodb:eu-west-1:123456789012:table/streamkit-orders",
        "arn:aws:sqs:eu-west-1:123456789012:orders-dlq",
    ]
    assert "*" not in outcome.out


def test_the_configuration_in_force_is_what_counts(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another table, another queue."""
    monkeypatch.setenv("STREAMKIT_CHECKPOINT_TABLE", "elsewhere")
    monkeypatch.setenv("STREAMKIT_DEAD_LETTERS", "https://sqs.eu-north-1.amazonaws.com/210987654321/other")
    outcome = call("iam", "shop:orders", "--region", "eu-west-1", "--account", "123456789012")
    assert "table/elsewhere" in outcome.out
    assert "arn:aws:sqs:eu-north-1:210987654321:other" in outcome.out


def test_another_accounts_stream_is_read_by_its_role() -> None:
    """The worker may assume it, and not read; without a queue none may be sent to."""
    arn, role = "arn:aws:kinesis:eu-west-1:210987654321:stream/theirs", "arn:aws:iam::210987654321:role/reader"
    subject = made(Kinesis(arn, role=role), queue=None)
    assert allowed(subject)[0] == ("AssumeTheRole", ["sts:AssumeRole"], [role])
    assert [sid for sid, _, _ in allowed(subject)] == ["AssumeTheRole", "KeepCheckpoints"]
