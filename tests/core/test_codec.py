"""What a payload may do to the decoder: be decoded, or be named as undecodable. Nothing else."""

import gzip
import random
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pydantic
import pytest
from backports import zstd
from hypothesis import example, given
from hypothesis import strategies as st

from streamkit.core import codec
from streamkit.core.codec import Compression
from streamkit.errors import ConfigurationError
from streamkit.signals import Undecodable

COMPRESS: dict[Compression, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "zstd": zstd.compress,
}
NAMED: list[Compression] = ["gzip", "zlib", "zstd"]
SELF_NAMING: list[Compression] = ["gzip", "zstd"]
MARKER = "canary7f3a"

# --------------------------------------------------------------------------------------------- decompression


@given(data=st.binary(max_size=10_000), name=st.sampled_from(NAMED))
def test_what_was_compressed_comes_back(data: bytes, name: Compression) -> None:
    """For every payload and every compression."""
    assert codec.decompress(COMPRESS[name](data), name) == data


@given(parts=st.lists(st.binary(max_size=50_000), min_size=1, max_size=4), name=st.sampled_from(SELF_NAMING))
def test_members_that_follow_each_other_are_one_payload(parts: list[bytes], name: Compression) -> None:
    """RFC 1952, 2.2 and RFC 8878, 3: concatenated members decompress to the concatenated data."""
    assert codec.decompress(b"".join(COMPRESS[name](part) for part in parts), name) == b"".join(parts)


@pytest.mark.parametrize("name", SELF_NAMING)
def test_auto_knows_gzip_and_zstd(name: Compression) -> None:
    """By their magic numbers."""
    assert codec.decompress(COMPRESS[name](b"payload"), "auto") == b"payload"


@given(data=st.binary())
@example(b"")
@example(b"x^2 + y^2")
@example(zlib.compress(b"zlib"))
def test_auto_returns_other_data_as_it_is(data: bytes) -> None:
    """Also what begins like zlib, whose header plain data can begin with."""
    if not data.startswith((b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd")):
        assert codec.decompress(data, "auto") is data


def test_only_one_layer_is_undone() -> None:
    """What was compressed twice comes out compressed once: bombs nest."""
    inner = gzip.compress(b"payload")
    assert codec.decompress(gzip.compress(inner), "gzip") == inner


def test_zeros_may_pad_a_gzip_member() -> None:
    """As blocks of a tape do; gzip reads them so."""
    assert codec.decompress(gzip.compress(b"payload") + bytes(512), "gzip") == b"payload"


def test_a_skippable_zstd_frame_is_skipped() -> None:
    """RFC 8878, 3.1.2: user data between the frames, before and behind."""
    skippable = b"\x5f\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"abc"
    frame = zstd.compress(b"payload")
    assert codec.decompress(skippable + frame + skippable + frame, "zstd") == b"payload" * 2


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("behind", [b"\x00x", b"trailing", b"\x1f\x8b", b"\x28\xb5"])
def test_anything_else_behind_the_end_is_refused(name: Compression, behind: bytes) -> None:
    """It would be payload dropped silently."""
    with pytest.raises(Undecodable, match="expected the end"):
        codec.decompress(COMPRESS[name](b"payload") + behind, name)


@pytest.mark.parametrize("name", NAMED)
def test_every_truncation_is_refused(name: Compression) -> None:
    """No prefix of compressed data passes for the whole."""
    whole = COMPRESS[name](bytes(range(256)) * 3)
    for length in range(len(whole)):
        with pytest.raises(Undecodable):
            codec.decompress(whole[:length], name)


@given(data=st.binary(min_size=1, max_size=300), name=st.sampled_from(NAMED), seed=st.randoms())
def test_damage_is_named_or_harmless(data: bytes, name: Compression, seed: random.Random) -> None:
    """Whatever byte is turned, the outcome is a payload or `Undecodable`."""
    damaged = bytearray(COMPRESS[name](data))
    damaged[seed.randrange(len(damaged))] ^= 1 << seed.randrange(8)
    try:
        codec.decompress(bytes(damaged), name)
    except Undecodable as fault:
        assert fault.reason.startswith("expected ")  # noqa: PT017 - not every damage is noticed


@pytest.mark.parametrize("name", NAMED)
def test_up_to_the_free_size_any_ratio_will_do(name: Compression) -> None:
    """A small record of a dull kind is no bomb; one byte more is."""
    allowed = COMPRESS[name](bytes(codec.FREE_BYTES))
    assert len(codec.decompress(allowed, name)) == codec.FREE_BYTES
    with pytest.raises(Undecodable, match="got more of them"):
        codec.decompress(COMPRESS[name](bytes(codec.FREE_BYTES + 1)), name)


@pytest.mark.parametrize("name", NAMED)
def test_a_bomb_costs_no_more_than_its_allowance(name: Compression) -> None:
    """128 MiB in a few KB are refused after the little that is allowed."""
    bomb = COMPRESS[name](bytes(2**27))
    tracemalloc.start()
    try:
        with pytest.raises(Undecodable):
            codec.decompress(bomb, name)
        assert tracemalloc.get_traced_memory()[1] < 2 * codec.MAX_RATIO * len(bomb) + 2**23
    finally:
        tracemalloc.stop()


def test_concatenated_bombs_share_one_allowance() -> None:
    """The limit is on the payload, not on each member."""
    with pytest.raises(Undecodable, match="got more of them"):
        codec.decompress(gzip.compress(bytes(2**20)) * 100, "gzip")


def test_no_more_than_the_absolute_limit_comes_out() -> None:
    """Even where the ratio is honest."""
    noise = bytes(range(256)) * 4096
    with pytest.raises(Undecodable, match=str(codec.MAX_BYTES)):
        codec.decompress(gzip.compress(noise, 0) * 65, "gzip")


def test_a_flood_of_empty_members_ends() -> None:
    """Each costs time and yields nothing."""
    with pytest.raises(Undecodable, match="members"):
        codec.decompress(gzip.compress(b"") * (codec.MAX_MEMBERS + 1), "gzip")


def test_a_zstd_window_beyond_the_limit_is_refused() -> None:
    """A header may ask for 2 GiB of memory before the first byte comes out."""
    header = b"\x28\xb5\x2f\xfd" + b"\x00" + bytes([(31 - 10) << 3])
    with pytest.raises(Undecodable):
        codec.decompress(header + b"\x01\x00\x00", "zstd")


def test_without_a_zstd_library_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing library is the deployment's fault: no record may be condemned for it."""
    monkeypatch.setitem(sys.modules, "backports", None)
    monkeypatch.setitem(sys.modules, "compression", None)
    with pytest.raises(ConfigurationError, match=r"streamkit\[zstd\]"):
        codec.decompress(zstd.compress(b"payload"), "auto")


# --------------------------------------------------------------------------------------------- text and JSON


class Flight(msgspec.Struct, forbid_unknown_fields=True):
    """A typed payload."""

    delay: int
    carrier: Literal["UA", "DL"] = "UA"


@dataclass
class Plane:
    """A standard dataclass."""

    tail: str


class Weather(TypedDict):
    """A typed dictionary."""

    wind: float


class Airport(pydantic.BaseModel):
    """A pydantic model."""

    model_config = pydantic.ConfigDict(extra="forbid")
    code: str = pydantic.Field(max_length=3)
    gates: dict[str, int] = {}
    height: float = 0.0


class Direction(Enum):
    """An enumeration."""

    IN = "in"


class Checked(msgspec.Struct):
    """A type that checks itself, and is talkative."""

    delay: int

    def __post_init__(self) -> None:
        raise ValueError(f"no good: {self.delay} - at `$.{MARKER}`")


class Careful(pydantic.BaseModel):
    """The same, as a pydantic model."""

    code: str

    @pydantic.field_validator("code")
    @classmethod
    def no_good(cls, value: str) -> str:
        """Refuse every value, and say which it was."""
        raise ValueError(f"no good: {value}")


@pytest.mark.parametrize(
    ("data", "kind", "value"),
    [
        (b'{"delay": 11}', Any, {"delay": 11}),
        (b'{"delay": 11}', Flight, Flight(11)),
        (b'{"tail": "N14228"}', Plane, Plane("N14228")),
        (b'{"wind": 1}', Weather, {"wind": 1.0}),
        (b'{"code": "EWR"}', Airport, Airport(code="EWR")),
        (b"[1, 2]", list[int], [1, 2]),
        (b'"in"', Direction, Direction.IN),
        (b"null", int | None, None),
    ],
)
def test_json_becomes_the_type_asked_for(data: bytes, kind: object, value: object) -> None:
    """Structs, dataclasses, typed dictionaries, pydantic models and plain types."""
    assert codec.json(data, kind) == value


HOSTILE = {
    "empty": b"",
    "blank": b" ",
    "broken": b'{"delay": canary7f3a}',
    "cut off": b'{"delay": 1',
    "trailing": b'{"delay": 1} canary7f3a',
    "nested": b"[" * 200_000,
    "nested objects": b'{"delay":' * 200_000,
    "long integer": b'{"delay":' + b"9" * 5_000 + b"}",
    "not a number": b'{"delay": NaN}',
    "infinite": b'{"height": Infinity, "code": "EWR"}',
    "overflowing": b'{"delay": 1e999}',
    "lone surrogate": b'{"delay": "\\ud800"}',
    "half a pair": b'{"delay": "\\ud800\\u0041"}',
    "not UTF-8": b'{"delay": "\xff"}',
    "encoded surrogate": b'{"delay": "\xed\xa0\x80"}',
    "UTF-16": '{"delay": 1}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"delay": 1}',
    "binary": bytes(range(256)),
}


@pytest.mark.parametrize("kind", [Any, Flight, Plane, Weather, Airport, dict[str, float]])
@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_json_is_undecodable(data: bytes, kind: object) -> None:
    """A typed error for every kind of type, and never a crash."""
    with pytest.raises(Undecodable) as fault:
        codec.json(data, kind)
    assert MARKER not in str(fault.value)
    assert len(str(fault.value)) < 300


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (f'{{"delay": "{MARKER}"}}', Flight),
        (f'{{"delay": 1, "carrier": "{MARKER}"}}', Flight),
        (f'{{"delay": 1, "carrier": "{MARKER} - at `$.x`"}}', Flight),
        (f'{{"delay": 1, "{MARKER}": 1}}', Flight),
        (f'{{"delay": 1, "{MARKER} - at `$.x`": 1}}', Flight),
        (f'["{MARKER}"]', list[Direction]),
        (f'"{MARKER}"', Literal["a", "b"]),
        (f'"{MARKER}"', Annotated[str, msgspec.Meta(max_length=3)]),
        (f'{{"{MARKER}": "x"}}', dict[str, int]),
        (f'{{"{MARKER}": 1}}', dict[int, int]),
        ('{"delay": 7777}', Checked),
        (f'{{"code": "{MARKER}"}}', Airport),
        (f'{{"code": "EWR", "{MARKER}": 1}}', Airport),
        (f'{{"code": "EWR", "gates": {{"{MARKER}": "x"}}}}', Airport),
        (f'{{"code": "{MARKER}"}}', Careful),
        (f'"{MARKER}"', Airport),
    ],
)
def test_no_message_quotes_the_payload(data: str, kind: object) -> None:
    """Neither a value nor a key of it, by whichever library and whichever check of a user's own (rule 31)."""
    with pytest.raises(Undecodable) as fault:
        codec.json(data.encode(), kind)
    assert MARKER not in str(fault.value)
    assert "7777" not in str(fault.value)
    assert fault.value.__cause__ is None
    assert fault.value.__suppress_context__


def test_messages_name_the_field_of_the_type() -> None:
    """What is known from the type itself is said, because it helps."""
    with pytest.raises(Undecodable, match=r"Expected `int`, got `str` - at `\$.delay`"):
        codec.json(b'{"delay": "x"}', Flight)
    with pytest.raises(Undecodable, match=r"Invalid enum value - at `\$.carrier`"):
        codec.json(b'{"delay": 1, "carrier": "x"}', Flight)
    with pytest.raises(Undecodable, match=r"1 faults: string_too_long at `\$.code`"):
        codec.json(b'{"code": "too long"}', Airport)


def test_an_error_in_a_types_own_code_is_not_the_payloads() -> None:
    """It is a failure of the handler's code like any other: retried, and evidence of an outage."""

    @dataclass
    class Broken:
        delay: int

        def __post_init__(self) -> None:
            raise KeyError("bug")

    with pytest.raises(KeyError):
        codec.json(b'{"delay": 1}', Broken)


@given(value=st.text())
def test_text_is_utf_8(value: str) -> None:
    """All of it, and nothing else."""
    assert codec.text(value.encode()) == value


@pytest.mark.parametrize("data", [b"canary\xff", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf8"])
def test_other_bytes_are_no_text(data: bytes) -> None:
    """Stray bytes, encoded surrogates, overlong forms; none of them quoted."""
    with pytest.raises(Undecodable, match="expected UTF-8") as fault:
        codec.text(data)
    assert "canary" not in str(fault.value)


@given(data=st.binary())
def test_any_bytes_are_json_or_undecodable(data: bytes) -> None:
    """Nothing else comes out of the decoder."""
    for kind in (Any, Flight, Airport):
        try:
            codec.json(data, kind)
        except Undecodable as fault:
            assert fault.reason  # noqa: PT017 - either outcome will do
