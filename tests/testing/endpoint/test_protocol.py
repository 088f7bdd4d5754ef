"""What the wire refuses."""

import random

import msgspec
import pytest

from streamkit.testing.endpoint.protocol import JSON, answer
from streamkit.testing.kinesis import KinesisError, KinesisWorld


@pytest.fixture
def world() -> KinesisWorld:
    """Return an empty world."""
    return KinesisWorld(clock=lambda: 1e9, chance=random.Random(1))


@pytest.mark.parametrize(
    ("operation", "body", "code"),
    [
        ("ListStreams", b"{", "SerializationException"),
        ("ListStreams", b"[]", "SerializationException"),
        ("ListStreams", b'{"Limit": "ten"}', "SerializationException"),
        ("PutRecord", b'{"StreamName": "s", "Data": "*", "PartitionKey": "k"}', "ValidationException"),
        ("PutRecord", b'{"StreamName": "s", "Data": ""}', "ValidationException"),
        ("Dance", b"{}", "UnknownOperationException"),
    ],
)
def test_a_request_that_is_none_is_refused_by_name(world: KinesisWorld, operation: str, body: bytes, code: str) -> None:
    """And says what was expected."""
    with pytest.raises(KinesisError) as refused:
        answer(world, operation, body, content_type=JSON)
    assert refused.value.code == code


def test_cbor_is_refused_with_the_way_out(world: KinesisWorld) -> None:
    """The Java SDK speaks it unless told otherwise."""
    with pytest.raises(KinesisError, match="AWS_CBOR_DISABLE=true"):
        answer(world, "ListStreams", b"\xa0", content_type="application/x-amz-cbor-1.1")


def test_unknown_fields_are_passed_over(world: KinesisWorld) -> None:
    """SDKs newer than we are still work."""
    body = answer(world, "ListStreams", b'{"Brand": "new"}', content_type=JSON)
    assert isinstance(body, bytes)
    assert msgspec.json.decode(body)["StreamNames"] == []
