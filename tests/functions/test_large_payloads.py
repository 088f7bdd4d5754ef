"""A function's dead letter over the queue's limit: the payload in the bucket first, by the one action it takes."""

from __future__ import annotations

from collections.abc import Callable

import boto3
import pytest

from streamkit import Kinesis, Poison, Record, Sqs, consumer
from streamkit.core.envelope import PayloadOmitted, read
from streamkit.runtimes.function import container
from tests.functions.stage import SETTLED, kinesis
from tests.functions.test_container import Context
from tests.functions.test_permissions import listen

LIMIT = 16_384


class InAHurry(Context):
    """Little time."""

    def get_remaining_time_in_millis(self) -> int:
        """Return what is left."""
        return 2_000


def test_a_payload_over_the_limit_is_in_the_bucket_and_its_record_settled(
    resource: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the bucket does not take it, the record comes again; a function that needs no bucket opens none."""
    name, used = resource(), set[str]()
    sqs = boto3.client("sqs")
    url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"MaximumMessageSize": str(LIMIT)})

    @consumer(name, source=Kinesis("stream"), dead_letters=Sqs(name, bucket=name))
    async def records(record: Record) -> None:
        raise Poison(record.key)

    listen(used, monkeypatch)
    payload = bytes(range(256)) * 200
    handler, large = records.lambda_handler, kinesis(2, data=lambda _: payload)
    assert handler(kinesis(1), Context()) == SETTLED
    assert not [each for each in used if each.startswith("s3:")]
    refused = handler(large, InAHurry())
    assert len(refused["batchItemFailures"]) == 1
    boto3.client("s3").create_bucket(Bucket=name)
    used.clear()
    assert handler(large, Context()) == SETTLED
    container.close()
    assert {each for each in used if each.startswith("s3:")} == {"s3:PutObject"}
    bodies = [each["Body"] for each in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]]
    assert max(map(len, bodies)) <= LIMIT
    with pytest.raises(PayloadOmitted) as omitted:
        list(map(read, bodies))
    kept = omitted.value.kept
    assert kept is not None
    there = boto3.client("s3").get_object(Bucket=kept.bucket, Key=kept.key)["Body"].read()
    assert omitted.value.whole(there).record.data == payload
