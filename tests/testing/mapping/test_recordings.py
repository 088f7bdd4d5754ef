"""What AWS was recorded doing (public test suites, 2024-2025), done again by the simulator."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from streamkit.testing import World
from streamkit.testing.mapping import (
    Context,
    EventSourceMapping,
    KinesisFeed,
    LambdaFunction,
    Terms,
    run_mapped,
)
from tests.testing.mapping.stage import Handled, delivered

REPORTING = Terms(batch_size=1, maximum_retry_attempts=2, report_batch_item_failures=True)


def test_with_partial_failures_three_retries_deliver_the_bad_record_five_times() -> None:
    """Six records in batches of three, the sixth bad: its first delivery makes progress, and the budget restarts."""
    handled = Handled(bad=[5])
    terms = Terms(batch_size=3, maximum_retry_attempts=3, report_batch_item_failures=True)
    mapping = delivered(handled.reporting, 6, terms=terms)
    assert handled.calls == [[0, 1, 2], [3, 4, 5], [5], [5], [5], [5]]
    (document,) = mapping.discards
    assert document["requestContext"]["approximateInvokeCount"] == 4
    assert document["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST", "functionError": None}
    assert document["KinesisBatchInfo"]["batchSize"] == 1


@pytest.mark.parametrize("answer", ["", [], None, {}, {"batchItemFailures": []}, {"batchItemFailures": None}])
def test_an_answer_that_names_nothing_is_success(answer: object) -> None:
    """One delivery, no document."""

    def handler(_event: object, _context: Context) -> object:
        return answer

    mapping = delivered(handler, 1, terms=REPORTING)
    assert [*mapping.deliveries.values()] == [1]
    assert mapping.discards == []


@pytest.mark.parametrize(
    "failure",
    [{"itemIdentifier": 123}, {"itemIdentifier": ""}, {"itemIdentifier": None}, {"foo": 123}, {"foo": None}],
)
def test_an_answer_that_names_no_record_of_the_batch_fails_it_whole(failure: dict[str, object]) -> None:
    """Two retries are three deliveries, and a document without a function error."""

    def handler(_event: object, _context: Context) -> object:
        return {"batchItemFailures": [failure]}

    mapping = delivered(handler, 1, terms=REPORTING)
    assert [*mapping.deliveries.values()] == [3]
    assert [each["requestContext"]["approximateInvokeCount"] for each in mapping.discards] == [3]
    assert mapping.discards[0]["responseContext"]["functionError"] is None


def test_a_record_that_expires_while_it_is_retried_is_given_up_after_a_minute() -> None:
    """Seven invocations in the first 60 s, which the document counts as eight; and there is no response in it."""
    mapping = delivered(Handled(bad=[0]).plain, 1, terms=Terms(maximum_record_age=timedelta(seconds=60)))
    assert [*mapping.deliveries.values()] == [7]
    (document,) = mapping.discards
    assert document["requestContext"]["condition"] == "RecordAgeExceeded"
    assert document["requestContext"]["approximateInvokeCount"] == 8
    assert "responseContext" not in document


def test_without_a_limit_one_bad_record_blocks_its_shard_until_it_is_too_old() -> None:
    """The good record behind it waits for an hour, and is given up with it. By default it is a day or a week."""
    handled = Handled(bad=[0])
    hour = timedelta(hours=1)
    mapping = delivered(handled.plain, 2, terms=Terms(batch_size=1, maximum_record_age=hour), keys=1)
    assert handled.effects == []
    assert 3500 < mapping.invocations[-1].began < 3600
    assert [discard.condition for discard in mapping.given_up] == ["RecordAgeExceeded"] * 2
    assert Terms().oldest(timedelta(days=1)) == timedelta(days=1)
    assert Terms().oldest(timedelta(days=365)) == timedelta(days=7)


def test_only_the_expired_prefix_is_given_up_and_never_reaches_the_function() -> None:
    """One old record, five young ones in the same batch: the old one's document says one invocation, of none."""
    handled = Handled()

    async def main() -> EventSourceMapping:
        world = World()
        world.stream.put("test", 0)
        await asyncio.sleep(80)
        for number in range(1, 6):
            world.stream.put("test", number)
        terms = Terms(batch_size=10, maximum_retry_attempts=0, maximum_record_age=timedelta(seconds=60))
        async with EventSourceMapping(KinesisFeed(world.stream), LambdaFunction.of(handled.plain), terms) as mapping:
            await mapping.settled()
        return mapping

    mapping = run_mapped(main)
    assert handled.calls == [[1, 2, 3, 4, 5]]
    assert [each["KinesisBatchInfo"]["batchSize"] for each in mapping.discards] == [1]
    assert mapping.discards[0]["requestContext"]["approximateInvokeCount"] == 1


def test_the_on_failure_document_of_a_kinesis_batch_is_awss_to_the_letter() -> None:
    """Every key, in AWS's order."""
    mapping = delivered(Handled(bad=[0]).plain, 1, terms=Terms(batch_size=1, maximum_retry_attempts=1))
    (record,) = mapping.given_up[0].records
    (document,) = mapping.discards
    assert len(document["requestContext"].pop("requestId")) == 36
    assert document == {
        "requestContext": {
            "functionArn": "arn:aws:lambda:us-east-1:123456789012:function:function",
            "condition": "RetryAttemptsExhausted",
            "approximateInvokeCount": 2,
        },
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "version": "1.0",
        "timestamp": document["timestamp"],
        "KinesisBatchInfo": {
            "shardId": "shardId-000000000000",
            "startSequenceNumber": record.sequence_number,
            "endSequenceNumber": record.sequence_number,
            "approximateArrivalOfFirstRecord": "2013-01-01T00:00:00.000Z",
            "approximateArrivalOfLastRecord": "2013-01-01T00:00:00.000Z",
            "batchSize": 1,
            "streamArn": "arn:aws:kinesis:us-east-1:123456789012:stream/stream",
        },
    }
    assert [*document] == ["requestContext", "responseContext", "version", "timestamp", "KinesisBatchInfo"]
