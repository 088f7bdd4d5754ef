"""The builders, and the package they are found in."""

from __future__ import annotations

import subprocess
import sys

import pytest

from streamkit import testing
from streamkit.core import kpl
from streamkit.testing import aggregate, letter, record, records


def test_a_record_needs_nothing() -> None:
    """Every field has a sane default; payloads are bytes or become JSON."""
    assert record().data == b""
    assert record().key == "k"
    assert record({"dep_delay": 4}).json() == {"dep_delay": 4}
    assert record("text").json() == "text"
    assert record(b"raw", sequence=7).sequence == 7


def test_records_are_numbered_and_take_their_keys_in_turn() -> None:
    """The payload is the number, so that a test can tell them apart."""
    built = records(5, keys=("a", "b"), first=9)
    assert [one.sequence for one in built] == [9, 10, 11, 12, 13]
    assert [one.key for one in built] == ["a", "b", "a", "b", "a"]
    assert [one.json() for one in built] == [9, 10, 11, 12, 13]


def test_a_letter_is_of_its_record() -> None:
    """With a reason and a condition."""
    of = record(b"x")
    assert letter(of, reason="why").record == of
    assert letter(of, reason="why").reason == "why"


def test_an_aggregate_comes_apart_into_what_was_put_in() -> None:
    """The same format that KPL producers write."""
    parts = [("a", b"1"), ("b", b"2" * 300), ("a", b"")]
    found = kpl.expand(record(aggregate(parts), key="a"))
    assert [(one.key, one.data) for one in found] == parts


def test_importing_testing_needs_nothing_else() -> None:
    """Neither moto nor hypothesis nor pytest nor aiohttp, not even when its worlds are used."""
    program = (
        "import sys, streamkit.testing as t; [getattr(t, name) for name in t.__all__]; "
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    answer = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True)
    assert {"moto", "hypothesis", "pytest", "aiohttp", "boto3"} & set(answer.stdout.split()) == set()


def test_an_unknown_name_is_an_attribute_error() -> None:
    """Lazy names fail like others."""
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = testing.nonsense
