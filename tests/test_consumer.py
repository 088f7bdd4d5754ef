"""A consumer is one frozen value, checked where it is made, and settles batches in memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from streamkit import (
    Batch,
    Change,
    Checkpoint,
    ConfigurationError,
    DynamoDBStream,
    Failed,
    Kinesis,
    Partial,
    Poison,
    Record,
    Retry,
    Sqs,
    Unavailable,
    consumer,
)
from streamkit.testing.builders import change, records

FLIGHTS = Kinesis("flights")


@consumer("flights", source=FLIGHTS, dead_letters=Sqs("flights-dlq"))
async def flights(record: Record) -> None:
    """Refuse a flight without a delay."""
    if record.json()["arr_delay"] is None:
        raise Poison("no arrival delay")


async def test_a_flight_without_delay_is_dead_lettered() -> None:
    """The promise of the front page: no AWS, no sleeping."""
    result = await flights.settle([{"arr_delay": 11}, {"arr_delay": None}])
    assert [letter.reason for letter in result.dead] == ["no arrival delay"]
    assert [record.json() for record in result.handled] == [{"arr_delay": 11}]
    assert result.unsettled == ()


async def test_settling_takes_bytes_text_values_and_records() -> None:
    """Whatever is at hand."""
    seen: list[bytes] = []

    @consumer("any", source=FLIGHTS)
    async def note(record: Record) -> None:
        seen.append(record.data)

    result = await note.settle([b"raw", "text", {"n": 1}, *records(2, first=10)])
    assert seen == [b"raw", b"text", b'{"n":1}', b"10", b"11"]
    assert result.frontier == records(1, first=11)[0].position


async def test_retries_follow_at_once_and_end() -> None:
    """A record that never succeeds has its attempts, without waiting."""
    attempts: list[int] = []

    @consumer("bad", source=FLIGHTS, dead_letters=Sqs("dlq"), retry=Retry(attempts=3))
    async def fail(record: Record) -> None:
        attempts.append(record.attempt)
        raise ValueError("no")

    result = await fail.settle([1])
    assert attempts == [1, 2, 3]
    assert [letter.verdict.condition for letter in result.dead] == ["RetryAttemptsExhausted"]


async def test_an_outage_comes_back_unsettled() -> None:
    """Where a worker would pause, a test ends."""

    @consumer("down", source=FLIGHTS, dead_letters=Sqs("dlq"))
    async def down(_: Record) -> None:
        raise Unavailable("maintenance")

    result = await down.settle([1, 2, 3])
    assert len(result.unsettled) == 3
    assert result.dead == ()
    assert result.frontier is None


async def test_without_a_queue_a_condemned_record_comes_back_unsettled() -> None:
    """The shard would halt."""
    result = await flights.using(dead_letters=None).settle([{"arr_delay": None}, {"arr_delay": 1}])
    assert result.dead == ()
    assert len(result.unsettled) >= 1


async def test_filters_business_keys_and_a_lifespan_work_in_memory() -> None:
    """The whole engine, not a stand-in."""
    opened: list[str] = []

    @asynccontextmanager
    async def resources() -> AsyncGenerator[list[int]]:
        opened.append("open")
        yield found
        opened.append("closed")

    found: list[int] = []

    @consumer(
        "full",
        source=FLIGHTS,
        where=lambda record: record.json() > 0,
        dedupe_key=lambda record: record.text(),
        lifespan=resources,
    )
    def keep(record: Record, *, state: list[int]) -> None:
        state.append(record.json())

    result = await keep.settle([1, 2, 2, 0, 3])
    assert sorted(found) == [1, 2, 3]
    assert (len(result.filtered), len(result.duplicates)) == (1, 1)
    assert opened == ["open", "closed"]


async def test_a_batch_handler_may_name_its_culprits() -> None:
    """`Failed` and `Partial`, in memory too."""
    stream = records(4, keys="abcd")

    @consumer.batch("batch", source=FLIGHTS, dead_letters=Sqs("dlq"), batch_size=4)
    async def handle(batch: Batch) -> None:
        if stream[1] in batch:
            raise Failed(stream[1], Poison("second"))
        if stream[2] in batch:
            raise Partial(done=[each for each in batch if each != stream[2]], failed={stream[2]: Poison("third")})

    result = await handle.settle(stream)
    assert sorted(letter.reason for letter in result.dead) == ["second", "third"]
    assert sorted(record.key for record in result.handled) == ["a", "d"]


async def test_calling_a_consumer_runs_the_raw_handler() -> None:
    """No retry, no dead letter."""
    running = flights(replace(records(1)[0], data=b'{"arr_delay": null}'))
    assert running is not None
    with pytest.raises(Poison):
        await running


def test_a_consumer_is_frozen_and_changed_by_copies() -> None:
    """The same value everywhere."""
    with pytest.raises(AttributeError, match="immutable"):
        flights.concurrency = 3  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    other = flights.using(concurrency=3, name="other")
    assert (other.concurrency, other.table, flights.table) == (3, "streamkit-other", "streamkit-flights")


async def _batch_and_more(record: Record, other: int) -> None: ...


async def _wants_more(record: Record, *, database: object) -> None: ...


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"concurrency": 0}, "concurrency: expected 1 to 10000, got 0"),
        ({"batch_size": 0}, "batch_size: expected 1 to 10000, got 0"),
        ({"linger": timedelta(hours=1)}, "linger: expected 0 to 300 s"),
        ({"handler_timeout": timedelta()}, "handler_timeout: expected more than 0"),
        ({"mode": "exactly_once"}, "mode: expected"),
        ({"on_dead_letter": "ignore"}, "on_dead_letter: expected 'continue', 'park' or 'halt', got 'ignore'"),
        ({"on_gap": "skip"}, "on_gap: expected 'resume' or 'halt', got 'skip'"),
        ({"on_success": Sqs("done", "bucket")}, "on_success: expected no bucket: what does not fit is told without"),
        ({"dead_letters": "queue"}, "dead_letters: expected Sqs(...) or None, got 'queue'"),
        ({"source": "stream"}, "source: expected Kinesis(...) or DynamoDBStream(...)"),
        ({"name": "no spaces please"}, "consumer name: expected"),
        ({"colour": "blue"}, "expected settings among"),
        ({"retrys": 3}, "got 'retrys' (did you mean 'retry'?)"),
        ({"handler": _batch_and_more}, "expected one positional parameter"),
        ({"handler": _wants_more}, "expected keyword-only parameters among ['state', 'tx'], got ['database']"),
    ],
)
def test_a_wrong_setting_says_what_was_expected_and_what_came(settings: dict[str, Any], expected: str) -> None:
    """Where it is made, not at three in the morning."""
    with pytest.raises(ConfigurationError) as caught:
        flights.using(**settings)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


async def orders(record: Record) -> None:
    """Do nothing."""


@pytest.mark.parametrize(
    ("declare", "expected"),
    [
        (
            lambda: consumer(orders),
            r'@consumer of orders: expected a name and a source .* @consumer\("orders", source=',
        ),
        (lambda: consumer.batch(orders), r'@consumer.batch of orders: .*: @consumer.batch\("orders", source='),
        (lambda: consumer(name=7, source=Kinesis("s"))(orders), "consumer name: expected .*, got 7"),  # type: ignore[call-overload] # wrong
        (lambda: consumer("orders")(orders), "source: expected Kinesis.*, got None"),  # type: ignore[call-overload] # wrong
    ],
)
def test_a_consumer_without_name_or_source_says_how_to_write_it(declare: Callable[[], object], expected: str) -> None:
    """Also for who forgot the parentheses."""
    with pytest.raises(ConfigurationError, match=expected):
        declare()


def test_a_batch_larger_than_the_window_is_refused() -> None:
    """It would never be full. One record at a time needs no batch."""
    small = Checkpoint(window=50)
    made = consumer.batch("batch", source=FLIGHTS, batch_size=50, checkpoint=small)(flights.handler)
    with pytest.raises(ConfigurationError, match=r"batch_size: expected at most checkpoint.window \(50\), got 51"):
        made.using(batch_size=51)
    consumer("single", source=FLIGHTS, batch_size=100, checkpoint=small)(flights.handler)


@pytest.mark.parametrize(
    "make",
    [
        lambda: DynamoDBStream(""),
        lambda: DynamoDBStream("no spaces"),
        lambda: DynamoDBStream("arn:aws:dynamodb:us-east-1:123456789012:table/flights/stream/2026-01-01T00:00:00.000"),
        lambda: DynamoDBStream("flights", start="latest"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        lambda: DynamoDBStream("flights", start=datetime(2026, 1, 1)),  # noqa: DTZ001 - that is what is wrong
        lambda: DynamoDBStream("flights", poll=timedelta(milliseconds=1)),
        lambda: Kinesis("changes", changes=True, compression="gzip"),
        lambda: Kinesis("flights", fan_out="a name"),
        lambda: Kinesis("flights", fan_out=""),
        lambda: Kinesis("changes", changes=True, kpl_only=True),
    ],
)
def test_a_wrong_source_of_changes_is_refused(make: Callable[[], object]) -> None:
    """Where it is made, with what was expected."""
    with pytest.raises(ConfigurationError, match="expected"):
        make()


def test_a_table_is_named_or_given_by_its_arn() -> None:
    """Its changes have no other settings than where to begin, whose they are and how fast to ask."""
    arn = "arn:aws:dynamodb:us-east-1:123456789012:table/flights"
    assert DynamoDBStream(arn).stream == arn
    assert DynamoDBStream("flights", start="LATEST").changes


async def test_a_consumer_of_changes_is_tested_like_any_other() -> None:
    """By changes that were built, or by their JSON; what is none is a dead letter."""
    seen: list[object] = []

    @consumer("audit", source=DynamoDBStream("flights"), dead_letters=Sqs("dlq"))
    async def audit(it: Change) -> None:
        seen.append((it.event, it.new))

    built = change({"id": "UA1"}, new={"id": "UA1"})
    result = await audit.settle([built])
    assert result.handled == (built,)
    again = await audit.settle([built.data, {"no": "change"}])
    assert [letter.reason.partition(":")[0] for letter in again.dead] == ["no change of DynamoDB"]
    assert seen == [("INSERT", {"id": "UA1"})] * 2
