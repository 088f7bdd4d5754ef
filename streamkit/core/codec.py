"""Payload bytes to values: decompression, text and JSON, all bounded.

Every way a payload can be bad ends as `Undecodable`. Its message names sizes, byte offsets and fields of the
declared type and never quotes the payload, neither a value nor a key of it. Two things pass through, as the
payload is not to blame: `ConfigurationError` where a library is missing, and what a type's own code raises
other than `ValueError` and `TypeError`.
"""

from __future__ import annotations

import re
import sys
import zlib
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, runtime_checkable

import msgspec

from streamkit.errors import ConfigurationError
from streamkit.signals import Undecodable

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

Compression = Literal["gzip", "zlib", "zstd", "auto"]

MAX_BYTES: Final = 64 * 2**20
"""No payload decompresses to more."""
FREE_BYTES: Final = 2**20
MAX_RATIO: Final = 200
"""Above `FREE_BYTES`, nor to more than this many times its own size."""
MAX_MEMBERS: Final = 10_000
"""Concatenated gzip members or zstd frames in one payload."""

_CHUNK: Final = 2**14  # what is fed at once: bounds the copy of what is left when a member ends
_GZIP: Final = b"\x1f\x8b\x08"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE: Final = b"\x2a\x4d\x18"  # behind a first byte of 0x50 to 0x5f (RFC 8878, 3.1.2)
_ZSTD_WINDOW_LOG: Final = 26  # 64 MiB: no larger window serves what may come out


# --------------------------------------------------------------------------------------------- decompression


class _Member(Protocol):
    """One compressed stream, fed in pieces: what zlib's and zstd's decompressors have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: memoryview, max_length: int, /) -> bytes: ...


def decompress(data: bytes, compression: Compression) -> bytes:
    """Return what was compressed, one layer of it. Raises `Undecodable`.

    At most `MAX_BYTES` come out, and above `FREE_BYTES` at most `MAX_RATIO` times what went in. gzip members
    (RFC 1952) and zstd frames (RFC 8878) may follow each other, and zero padding may follow a gzip member;
    anything else behind the end is an error. `auto` undoes gzip and zstd by their magic numbers and returns
    other data as it is. zlib has to be named: plain data can begin with the two bytes of its header.
    """
    if compression == "auto":
        if not data.startswith((_GZIP, _ZSTD)):
            return data
        compression = "gzip" if data.startswith(_GZIP) else "zstd"
    if not data:
        raise Undecodable(f"expected {compression} data, got an empty payload")
    begin, fault = _zstd() if compression == "zstd" else _zlib(compression)
    try:
        return _inflate(data, compression, begin)
    except fault:
        raise Undecodable(f"expected {compression} data, got {len(data)} bytes that are not") from None


def _inflate(data: bytes, compression: Compression, begin: Callable[[], _Member]) -> bytes:
    """Decompress member after member until the data ends."""
    allowed = min(MAX_BYTES, max(FREE_BYTES, MAX_RATIO * len(data)))
    view, at, room, parts = memoryview(data), 0, allowed, list[bytes]()
    for _ in range(MAX_MEMBERS):
        member = begin()
        while not member.eof:
            piece = view[at : at + _CHUNK]
            if not piece:
                raise Undecodable(f"expected {compression} data, got {len(data)} bytes that break off")
            part = member.decompress(piece, room + 1)
            room -= len(part)
            if room < 0:
                raise Undecodable(f"expected {len(data)} bytes to hold at most {allowed}, got more of them")
            parts.append(part)
            at += len(piece) - len(member.unused_data)
        if _ended(data, at, compression):
            return b"".join(parts)
    raise Undecodable(f"expected at most {MAX_MEMBERS} concatenated {compression} members, got more")


def _ended(data: bytes, at: int, compression: Compression) -> bool:
    """Say whether the data ends where a member did. Raises `Undecodable` for what may not follow a member."""
    left = len(data) - at
    if not left:
        return True
    if compression == "gzip" and data.startswith(_GZIP, at):
        return False
    if compression == "gzip" and data.count(0, at) == left:
        return True
    if compression == "zstd" and (data.startswith(_ZSTD, at) or data.startswith(_ZSTD_SKIPPABLE, at + 1)):
        return False
    raise Undecodable(f"expected the end of the {compression} data at byte {at}, got {left} bytes more")


def _zlib(compression: Compression) -> tuple[Callable[[], _Member], type[Exception]]:
    """Return what begins a gzip or zlib member, and what it raises."""
    window = zlib.MAX_WBITS + 16 if compression == "gzip" else zlib.MAX_WBITS
    return lambda: zlib.decompressobj(window), zlib.error


def _zstd() -> tuple[Callable[[], _Member], type[Exception]]:
    """Return what begins a zstd frame, and what it raises. Raises `ConfigurationError` without a library."""
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError as error:
        raise ConfigurationError("expected zstd to be installed: pip install 'streamkit[zstd]'") from error
    options = {int(zstd.DecompressionParameter.window_log_max): _ZSTD_WINDOW_LOG}
    return lambda: zstd.ZstdDecompressor(options=options), zstd.ZstdError


# --------------------------------------------------------------------------------------------- text and JSON


@runtime_checkable
class _Model(Protocol):
    """A pydantic model, known by its method: pydantic itself is never imported."""

    def model_validate_json(self, json_data: bytes, /) -> object: ...


class _Fault(Protocol):
    """One entry of what pydantic found."""

    def __getitem__(self, name: Literal["loc", "type"], /) -> Any: ...  # noqa: ANN401 - a TypedDict of pydantic


@runtime_checkable
class _Faulty(Protocol):
    """Pydantic's ValidationError, known by its method."""

    def errors(self, *, include_context: bool, include_input: bool) -> Sequence[_Fault]: ...


def text(data: bytes) -> str:
    """Return UTF-8 as text. Raises `Undecodable`."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Undecodable(f"expected UTF-8 text, got something else at byte {error.start}") from None


def json(data: bytes, type: Any = Any) -> Any:  # noqa: A002, ANN401 - as json.loads: who names no type gets any
    """Return JSON (RFC 8259) as a value of `type`: whatever msgspec reads, or a pydantic model.

    Raises `Undecodable` for what is not JSON or not a `type`, `TypeError` for a type msgspec cannot read.
    """
    if not data:
        raise Undecodable("expected JSON, got an empty payload")
    try:
        if isinstance(type, _Model):
            return _modelled(data, type)
        return msgspec.json.decode(data, type=type)
    except msgspec.ValidationError as error:
        raise Undecodable(f"expected JSON of the declared type: {told(error)}") from None
    except msgspec.DecodeError as error:
        raise Undecodable(f"expected JSON, got {len(data)} bytes of something else: {error}") from None
    except UnicodeDecodeError:
        raise Undecodable("expected JSON in UTF-8, got a string that is not") from None
    except RecursionError:
        raise Undecodable(f"expected JSON, got {len(data)} bytes nested too deeply") from None


def told(error: msgspec.ValidationError) -> str:
    """Return what msgspec says, without the three things of a payload that it quotes."""
    if error.__cause__ is not None:
        return f"the type's own check raised {type(error.__cause__).__name__}"
    message = str(error)
    quoting = re.match(r"Invalid (enum )?value|Object contains unknown field", message)
    if quoting is None:
        return message
    located = quoting[0].startswith("Invalid") and message.endswith("`")
    return quoting[0] + (message[message.rindex(" - at `") :] if located else "")


def _modelled(data: bytes, model: _Model) -> object:
    """Return a pydantic model, of the same JSON as other types take: pydantic alone would let NaN pass."""
    msgspec.json.decode(data, type=msgspec.Raw)
    try:
        return model.model_validate_json(data)
    except ValueError as error:
        if not isinstance(error, _Faulty):
            raise
        faults = error.errors(include_context=False, include_input=False)
        fields: Container[str] = getattr(model, "model_fields", ())
        told = ", ".join(f"{fault['type']} at `{_path(fault['loc'], fields)}`" for fault in faults[:5])
        raise Undecodable(f"expected JSON of the declared model, got {len(faults)} faults: {told}") from None


def _path(location: Sequence[int | str], fields: Container[str]) -> str:
    """Return where a fault is in msgspec's notation; of names, the model's own: others may be payload."""
    own = [f".{name}" if isinstance(name, str) and name in fields else "[...]" for name in location[:1]]
    return "$" + "".join(own) + "[...]" * (len(location) - 1)
