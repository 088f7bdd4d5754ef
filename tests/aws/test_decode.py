"""Records decoded past the SDK's parser are what it would have made of them."""

import base64
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import botocore.session
import pytest
from botocore.parsers import create_parser
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict

from streamkit.aws.call import Call
from streamkit.aws.clients import Aws
from streamkit.aws.decode import RawRecord, decode_changes, decode_records, decode_row
from streamkit.aws.lean import Decode

SHAPE = botocore.session.get_session().get_service_model("kinesis").operation_model("GetRecords").output_shape

records = st.fixed_dictionaries(
    {
        "Data": st.binary(max_size=50).map(lambda data: base64.b64encode(data).decode()),
        "PartitionKey": st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
        "SequenceNumber": st.from_regex(r"[0-9]{1,56}", fullmatch=True),
        "ApproximateArrivalTimestamp": st.integers(0, 4_000_000_000_000).map(lambda millis: millis / 1000),
    },
    optional={"EncryptionType": st.sampled_from(["NONE", "KMS"]), "Later": st.integers()},
)
children = st.fixed_dictionaries(
    {
        "ShardId": st.text(min_size=1),
        "ParentShards": st.lists(st.text(min_size=1)),
        "HashKeyRange": st.just({"StartingHashKey": "0", "EndingHashKey": "9"}),
    }
)
answers = st.fixed_dictionaries(
    {"Records": st.lists(records, max_size=5)},
    optional={
        "NextShardIterator": st.text(min_size=1) | st.none(),
        "MillisBehindLatest": st.integers(0, 10**12),
        "ChildShards": st.lists(children, max_size=2),
        "Later": st.integers(),
    },
)


def response(body: bytes, status: int = 200) -> dict[str, Any]:
    """A raw answer, as the SDK hands it to the hook."""
    return {"status_code": status, "headers": {}, "body": body, "context": {}}


def parsed(body: bytes) -> dict[str, Any]:
    """What the SDK makes of it."""
    answer: dict[str, Any] = create_parser("json").parse(response(body), SHAPE)
    return answer


def as_ours(answer: dict[str, Any]) -> dict[str, Any]:
    """Moments as seconds, and nothing of a record but what becomes of it here, the way we have them."""
    for record in answer["Records"]:
        moment = record["ApproximateArrivalTimestamp"]
        assert isinstance(moment, datetime)
        record["ApproximateArrivalTimestamp"] = pytest.approx(moment.timestamp(), abs=1e-6)
        record.pop("EncryptionType", None)
    return answer


def as_dicts(ours: dict[str, Any]) -> dict[str, Any]:
    """Our values in the SDK's shape."""
    return ours | {"Records": [asdict(record) for record in ours["Records"]]}


@given(answers)
def test_decoded_answers_equal_the_sdks(answer: dict[str, Any]) -> None:
    """Every member we use, and none that the service's model does not know; only moments are plain seconds."""
    body = json.dumps(answer).encode()
    raw, ours = response(body), dict[str, Any]()
    decode_records(raw, ours)
    merged = create_parser("json").parse(raw, SHAPE) | as_dicts(ours)
    assert merged == as_ours(parsed(body))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xbf\x67Records\x80\xff",  # CBOR
        b'{"Records": [{"Data": "?"}]}',
        b'{"Records": null}',
        b'{"Records": [{"Data": "eA=="}]}',
        b"[]",
    ],
)
def test_what_does_not_decode_is_left_to_the_sdk(body: bytes) -> None:
    """An answer nobody foresaw is no reason to stop."""
    raw, ours = response(body), dict[str, Any]()
    decode_records(raw, ours)
    assert (raw["body"], ours) == (body, {})


def test_errors_are_left_to_the_sdk() -> None:
    """It knows their models."""
    raw, ours = response(b'{"Records": []}', 400), dict[str, Any]()
    decode_records(raw, ours)
    assert (raw["body"], ours) == (b'{"Records": []}', {})


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
binary = st.binary(max_size=5).map(lambda data: base64.b64encode(data).decode())
values = st.recursive(
    st.one_of(
        st.fixed_dictionaries({"S": texts}),
        st.fixed_dictionaries({"N": st.integers().map(str)}),
        st.fixed_dictionaries({"BOOL": st.booleans()}),
        st.fixed_dictionaries({"B": binary}),
        st.fixed_dictionaries({"BS": st.lists(binary, max_size=2)}),
    ),
    lambda children: (
        st.fixed_dictionaries({"L": st.lists(children, max_size=2)})
        | st.fixed_dictionaries({"M": st.dictionaries(texts, children, max_size=2)})
    ),
    max_leaves=4,
)
rows = st.fixed_dictionaries({}, optional={"Attributes": st.dictionaries(texts, values, max_size=4)})
WRITTEN = botocore.session.get_session().get_service_model("dynamodb").operation_model("UpdateItem").output_shape


@given(rows)
def test_rows_that_were_written_over_equal_the_sdks(answer: dict[str, Any]) -> None:
    """Whatever they hold: what is not plain text, number or truth is the SDK's to parse."""
    raw, ours = response(json.dumps(answer).encode()), dict[str, Any]()
    theirs: dict[str, Any] = create_parser("json").parse(dict(raw), WRITTEN)
    decode_row(raw, ours)
    merged: dict[str, Any] = create_parser("json").parse(raw, WRITTEN)
    assert merged | ours == theirs


def test_a_plain_row_costs_no_parsing() -> None:
    """The one that a function's claim brings back."""
    raw, ours = response(b'{"Attributes": {"v": {"N": "1"}, "moved": {"BOOL": true}}}'), dict[str, Any]()
    decode_row(raw, ours)
    assert (raw["body"], ours) == (b"{}", {"Attributes": {"v": {"N": "1"}, "moved": {"BOOL": True}}})


async def test_a_client_decodes_records_this_way(aws: Aws, name: str) -> None:
    """The SDK still has this hook: moments come as numbers."""
    kinesis: Call = await aws.call("kinesis")
    stream = {"StreamName": name}
    await kinesis("CreateStream", **stream, ShardCount=1)
    put = await kinesis("PutRecord", **stream, PartitionKey="k", Data=b"\x00data")
    place = {"ShardId": put["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
    iterator = (await kinesis("GetShardIterator", **stream, **place))["ShardIterator"]
    answer = await kinesis("GetRecords", ShardIterator=iterator)
    [record] = answer["Records"]
    assert isinstance(record, RawRecord)
    assert (record.Data, record.SequenceNumber) == (b"\x00data", put["SequenceNumber"])
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200


@pytest.mark.parametrize("decode", [decode_records, decode_changes, decode_row])
@pytest.mark.parametrize(
    ("body", "status", "decoded"),
    [
        (b'{"Records": []}', 200, (True, True, True)),
        (b"{}", 200, (False, False, True)),
        (b"[", 200, (False, False, False)),
        (b"{}", 400, (False, False, False)),
    ],
)
def test_whether_an_answer_was_decoded_is_said(
    decode: Decode, body: bytes, status: int, decoded: Sequence[bool]
) -> None:
    """The body does not tell: an object that came empty looks like one that was emptied."""
    index = (decode_records, decode_changes, decode_row).index(decode)
    assert decode(response(body, status), {}) is decoded[index]
