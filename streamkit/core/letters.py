"""The dead letter: one record that could not be handled, with everything needed to understand and redrive it."""

from __future__ import annotations

import traceback
from typing import Literal

import msgspec

from streamkit.core.records import Record

Condition = Literal[
    "Poison",
    "Undecodable",
    "RetryAttemptsExhausted",
    "RecordAgeExceeded",
    "Parked",
    "Skipped",
    "ProcessDied",
    "Interrupted",
]


class Cause(msgspec.Struct, frozen=True):
    """The exception behind a verdict, as text: nothing of it is kept alive."""

    type: str
    """Qualified name of the exception's class."""
    message: str
    traceback: str = ""
    """Trimmed to the last frames."""
    where: str = ""
    """File and line of the last frame: what may be logged of a traceback."""


class Told(Exception):
    """An exception of another process, of which there is only what was told."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause.message)
        self.cause = cause


_MESSAGE_CHARACTERS = 2048
_TRACEBACK_CHARACTERS = 8192
_FRAMES = 20


def cause_of(error: BaseException) -> Cause:
    """Return the exception as text: message and traceback bounded, without locals."""
    if isinstance(error, Told):
        return error.cause
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    trace = "".join(traceback.format_exception(error, limit=-_FRAMES))
    return Cause(
        type=name,
        message=_said(error)[:_MESSAGE_CHARACTERS],
        traceback=trace[-_TRACEBACK_CHARACTERS:],
        where=_place(error),
    )


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - an exception of the handler's whose own text is broken
        return "(the exception has no text)"


class Condemned(msgspec.Struct, frozen=True):
    """The verdict over one record."""

    record: Record
    condition: Condition
    reason: str
    """Short, for people: the reason a `Poison` gave, or the exception's type and message."""
    attempts: int
    cause: Cause | None = None


class Letter(msgspec.Struct, frozen=True):
    """One condemned record on its way to the queue."""

    verdict: Condemned
    consumer: str
    code_version: str
    stream_arn: str
    condemned: float
    """When: seconds since the epoch."""

    @property
    def record(self) -> Record:
        """The record, exactly as it was read."""
        return self.verdict.record

    @property
    def reason(self) -> str:
        """Why, in a few words."""
        return self.verdict.reason
