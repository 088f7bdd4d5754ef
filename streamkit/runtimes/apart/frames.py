"""What a worker and its process apart say to each other: length, then MessagePack of values of our own.

worker                                  process apart
Ask 7 --------------------------------> calls the handler
      <------------- Read 1, for ask 7  which reads a table, in a transaction
Found 1 ------------------------------>
      <----------------------- Answer 7 how that ended, and what is to be written
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec.structs import replace

from streamkit.core.changes import Change
from streamkit.core.letters import Cause, Told, cause_of
from streamkit.core.records import Batch, Record
from streamkit.core.transactions import Write
from streamkit.core.values import Image
from streamkit.errors import StreamkitError
from streamkit.signals import Failed, Partial, Poison, Unavailable, Undecodable, WorldDown

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

_LENGTH_BYTES = 4
MAX_BYTES = 256 * 1024 * 1024
"""Of a frame that a process apart says: thousands of failures with their tracebacks, or 4 MB of writes."""

_HALF = re.compile("[\ud800-\udfff]")
"""Of a surrogate pair: JSON can say it, UTF-8 cannot."""

Kind = Literal["told", "poison", "undecodable", "unavailable", "world down", "failed", "partial", "cancelled", "late"]
Unread = Literal["told", "throttled", "unanswered", "denied", "missing"]
"""How a reading failed, by what the caller may do next; "told" is anything else."""


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """How an attempt failed. Records are named by their index in what was asked."""

    kind: Kind
    cause: Cause
    reason: str = ""
    retry_after: float | None = None
    index: int = -1
    done: tuple[int, ...] = ()
    faults: dict[int, Fault] = {}


class Ask(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Call the handler with these: records, or changes."""

    number: int
    batch: bool
    records: list[Record] = []
    changes: list[Change] = []
    transacts: bool = False
    """Whether the handler is given a transaction, whose writes are the answer."""
    odd: dict[int, bytes] = {}
    """Keys that are no Unicode, by the index of their records."""
    until: float | None = None
    """The moment from which on it must not begin any more, by the machine's clock (`SystemClock.monotonic`)."""


class Cancel(msgspec.Struct, frozen=True, tag=True):
    """Cancel what was asked under this number; the answer says whether that ended it."""

    number: int


class Answer(msgspec.Struct, frozen=True, tag=True):
    """What became of what was asked."""

    number: int
    fault: Fault | None = None
    writes: tuple[Write, ...] = ()


class Read(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Read an item of a table, or some attributes of it, for what was asked under a number."""

    number: int
    ask: int
    table: str
    key: Image
    attributes: tuple[str, ...] | None = None


class KeyNames(msgspec.Struct, frozen=True, tag=True):
    """Tell the names of a table's key, for what was asked under a number."""

    number: int
    ask: int
    table: str


class Found(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """What `Read` or `KeyNames` of this number found, or how it failed."""

    number: int
    item: Image | None = None
    names: tuple[str, ...] = ()
    failed: Unread | None = None
    cause: Cause | None = None


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The consumer is there, and its lifespan has begun."""


Frame = Ask | Cancel | Answer | Read | KeyNames | Found | Ready
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder[Frame](Frame)


def packed(frame: Frame) -> bytes:
    """Return a frame as it goes over the pipe."""
    body = _encoder.encode(frame)
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


class Garbled(StreamkitError):
    """What was said is no frame."""


async def unpacked(reader: asyncio.StreamReader, *, most: int | None = None) -> Frame:
    """Read the next frame, of at most so many bytes. Raises `asyncio.IncompleteReadError` at the end; `Garbled`."""
    length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
    if most is not None and length > most:
        raise Garbled(f"expected a frame of at most {most} bytes, got one of {length}")
    try:
        frame: Frame = _decoder.decode(await reader.readexactly(length))
    except msgspec.DecodeError as error:
        raise Garbled(f"expected a frame, got {length} bytes that are none: {error}") from error
    return frame


def asked(number: int, subject: Record | Batch, *, transacts: bool = False, until: float | None = None) -> Ask:
    """Return how to ask for an attempt."""
    records = list(subject) if isinstance(subject, Batch) else [subject]
    odd = {n: each.key.encode("utf-8", "surrogatepass") for n, each in enumerate(records) if _HALF.search(each.key)}
    for index in odd:
        records[index] = replace(records[index], key="")
    changes = [record for record in records if isinstance(record, Change)]
    return Ask(number, isinstance(subject, Batch), [] if changes else records, changes, transacts, odd, until)


def subject_of(ask: Ask) -> Record | Batch:
    """Return what the handler is called with."""
    records: list[Record] = [*(ask.changes or ask.records)]
    for index, key in ask.odd.items():
        records[index] = replace(records[index], key=key.decode("utf-8", "surrogatepass"))
    return Batch(records) if ask.batch else records[0]


def fault_of(error: BaseException, records: Sequence[Record]) -> Fault:
    """Return how an attempt failed, so that `error_of` says the same elsewhere."""
    cause = cause_of(error)
    match error:
        case Poison():
            return Fault("undecodable" if isinstance(error, Undecodable) else "poison", cause, str(error.reason))
        case Unavailable():
            kind: Kind = "world down" if isinstance(error, WorldDown) else "unavailable"
            wait = error.retry_after
            return Fault(kind, cause, str(error.reason), None if wait is None else wait.total_seconds())
        case Failed() if error.record in records:
            inner = {0: fault_of(error.cause, records)} if error.cause is not None else {}
            return Fault("failed", cause, index=records.index(error.record), faults=inner)
        case Partial():
            done = tuple(records.index(each) for each in error.done if each in records)
            faults = {records.index(r): fault_of(each, ()) for r, each in error.failed.items() if r in records}
            return Fault("partial", cause, done=done, faults=faults)
        case _:
            return Fault("told", cause)


def error_of(fault: Fault, records: Sequence[Record]) -> Exception:
    """Return the error that was told of; `records` are those that were asked for."""
    match fault.kind:
        case "poison" | "undecodable":
            return Poison(fault.reason) if fault.kind == "poison" else Undecodable(fault.reason)
        case "unavailable" | "world down":
            wait = None if fault.retry_after is None else timedelta(seconds=fault.retry_after)
            return (Unavailable if fault.kind == "unavailable" else WorldDown)(fault.reason, wait)
        case "failed":
            inner = fault.faults.get(0)
            return Failed(records[fault.index], None if inner is None else error_of(inner, records))
        case "partial":
            failed = {records[index]: error_of(each, ()) for index, each in fault.faults.items()}
            return Partial(done=[records[index] for index in fault.done], failed=failed)
        case _:
            return Told(fault.cause)
