"""Attribute values: exact, equal to what the SDK's own deserialiser makes of them, and bounded."""

import base64
import json
from decimal import Context, Decimal
from typing import Any

import msgspec
import pytest
from boto3.dynamodb.types import Binary, TypeDeserializer
from hypothesis import example, given
from hypothesis import strategies as st

from streamkit.core.values import MAX_DEPTH, Attribute, Key, canonical, number, plain
from streamkit.signals import Undecodable

Tagged = dict[str, Any]

_DYNAMODB = Context(prec=38)
_numbers = st.decimals(allow_nan=False, allow_infinity=False).map(_DYNAMODB.create_decimal).filter(
    lambda value: not value or (-130 <= value.adjusted() <= 125 and value.normalize(_DYNAMODB).adjusted() >= -90)
)  # fmt: skip
_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def numbers() -> st.SearchStrategy[str]:
    """Numbers of at most 38 digits, in several spellings."""
    return st.one_of(st.integers(-(10**38) + 1, 10**38 - 1).map(str), _numbers.map(str), _numbers.map("{:f}".format))


def tagged() -> st.SearchStrategy[Tagged]:
    """Attribute values as the SDK shows them: bytes are bytes."""
    scalars = st.one_of(
        st.builds(dict, S=_texts),
        st.builds(dict, N=numbers()),
        st.builds(dict, B=st.binary(max_size=8)),
        st.builds(dict, BOOL=st.booleans()),
        st.just({"NULL": True}),
        st.builds(dict, SS=st.lists(_texts, min_size=1, max_size=3, unique=True)),
        st.builds(dict, NS=st.lists(st.integers(-99, 99).map(str), min_size=1, max_size=3, unique=True)),
        st.builds(dict, BS=st.lists(st.binary(max_size=4), min_size=1, max_size=3, unique=True)),
    )
    return st.recursive(
        scalars,
        lambda inner: st.one_of(
            st.builds(dict, L=st.lists(inner, max_size=3)),
            st.builds(dict, M=st.dictionaries(_texts, inner, max_size=3)),
        ),
        max_leaves=8,
    )


def decoded(images: object) -> dict[str, Any]:
    """Return what our decoder makes of attributes, from the JSON the service would send."""
    return plain(msgspec.json.decode(msgspec.json.encode(images), type=dict[str, Attribute]))


def key(**attributes: Tagged) -> str:
    """Return the canonical string of a key, from its JSON."""
    return canonical(msgspec.json.decode(msgspec.json.encode(attributes), type=Key))


def without_binary(value: object) -> object:
    """Return the SDK's value with bytes for its own class of binary values."""
    if isinstance(value, Binary):
        return value.value
    if isinstance(value, dict):
        return {name: without_binary(each) for name, each in value.items()}
    if isinstance(value, list | set):
        return type(value)(without_binary(each) for each in value)
    return value


@given(st.dictionaries(_texts, tagged(), max_size=4))
def test_images_are_what_the_sdk_makes_of_them(image: dict[str, Tagged]) -> None:
    """Equal to boto3's TypeDeserializer, an int being equal to its Decimal."""
    theirs = {name: without_binary(TypeDeserializer().deserialize(value)) for name, value in image.items()}
    assert decoded(image) == theirs


@given(st.dictionaries(_texts, tagged(), max_size=4))
def test_no_float_comes_out(image: dict[str, Tagged]) -> None:
    """Nowhere in any image: a float would have been rounded."""

    def walk(value: object) -> None:
        assert not isinstance(value, float)
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, list | set):
            for each in value:
                walk(each)

    walk(decoded(image))


@given(_numbers)
@example(Decimal("-0"))
@example(Decimal("1E+125"))
@example(Decimal("1E-130"))
def test_whole_numbers_are_ints_whatever_their_spelling(value: Decimal) -> None:
    """The type says what the number is, not how it was written; the value is exact."""
    for spelling in (str(value), f"{value:f}", f"{value:E}"):
        exact = number(spelling)
        assert exact == value
        assert isinstance(exact, int) == (value == value.to_integral_value())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "NaN",
        "Infinity",
        "1_000",
        " 1",
        "0x1",
        "1e",
        "٣",
        "1" * 39,
        "1E+126",
        "1E-131",
        "1E+999999999",
        "9" * 5000,
    ],
)
def test_what_is_no_number_of_dynamodb_is_refused(text: str) -> None:
    """Never rounded, and never 5,000 digits or an exponent that fills the memory."""
    with pytest.raises(Undecodable, match=r"expected a .*number"):
        number(text)


def test_a_number_written_out_is_taken_although_it_has_more_digits() -> None:
    """The service writes 1E+100 as a one and a hundred zeros; the SDK's deserialiser refuses that one."""
    assert number("1" + "0" * 100) == 10**100


@pytest.mark.parametrize(
    "value",
    [{}, {"S": 1}, {"N": 1}, {"S": None}, {"X": "y"}, {"B": "not base64!"}, {"SS": "a"}, {"M": {"a": "b"}}, "s"],
)
def test_what_is_no_attribute_value_is_refused(value: object) -> None:
    """By the decoder, or by what takes the value out."""
    with pytest.raises((Undecodable, msgspec.ValidationError)):
        decoded({"a": value})


def nested(levels: int) -> Tagged:
    """Return lists in lists."""
    value: Tagged = {"S": "x"}
    for _ in range(levels):
        value = {"L": [value]}
    return value


def test_depth_is_bounded() -> None:
    """DynamoDB nests 32 levels; far more than that is an error of its own, not the interpreter's."""
    assert decoded({"a": nested(MAX_DEPTH)})
    with pytest.raises(Undecodable, match="at most 40 levels"):
        decoded({"a": nested(MAX_DEPTH + 1)})


# --------------------------------------------------------------------------------------------- keys


def test_a_key_is_one_string_however_it_is_written() -> None:
    """Order of attributes and spelling of numbers make no other key."""
    assert key(a={"S": "x"}, b={"N": "1"}) == '{"a":{"S":"x"},"b":{"N":"1"}}' == key(b={"N": "1"}, a={"S": "x"})
    assert len({key(b={"N": text}, a={"S": "x"}) for text in ("1", "1.0", "1E0", "+1", "0.1e1", "1.00")}) == 1
    assert key(n={"N": "-0"}) == key(n={"N": "0"}) == key(n={"N": "0E+5"})


def test_a_key_can_be_given_back_to_dynamodb() -> None:
    """It is the service's own JSON: what is logged of a letter can be pasted into `aws dynamodb get-item --key`."""
    assert json.loads(key(b={"B": base64.b64encode(b"\xff\x00").decode()})) == {"b": {"B": "/wA="}}
    assert json.loads(key(n={"N": "150E-2"})) == {"n": {"N": "1.5"}}


_parts: st.SearchStrategy[Tagged] = st.one_of(
    st.builds(dict, S=_texts),
    st.builds(dict, N=st.integers(-99, 99).map(str)),
    st.builds(dict, B=st.binary(max_size=4)),
)
_keys = st.dictionaries(st.sampled_from(["a", "b"]), _parts, min_size=1, max_size=2)


@given(_keys, _keys)
def test_keys_are_one_string_only_if_they_are_one_key(one: dict[str, Tagged], other: dict[str, Tagged]) -> None:
    """Two items never share a lane by accident of spelling."""
    assert (key(**one) == key(**other)) == (one == other)


@pytest.mark.parametrize("value", [{}, {"BOOL": True}, {"N": "x"}, {"L": []}])
def test_what_no_key_attribute_can_be_is_refused(value: Tagged) -> None:
    """Strings, numbers and bytes are all there is."""
    with pytest.raises((Undecodable, msgspec.ValidationError)):
        key(a=value)
