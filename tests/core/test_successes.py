"""How a success looks in its queue."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streamkit import Record
from streamkit.core.envelope import Unreadable
from streamkit.core.records import Origin
from streamkit.core.successes import Success, envelope, read
from streamkit.testing import change, record

ARN = "arn:aws:kinesis:us-east-1:123456789012:stream/flights"
ROOM = 256 * 1024
LEAST = 16 * 1024
"""The smallest limit of a queue that is taken."""
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
records = st.builds(
    Record,
    data=st.binary(max_size=200),
    key=texts,
    sequence_number=st.integers(0, 10**129 - 1).map(str),
    origin=st.builds(Origin, texts, texts, st.none() | st.sampled_from(["gzip", "zlib", "zstd", "auto"])),
    arrived=st.floats(0, 4e9),
    subsequence=st.integers(0, 10_000),
    last=st.booleans(),
    attempt=st.integers(1, 100),
    redriven=st.booleans(),
    replayed=st.booleans(),
)


def success(told: Record) -> Success:
    """The success of a record."""
    return Success(told, "flights", "v7", ARN, 17.5)


@given(records)
def test_what_is_told_is_read_back(told: Record) -> None:
    """Record, payload and flags, as they were."""
    assert read(envelope(success(told), limit_bytes=ROOM).body) == success(told)


def test_a_change_is_read_back_as_a_change() -> None:
    """With its images."""
    told = success(change({"id": 7}, new={"id": 7, "left": 3}))
    assert read(envelope(told, limit_bytes=ROOM).body) == told


def test_the_page_lists_every_field_of_a_message() -> None:
    """And no other."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "successes.md").read_text(encoding="utf-8")
    table = page.partition("| Field |")[2]
    listed = {
        name for line in table.splitlines() for name in re.findall(r"`(\w+)`", line.split("|")[1 if "|" in line else 0])
    }
    [document] = json.loads(envelope(success(record(b"x")), limit_bytes=ROOM).body).values()
    assert listed == document.keys()


def test_a_message_is_text_of_ascii_with_its_payload_in_base64() -> None:
    """Whatever the key; everything under one name."""
    [document] = json.loads(envelope(success(record(b"x")), limit_bytes=ROOM).body).values()
    assert document["condition"] == "Success"
    assert (document["payload"], document["payloadOmitted"], document["handled"]) == ("eA==", None, 17.5)
    assert "\\ud83d" in envelope(success(record(b"", key="\N{SKULL}\N{GRINNING FACE}")), limit_bytes=ROOM).body


@pytest.mark.parametrize("key", ["N1", "\N{SKULL}" * 256, "\ud800" * 2000])
def test_what_does_not_fit_is_told_without_its_payload(key: str) -> None:
    """And says so: it can be read from the stream again, by the position that is there."""
    put = envelope(success(record(bytes(LEAST), key=key)), limit_bytes=LEAST)
    assert len(put.body) <= LEAST
    assert put.truncated
    [document] = json.loads(put.body).values()
    assert document["payload"] is None
    assert document["payloadOmitted"] == {"bytes": LEAST, "limit": LEAST}
    assert read(put.body).record.data == b""


def test_a_success_is_queued_once_by_a_fifo_queue_and_apart_from_its_letter_and_its_replay() -> None:
    """The same id whenever it is told again; in the order of its key."""
    one = record(b"x")
    ids = {
        envelope(each, limit_bytes=ROOM).deduplication_id
        for each in (success(one), replace(success(one), handled=99.0), success(replace(one, attempt=3)))
    }
    again = envelope(success(replace(one, replayed=True)), limit_bytes=ROOM)
    assert len(ids) == 1
    assert again.deduplication_id not in ids
    assert again.group_id == one.key


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("{}", "expected a success told by streamkit"),
        ('{"streamkit": 7}', "expected a success told by streamkit"),
        (
            envelope(success(record(b"")), limit_bytes=ROOM).body.replace('"schema":1', '"schema":2'),
            "schema 1, got schema 2",
        ),
        (
            envelope(success(record(b"")), limit_bytes=ROOM).body.replace('"Success"', '"Poison"'),
            "expected a success told by streamkit",
        ),
        (" " * (17 * 2**20), "characters"),
    ],
)
def test_anything_else_is_refused(body: str, why: str) -> None:
    """A dead letter too."""
    with pytest.raises(Unreadable, match=why):
        read(body)
