"""Changes: one value, whichever way it came; nothing of it lost, rounded or made up."""

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streamkit.core.changes import Change, carried, change, parsed
from streamkit.core.records import Origin, Record
from streamkit.signals import Undecodable

TABLE = Origin("flights", "shardId-00000001414576573621-f55eea83")
EVENT_ID = "c4ca4238a0b923820dcc509a6f75849b"


def entry(**changes: Any) -> dict[str, Any]:
    """Return a change as GetRecords answers and Lambda events have it."""
    body = {
        "ApproximateCreationDateTime": 1_356_998_400.0,
        "Keys": {"day": {"N": "1.0"}, "flight": {"S": "UA1545"}},
        "NewImage": {"flight": {"S": "UA1545"}, "day": {"N": "1"}, "delay": {"N": "11.5"}, "raw": {"B": "/wA="}},
        "OldImage": {"flight": {"S": "UA1545"}, "day": {"N": "1"}, "delay": {"NULL": True}},
        "SequenceNumber": "4421584500000000017450439091",
        "SizeBytes": 80,
        "StreamViewType": "NEW_AND_OLD_IMAGES",
    }
    return {
        "eventID": EVENT_ID,
        "eventName": "MODIFY",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "us-east-1",
        "dynamodb": body | changes.pop("dynamodb", {}),
        **changes,
    }


def of(**changes: Any) -> Change:
    """Return the change that a reader makes of an entry."""
    made = change(json.dumps(entry(**changes)).encode(), TABLE)
    assert isinstance(made, Change)
    return made


def test_a_change_says_what_happened_to_which_item() -> None:
    """Plain values: int where whole, Decimal where not, bytes, None."""
    it = of()
    assert (it.event, it.expired, it.event_id) == ("MODIFY", False, EVENT_ID)
    assert it.keys == {"flight": "UA1545", "day": 1}
    assert it.new == {"flight": "UA1545", "day": 1, "delay": Decimal("11.5"), "raw": b"\xff\x00"}
    assert it.old == {"flight": "UA1545", "day": 1, "delay": None}
    assert it.key == '{"day":{"N":"1"},"flight":{"S":"UA1545"}}'
    assert (it.sequence, it.arrived, it.changed_at.isoformat()) == (
        4421584500000000017450439091,
        1_356_998_400.0,
        "2013-01-01T00:00:00+00:00",
    )


def test_data_is_the_whole_change() -> None:
    """So that its dead letter holds all of it, fields included that nobody reads here."""
    text = json.dumps(entry(tomorrow={"x": 1}))
    assert change(text.encode(), TABLE).data == text.encode()
    assert of().json()["dynamodb"]["SizeBytes"] == 80


def test_an_image_that_the_stream_does_not_carry_is_none() -> None:
    """By the view type of the stream, or because there was no such item."""
    body = entry()["dynamodb"]
    del body["OldImage"], body["NewImage"]
    it = change(json.dumps({**entry(eventName="INSERT"), "dynamodb": body}).encode(), TABLE)
    assert isinstance(it, Change)
    assert (it.old, it.new) == (None, None)


def test_an_image_is_decoded_once() -> None:
    """And not at all before anybody asks."""
    it = of()
    assert it.new is it.new
    broken = of(dynamodb={"NewImage": {"a": {"N": "x"}}})
    with pytest.raises(Undecodable, match="expected a DynamoDB number"):
        _ = broken.new


@pytest.mark.parametrize(
    ("event", "by", "expired"),
    [
        ("REMOVE", {"type": "Service", "principalId": "dynamodb.amazonaws.com"}, True),
        ("REMOVE", {"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"}, True),
        ("REMOVE", {"type": "User", "principalId": "someone"}, False),
        ("REMOVE", None, False),
        ("MODIFY", {"type": "Service", "principalId": "dynamodb.amazonaws.com"}, False),
    ],
)
def test_an_item_whose_time_was_over_was_deleted_by_nobody(event: str, by: object, *, expired: bool) -> None:
    """The service says so by who did it; its API and its events write the names differently."""
    assert of(eventName=event, userIdentity=by).expired is expired


def test_the_id_is_the_same_for_every_delivery() -> None:
    """Lambda events name no shard: the service's own id of the change is what all ways have in common."""
    here, elsewhere = of(), parsed(entry(), Origin("flights", "unknown"))
    assert here.id == elsewhere.id == replace(here, attempt=3, redriven=True).id == f"flights:{EVENT_ID}"
    assert of(eventID="").id == f"flights:{TABLE.shard}:4421584500000000017450439091:0"


def test_a_parsed_entry_is_the_same_change() -> None:
    """What Lambda parsed is written again: values are equal, texts of numbers untouched."""
    mine, theirs = of(), parsed(entry(), TABLE)
    assert isinstance(theirs, Change)
    assert (theirs.key, theirs.new, theirs.old, theirs.keys) == (mine.key, mine.new, mine.old, mine.keys)
    assert replace(theirs, data=b"") == replace(mine, data=b"")


def test_a_change_inside_of_a_kinesis_record_is_the_same_change() -> None:
    """Its place is the Kinesis record's; its time is the change's, which there counts in millionths of a second."""
    micros = {
        "ApproximateCreationDateTime": 1_356_998_400_123_456,
        "ApproximateCreationDateTimePrecision": "MICROSECOND",
    }
    body = entry()["dynamodb"] | micros
    del body["SequenceNumber"]
    data = json.dumps(
        {**entry(), "dynamodb": body, "recordFormat": "application/json", "tableName": "flights"}
    ).encode()
    record = Record(data, "F00BA4", "49590", Origin("changes", "shardId-000000000000"), 1_356_998_401.5, attempt=2)
    it = carried(record)
    assert isinstance(it, Change)
    assert (it.event, it.keys, it.old, it.new, it.key) == (of().event, of().keys, of().old, of().new, of().key)
    assert (it.changed, it.arrived, it.attempt) == (1_356_998_400.123456, 1_356_998_401.5, 2)
    assert (it.position, it.data, it.id) == (record.position, data, f"changes:{EVENT_ID}")


def test_a_kinesis_record_that_carries_no_change_gets_a_defect() -> None:
    """It becomes a dead letter as it is; a defect it had stays."""
    record = Record(b"hello", "k", "1", Origin("changes", "s"), 0.0)
    assert carried(record).defect == "no change of DynamoDB: expected JSON, got 5 bytes of something else"
    assert carried(replace(record, defect="too large")).defect == "too large"


@pytest.mark.parametrize(
    "changes",
    [
        {"eventName": "RENAME"},
        {"dynamodb": {"Keys": None}},
        {"dynamodb": {"Keys": {"a": {"N": "1" * 5000}}}},
        {"dynamodb": {"ApproximateCreationDateTime": 1e300}},
        {"dynamodb": {"ApproximateCreationDateTime": "now"}},
    ],
)
def test_what_is_no_change_gets_a_defect_in_its_place(changes: dict[str, Any]) -> None:
    """It has a place in its shard and is settled there, as a dead letter that holds all of it."""
    data = json.dumps(entry(**changes)).encode()
    bad = change(data, TABLE)
    assert not isinstance(bad, Change)
    assert bad.defect is not None
    assert (bad.data, bad.sequence_number) == (data, entry()["dynamodb"]["SequenceNumber"])


@pytest.mark.parametrize("number", [None, "", "x", "-1", "1" * 130, "٣"])
def test_what_has_no_place_is_refused(number: object) -> None:
    """Nothing could be settled of it."""
    with pytest.raises(Undecodable):
        change(json.dumps(entry(dynamodb={"SequenceNumber": number})).encode(), TABLE)


@given(st.binary(max_size=64) | st.text(max_size=64).map(str.encode))
def test_garbage_is_undecodable_and_nothing_else(data: bytes) -> None:
    """Whatever the bytes are."""
    with pytest.raises(Undecodable):
        change(data, TABLE)


def test_nesting_without_end_is_undecodable() -> None:
    """Not the interpreter's own error."""
    deep = b'{"dynamodb":{"SequenceNumber":"1","Keys":' + b'{"a":' * 100_000
    with pytest.raises(Undecodable):
        change(deep, TABLE)
    image = b'{"L":[' * 50 + b'{"S":"x"}' + b"]}" * 50
    it = change(json.dumps(entry()).encode().replace(b'{"NULL": true}', image), TABLE)
    assert isinstance(it, Change)
    with pytest.raises(Undecodable, match="at most 40 levels"):
        _ = it.old


def test_a_defect_quotes_nothing_of_the_change() -> None:
    """Reasons are logged, payloads are not (rule 31)."""
    bad = change(json.dumps(entry(dynamodb={"Keys": {"secret": {"S": 5}}})).encode(), TABLE)
    assert "secret" not in str(bad.defect)


def test_a_change_is_a_value() -> None:
    """Equal and hashable by what it is, whether or not an image has been looked at."""
    one, other = of(), of()
    _ = one.new
    assert one == other
    assert hash(one) == hash(other)
    assert msgspec.structs.replace(one, attempt=2).new == other.new
