"""What a worker and its process apart say to each other: length, then MessagePack of values of our own."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Literal

import msgspec

from streamkit.core.changes import Change
from streamkit.core.letters import Cause, Told, cause_of
from streamkit.core.records import Batch, Record
from streamkit.signals import Failed, Partial, Poison, Unavailable, Undecodable

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

_LENGTH_BYTES = 4

Kind = Literal["told", "poison", "undecodable", "unavailable", "failed", "partial", "cancelled"]


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


class Cancel(msgspec.Struct, frozen=True, tag=True):
    """Cancel what was asked under this number; the answer says whether that ended it."""

    number: int


class Answer(msgspec.Struct, frozen=True, tag=True):
    """What became of what was asked."""

    number: int
    fault: Fault | None = None


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The consumer is there, and its lifespan has begun."""


Frame = Ask | Cancel | Answer | Ready
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder[Frame](Frame)


def packed(frame: Frame) -> bytes:
    """Return a frame as it goes over the pipe."""
    body = _encoder.encode(frame)
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


async def unpacked(reader: asyncio.StreamReader) -> Frame:
    """Read the next frame. Raises `asyncio.IncompleteReadError` at the end."""
    length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
    frame: Frame = _decoder.decode(await reader.readexactly(length))
    return frame


def asked(number: int, subject: Record | Batch) -> Ask:
    """Return how to ask for an attempt."""
    records = list(subject) if isinstance(subject, Batch) else [subject]
    changes = [record for record in records if isinstance(record, Change)]
    return Ask(number, isinstance(subject, Batch), [] if changes else records, changes)


def subject_of(ask: Ask) -> Record | Batch:
    """Return what the handler is called with."""
    records: Sequence[Record] = ask.changes or ask.records
    return Batch(records) if ask.batch else records[0]


def fault_of(error: BaseException, records: Sequence[Record]) -> Fault:
    """Return how an attempt failed, so that `error_of` says the same elsewhere."""
    cause = cause_of(error)
    match error:
        case Undecodable():
            return Fault("undecodable", cause, error.reason)
        case Poison():
            return Fault("poison", cause, error.reason)
        case Unavailable():
            wait = error.retry_after
            return Fault("unavailable", cause, error.reason, None if wait is None else wait.total_seconds())
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
        case "undecodable":
            return Undecodable(fault.reason)
        case "poison":
            return Poison(fault.reason)
        case "unavailable":
            wait = None if fault.retry_after is None else timedelta(seconds=fault.retry_after)
            return Unavailable(fault.reason, wait)
        case "failed":
            inner = fault.faults.get(0)
            return Failed(records[fault.index], None if inner is None else error_of(inner, records))
        case "partial":
            failed = {records[index]: error_of(each, ()) for index, each in fault.faults.items()}
            return Partial(done=[records[index] for index in fault.done], failed=failed)
        case _:
            return Told(fault.cause)
