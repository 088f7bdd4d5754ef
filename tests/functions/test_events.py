"""Events: every shape that AWS documents, and anything else without a crash or a silent drop."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamkit.core.changes import Change
from streamkit.errors import MalformedEvent
from streamkit.runtimes.function.events import Intake, Part, parts, sequence_number
from streamkit.testing import aggregate
from tests.functions.stage import changes, kinesis, sequence

KINESIS = Intake(source="aws:kinesis", compression=None, changes=False, max_record_bytes=1000)
DYNAMODB = Intake(source="aws:dynamodb", compression=None, changes=True, max_record_bytes=1000)

# https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html
DOCUMENTED_KINESIS: dict[str, Any] = {
    "Records": [
        {
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": "1",
                "sequenceNumber": "49590338271490256608559692538361571095921575989136588898",
                "data": "SGVsbG8sIHRoaXMgaXMgYSB0ZXN0Lg==",
                "approximateArrivalTimestamp": 1545084650.987,
            },
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": "shardId-000000000006:49590338271490256608559692538361571095921575989136588898",
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": "arn:aws:iam::123456789012:role/lambda-role",
            "awsRegion": "us-east-2",
            "eventSourceARN": "arn:aws:kinesis:us-east-2:123456789012:stream/lambda-stream",
        }
    ]
}
# https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html
DOCUMENTED_DYNAMODB: dict[str, Any] = {
    "Records": [
        {
            "eventID": "1",
            "eventVersion": "1.0",
            "dynamodb": {
                "ApproximateCreationDateTime": 1479499740,
                "Keys": {"Id": {"N": "101"}},
                "NewImage": {"Message": {"S": "New item!"}, "Id": {"N": "101"}},
                "StreamViewType": "NEW_AND_OLD_IMAGES",
                "SequenceNumber": "111",
                "SizeBytes": 26,
            },
            "awsRegion": "us-west-2",
            "eventName": "INSERT",
            "eventSourceARN": "arn:aws:dynamodb:us-east-2:123456789012:table/my-table/stream/2024-06-10T19:26:16.525",
            "eventSource": "aws:dynamodb",
        },
        {
            "eventID": "c4ca4238a0b923820dcc509a6f75849b",
            "eventVersion": "1.1",
            "dynamodb": {
                "ApproximateCreationDateTime": 1479499741.0,
                "Keys": {"Id": {"N": "101"}},
                "OldImage": {"Message": {"S": "gone"}, "Id": {"N": "101"}, "Blob": {"B": "AAEqQQ=="}},
                "SequenceNumber": "4421584500000000017450439092",
                "SizeBytes": 38,
                "StreamViewType": "OLD_IMAGE",
            },
            "awsRegion": "us-west-2",
            "eventName": "REMOVE",
            "userIdentity": {"type": "Service", "principalId": "dynamodb.amazonaws.com"},
            "eventSourceARN": "arn:aws:dynamodb:us-east-2:123456789012:table/my-table/stream/2024-06-10T19:26:16.525",
            "eventSource": "aws:dynamodb",
        },
    ]
}
FAN_OUT = "arn:aws:kinesis:us-east-2:123456789012:stream/lambda-stream/consumer/readers:1545084711"
CHINA = "arn:aws-cn:kinesis:cn-north-1:123456789012:stream/lambda-stream"


def only(event: object, intake: Intake) -> Part:
    """Return the one part of an event."""
    [[part]] = parts(event, intake)
    return part


def test_the_documented_event_of_a_stream() -> None:
    """Everything is read, the shard out of the event's id."""
    part = only(DOCUMENTED_KINESIS, KINESIS)
    [record] = part.records
    assert (record.data, record.key) == (b"Hello, this is a test.", "1")
    assert record.id == "lambda-stream:shardId-000000000006:49590338271490256608559692538361571095921575989136588898:0"
    assert (record.arrived, part.shard, part.places) == (1545084650.987, "shardId-000000000006", [0])
    assert sequence_number(DOCUMENTED_KINESIS, 0) == record.sequence_number


@pytest.mark.parametrize("arn", [FAN_OUT, CHINA])
def test_the_stream_behind_a_fan_out_consumer_and_in_other_partitions(arn: str) -> None:
    """The stream's name is found in whatever ARN the mapping has."""
    event = copy.deepcopy(DOCUMENTED_KINESIS)
    event["Records"][0]["eventSourceARN"] = arn
    assert only(event, KINESIS).records[0].stream == "lambda-stream"


def test_the_documented_event_of_a_table() -> None:
    """Changes as the worker would hand them over; a deletion by TTL is told apart."""
    part = only(DOCUMENTED_DYNAMODB, DYNAMODB)
    insert, remove = part.records
    assert isinstance(insert, Change)
    assert isinstance(remove, Change)
    assert (insert.event, insert.new, insert.old) == ("INSERT", {"Message": "New item!", "Id": 101}, None)
    assert (remove.event, remove.old, remove.expired) == (
        "REMOVE",
        {"Message": "gone", "Id": 101, "Blob": b"\x00\x01*A"},
        True,
    )
    assert (insert.key, insert.stream, part.shard) == (remove.key, "my-table", "")
    assert sequence_number(DOCUMENTED_DYNAMODB, 1) == "4421584500000000017450439092"


def test_an_aggregate_is_taken_apart() -> None:
    """Its user records share a place in the event."""
    event = kinesis(1, 2, data=lambda _: aggregate([("a", 1), ("b", 2)]))
    part = only(event, KINESIS)
    assert [(record.key, record.subsequence) for record in part.records] == [("a", 0), ("b", 1)] * 2
    assert part.places == [0, 0, 1, 1]


def test_a_record_over_the_limit_is_a_dead_letter_not_an_error() -> None:
    """The event is sound; the record is not."""
    part = only(kinesis(1, data=lambda _: b"x" * 1001), KINESIS)
    assert part.records[0].defect == "expected at most 1000 bytes, got 1001"


def test_no_records_are_no_work() -> None:
    """Nothing came, nothing is dropped."""
    assert parts({"Records": []}, KINESIS) == []


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (None, "an event of a stream, got NoneType"),
        ([], "an event of a stream, got list"),
        ({}, "with a list of Records"),
        ({"Records": {}}, "with a list of Records, got dict"),
        ({"Records": ["x"]}, "record 0 of the event"),
        ({"Records": [], "isFinalInvokeForWindow": False, "state": {}}, "tumbling window"),
        ({"Records": [{"eventSource": "aws:sqs", "body": "secret"}]}, "aws:kinesis"),
    ],
)
def test_what_is_no_event_of_a_stream_is_refused(event: object, said: str) -> None:
    """With what was expected."""
    with pytest.raises(MalformedEvent, match=said):
        parts(event, KINESIS)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sequenceNumber", "12a"),
        ("sequenceNumber", ""),
        ("sequenceNumber", "1" * 130),
        ("sequenceNumber", 12),
        ("data", "*secret*"),
        ("data", "secret\ud800"),
        ("data", None),
        ("partitionKey", None),
        ("approximateArrivalTimestamp", "now"),
    ],
)
def test_a_field_that_is_wrong_is_named_and_not_quoted(field: str, value: object) -> None:
    """What it holds may be payload."""
    event = kinesis(1, 2)
    event["Records"][1]["kinesis"][field] = value
    with pytest.raises(MalformedEvent, match=rf"\$\[1\]\.kinesis\.{field}") as refusal:
        parts(event, KINESIS)
    assert "secret" not in str(refusal.value)
    assert "\\ud800" not in ascii(str(refusal.value))


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=8,
)
paths = st.sampled_from(
    [
        ("kinesis",),
        ("kinesis", "data"),
        ("kinesis", "sequenceNumber"),
        ("kinesis", "partitionKey"),
        ("kinesis", "approximateArrivalTimestamp"),
        ("dynamodb",),
        ("dynamodb", "SequenceNumber"),
        ("dynamodb", "Keys"),
        ("dynamodb", "NewImage"),
        ("dynamodb", "ApproximateCreationDateTime"),
        ("eventID",),
        ("eventName",),
        ("eventSource",),
        ("eventSourceARN",),
    ]
)


def spoilt(event: dict[str, Any], index: int, path: tuple[str, ...], value: object) -> dict[str, Any]:
    """Put any value anywhere."""
    entry = event["Records"][index]
    for name in path[:-1]:
        entry = entry.get(name) if isinstance(entry.get(name), dict) else entry
    entry[path[-1]] = value
    return event


@given(of_a_table=st.booleans(), index=st.integers(0, 3), path=paths, value=json)
def test_a_spoilt_event_is_read_whole_or_refused_whole(
    *, of_a_table: bool, index: int, path: tuple[str, ...], value: object
) -> None:
    """Whatever stands wherever: every entry has its records, or the event is refused with the one error for it."""
    event = spoilt(changes(1, 2, 3, 4) if of_a_table else kinesis(1, 2, 3, 4), index, path, value)
    read(event, DYNAMODB if of_a_table else KINESIS, 4)


@given(json)
def test_anything_is_an_event_or_is_refused(value: object) -> None:
    """No crash other than the clear error."""
    read(value, KINESIS, 0)
    read({"Records": value}, DYNAMODB, 0)
    read({"Records": [value]}, KINESIS, 1)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=30))
def test_changes_in_any_order_keep_the_order_of_their_keys(numbers: list[int]) -> None:
    """Cut where numbers do not ascend: parts ascend, none is lost, and put together they are as they came."""
    event = changes(*numbers)
    [chain] = parts(event, DYNAMODB)
    assert [place for part in chain for place in part.places] == list(range(len(numbers)))
    for part in chain:
        found = [record.sequence for record in part.records]
        assert found == sorted(set(found))


def read(event: object, intake: Intake, entries: int) -> None:
    """Read an event: all of its entries, or none with `MalformedEvent`."""
    try:
        found = parts(event, intake)
    except MalformedEvent:
        return
    places = {place for chain in found for part in chain for place in part.places}
    assert isinstance(event, Mapping)
    assert places == set(range(len(event["Records"]) if entries else 0)) or not entries
    for place in places:
        assert sequence_number(event, place).isdigit()
    assert sequence(0)
