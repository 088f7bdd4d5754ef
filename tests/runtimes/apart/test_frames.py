"""What goes over the pipe comes out as it went in, and nothing else does."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
from msgspec.structs import replace

from streamkit.core import attributes
from streamkit.core.changes import Change
from streamkit.core.letters import Cause
from streamkit.core.records import Batch, Record
from streamkit.core.transactions import Expression, Write, as_read
from streamkit.runtimes.apart.frames import (
    Answer,
    Ask,
    Cancel,
    Fault,
    Found,
    Frame,
    Garbled,
    KeyNames,
    Read,
    Ready,
    asked,
    error_of,
    fault_of,
    packed,
    subject_of,
    unpacked,
)
from streamkit.signals import Poison, Unavailable, Undecodable, WorldDown
from streamkit.testing import change, record

IMAGE = attributes.image(
    {"s": "x", "n": Decimal("1.50"), "b": b"\0\xff", "null": None, "l": [1, {"m": True}], "ns": {1, 2}, "bs": {b"a"}}
)
WRITES = (
    Write("put", "t", {"s": IMAGE["s"]}, item=IMAGE, condition=Expression("a = :b", {"#a": "b"}, IMAGE), asked=True),
    Write("update", "t", IMAGE, update="SET a = :b"),
    Write("check", "t", IMAGE, condition=as_read(IMAGE, IMAGE, ["s", "absent"], number=3)),
)
FRAMES: list[Frame] = [
    asked(1, record(b"\0\xff")),
    asked(2, change({"id": 1}, new={"id": 1, "left": Decimal("0.1")}), transacts=True),
    Cancel(3),
    Answer(4, writes=WRITES),
    Answer(5, Fault("told", Cause("KeyError", "'x'"))),
    Read(6, 1, "t", IMAGE),
    Read(7, 1, "t", IMAGE, ()),
    KeyNames(8, 1, "t"),
    Found(8, names=("pk", "sk")),
    Found(9, IMAGE),
    Found(10),
    Found(11, failed="throttled", cause=Cause("Throttled", "slower")),
    Ready(),
]


async def read(said: bytes, *, most: int | None = None) -> list[Frame]:
    """Return the frames that were said, up to the end."""
    reader = asyncio.StreamReader()
    reader.feed_data(said)
    reader.feed_eof()
    found: list[Frame] = []
    try:
        while True:
            found.append(await unpacked(reader, most=most))
    except asyncio.IncompleteReadError:
        return found


async def test_frames_come_out_as_they_went_in() -> None:
    """One after the other, none of them mistaken; an item that is not there is not one without attributes."""
    said = b"".join(map(packed, FRAMES))
    assert await read(said) == FRAMES
    assert await read(said[:-1]) == FRAMES[:-1]
    first = FRAMES[0]
    assert isinstance(first, Ask)
    assert not first.transacts


async def test_what_is_too_long_or_no_frame_is_neither_kept_nor_believed() -> None:
    """The length alone says so, before anything of it is read into memory."""
    frame = packed(Found(9, IMAGE))
    assert await read(frame, most=len(frame)) == [Found(9, IMAGE)]
    with pytest.raises(Garbled, match=r"of at most 10 bytes, got one of \d+"):
        await read(frame, most=10)
    with pytest.raises(Garbled, match="expected a frame, got 3 bytes that are none"):
        await read(b"\0\0\0\3abc")


@pytest.mark.parametrize(
    "made", [record(b"x", key="a \ud83d"), replace(change({"id": 1}), key="a \ud83d")], ids=["record", "change"]
)
async def test_a_key_that_is_no_unicode_is_asked_about_as_it_is(made: Record) -> None:
    """UTF-8 has no halves of surrogate pairs; a record of a batch keeps its place."""
    batch = Batch([record(b"first"), made, record(b"last")]) if not isinstance(made, Change) else Batch([made])
    [frame] = await read(packed(asked(1, batch)))
    assert isinstance(frame, Ask)
    assert subject_of(frame) == batch


@pytest.mark.parametrize("error", [Poison("p"), Undecodable("u"), Unavailable("a"), WorldDown("w")], ids=repr)
def test_a_signal_is_told_as_what_it_is(error: Exception) -> None:
    """Not as one that it is a kind of: what is held against a record hangs on it."""
    told = error_of(fault_of(error, ()), ())
    assert type(told) is type(error)
    assert str(told) == str(error)
