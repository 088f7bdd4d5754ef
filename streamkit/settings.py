"""The catalogue of settings: what may be set from outside the code, what each takes, what it means.

One schema for files, variables and command line options (`streamkit.config`); docs/configuration.md lists it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Protocol, TypeVar

import msgspec

from streamkit.consumer import BUCKET, MEBIBYTE, MOST_RATE, Sqs

SECOND = timedelta(seconds=1)
YEAR = timedelta(days=365)
"""The longest a stream keeps anything, so the longest that makes sense anywhere."""

Unit = TypeVar("Unit", timedelta, int)

_WHOLE = re.compile(r"\d{1,18}", re.ASCII)
_ADDRESS = re.compile(r"(?:(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9.-]+)):)?(\d{1,5})", re.ASCII)
_LAST_PORT = 65535
_LEAST_RATE = 0.001
_MEASURE = re.compile(r"(\d{1,15}(?:\.\d{1,9})?) ?([A-Za-z]*)", re.ASCII)
_DURATIONS: Mapping[str, timedelta] = MappingProxyType(
    {
        "": SECOND,
        "ms": timedelta(milliseconds=1),
        "s": SECOND,
        "m": timedelta(minutes=1),
        "h": timedelta(hours=1),
        "d": timedelta(days=1),
    }
)
_SIZES: Mapping[str, int] = MappingProxyType({"": 1, "b": 1, "kib": 1024, "mib": MEBIBYTE, "gib": 1024 * MEBIBYTE})


class Kind(Protocol):
    """What a setting takes."""

    @property
    def expected(self) -> str:
        """Name it for an error: "expected ..."."""
        ...

    def read(self, given: object) -> object:
        """Return the value of a variable's text or of what TOML holds. Raises `ValueError` for anything else."""
        ...


class Whole(msgspec.Struct, frozen=True):
    """A whole number within bounds."""

    low: int
    high: int

    @property
    def expected(self) -> str:
        """Name it."""
        return f"a whole number from {self.low} to {self.high}"

    def read(self, given: object) -> int:
        """Take a number, or its digits."""
        number = int(given) if isinstance(given, str) and _WHOLE.fullmatch(given) else given
        if type(number) is not int or not self.low <= number <= self.high:
            raise ValueError(given)
        return number


class Rate(msgspec.Struct, frozen=True):
    """Records a second, or none."""

    expected: str = "records a second, from 0.001 to 1000000, or none"

    def read(self, given: object) -> float | None:
        """Take a number, or its digits."""
        if given == "none":
            return None
        rate, unit = _measure(given)
        if unit or not _LEAST_RATE <= rate <= MOST_RATE:
            raise ValueError(given)
        return rate


class Size(msgspec.Struct, frozen=True):
    """A number of bytes within bounds."""

    low: int
    high: int

    @property
    def expected(self) -> str:
        """Name it."""
        return f"bytes, or a size such as 64MiB, from {said_size(self.low)} to {said_size(self.high)}"

    def read(self, given: object) -> int:
        """Take a number of bytes, or text with a unit."""
        number, unit = _measure(given)
        size = number * _of(_SIZES, unit.lower())
        if not size.is_integer() or not self.low <= size <= self.high:
            raise ValueError(given)
        return int(size)


class Duration(msgspec.Struct, frozen=True):
    """A time span within bounds; where it is `optional`, "none" is None."""

    low: timedelta
    high: timedelta = YEAR
    optional: bool = False

    @property
    def expected(self) -> str:
        """Name it."""
        choice = " or none" if self.optional else ""
        return f"a duration such as 250ms, 10s, 5m or 1h, from {said(self.low)} to {said(self.high)}{choice}"

    def read(self, given: object) -> timedelta | None:
        """Take seconds, or text with a unit."""
        if self.optional and given == "none":
            return None
        number, unit = _measure(given)
        seconds = number * _of(_DURATIONS, unit).total_seconds()
        if not self.low.total_seconds() <= seconds <= self.high.total_seconds():
            raise ValueError(given)
        return timedelta(seconds=seconds)


class Choice(msgspec.Struct, frozen=True):
    """One of several words; where it is `optional`, "none" is None."""

    words: tuple[str, ...]
    optional: bool = False

    @property
    def expected(self) -> str:
        """Name it."""
        words = [*self.words, "none"] if self.optional else self.words
        return f"{', '.join(words[:-1])} or {words[-1]}"

    def read(self, given: object) -> str | None:
        """Take the word itself."""
        if self.optional and given == "none":
            return None
        if not isinstance(given, str) or given not in self.words:
            raise ValueError(given)
        return given


class Switch(msgspec.Struct, frozen=True):
    """On or off."""

    expected: str = "true or false"

    def read(self, given: object) -> bool:
        """Take a truth value, or its name."""
        if given not in ("true", "false") and given is not True and given is not False:
            raise ValueError(given)
        return given in ("true", True)


class Text(msgspec.Struct, frozen=True):
    """Text that matches a pattern as a whole; where it is `optional`, "none" is None."""

    expected: str
    pattern: str = r"\S+"
    optional: bool = False

    def read(self, given: object) -> str | None:
        """Take the text itself."""
        if self.optional and given == "none":
            return None
        if not isinstance(given, str) or not re.fullmatch(self.pattern, given):
            raise ValueError(given)
        return given


class FanOut(msgspec.Struct, frozen=True):
    """Whether records are pushed, and under which name."""

    expected: str = "true, false or a name of 1 to 128 letters, digits, '_', '.' or '-'"

    def read(self, given: object) -> bool | str | None:
        """Take a truth value, its name, or another name."""
        if given in ("true", "false") or given is True or given is False:
            return given in ("true", True)
        return Text(self.expected, r"[A-Za-z0-9_.-]{1,128}").read(given)


class Queue(msgspec.Struct, frozen=True):
    """An SQS queue."""

    expected: str = "the name, URL or ARN of an SQS queue"

    def read(self, given: object) -> Sqs:
        """Take its address."""
        address = Text(self.expected).read(given)
        return Sqs(address or "")


class Beginning(msgspec.Struct, frozen=True):
    """Where an unread shard begins."""

    expected: str = "TRIM_HORIZON, LATEST or a moment such as 2026-01-31T12:00:00Z"

    def read(self, given: object) -> str | datetime:
        """Take a word, or a moment with its time zone."""
        if given in ("TRIM_HORIZON", "LATEST"):
            return str(given)
        moment = datetime.fromisoformat(given) if isinstance(given, str) else given
        if not isinstance(moment, datetime) or moment.tzinfo is None:
            raise ValueError(given)
        return moment


class Address(msgspec.Struct, frozen=True):
    """Where to listen: a port of this machine's, or the path of a Unix socket."""

    host: str = "127.0.0.1"
    port: int = 0
    path: str | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Listener(msgspec.Struct, frozen=True):
    """An address to listen on. A port alone is of the loopback; another host has to be said (docs/operations.md)."""

    expected: str = "a port such as 8080 (of 127.0.0.1), HOST:PORT, unix:PATH, or none"

    def read(self, given: object) -> Address | None:
        """Take a port, with or without a host, or a path."""
        if given == "none":
            return None
        text = str(given) if isinstance(given, str | int) and not isinstance(given, bool) else ""
        if text.startswith("unix:") and len(text) > len("unix:"):
            return Address(path=text.removeprefix("unix:"))
        found = _ADDRESS.fullmatch(text)
        if found is None or int(found[3]) > _LAST_PORT:
            raise ValueError(given)
        return Address(found[1] or found[2] or "127.0.0.1", int(found[3]))


class Setting(msgspec.Struct, frozen=True):
    """Something that may be set from outside."""

    name: str
    """As a file has it: `retry.attempts`."""
    kind: Kind
    meaning: str
    part: str = ""
    """The attribute of the consumer whose field it is; empty for the consumer's own."""

    @property
    def field(self) -> str:
        """The name of the field it sets."""
        return self.name.rpartition(".")[2].removeprefix(f"{self.part}_")

    @property
    def variable(self) -> str:
        """The name of the variable that sets it for all consumers of a process."""
        return f"STREAMKIT_{self.key}"

    @property
    def key(self) -> str:
        """The part of a variable's name that names it."""
        return self.name.upper().replace(".", "_")

    def value(self, given: object, origin: str) -> object:
        """Return the value of what was given. Raises `ValueError` that names its origin."""
        try:
            return self.kind.read(given)
        except (ValueError, OverflowError):
            got = repr(given)
            shown = got if len(got) <= _SHOWN else f"{got[:_SHOWN]}..."
            msg = f"{origin}: expected {self.kind.expected}, got {shown}"
            raise ValueError(msg) from None


_SHOWN = 80
"""Characters of a wrong value that an error shows."""
_MILLISECOND = timedelta(milliseconds=1)
_ZERO = timedelta()

CONSUMER_SETTINGS = (
    Setting("stream", Text("the name or ARN of a Kinesis stream or DynamoDB table"), "What is read.", "source"),
    Setting("start", Beginning(), "Where reading begins when the consumer first sees the stream.", "source"),
    Setting(
        "role",
        Text("the ARN of an IAM role, or none", r"arn:[\w-]+:iam::\d{12}:role/\S+", optional=True),
        "Assumed to read a stream of another account.",
        "source",
    ),
    Setting(
        "compression",
        Choice(("gzip", "zlib", "zstd", "auto"), optional=True),
        "How payloads are compressed.",
        "source",
    ),
    Setting("fan_out", FanOut(), "Whether records are pushed, and under which name: docs/fan-out.md.", "source"),
    Setting("poll", Duration(200 * _MILLISECOND, 60 * SECOND), "Pace of reading an idle shard.", "source"),
    Setting("dead_letters", Queue(), "Where records go that cannot be handled."),
    Setting(
        "dead_letters_bucket",
        Text("the name of an S3 bucket, or none", BUCKET.pattern, optional=True),
        "Where their payloads go that are over the queue's limit: docs/dead-letters.md.",
        "dead_letters",
    ),
    Setting("on_success", Queue(), "Where it is told which records were handled: docs/successes.md."),
    Setting("concurrency", Whole(1, 10_000), "Most handlers at work at once in one shard."),
    Setting("rate", Rate(), "Most records a second that handlers are started for, in one process."),
    Setting("batch_size", Whole(1, 10_000), "Most records of a batch."),
    Setting("linger", Duration(_ZERO, 300 * SECOND), "How long a batch waits to fill up."),
    Setting("handler_timeout", Duration(_MILLISECOND), "Longest run of a handler."),
    Setting("retry.attempts", Whole(1, 10_000), "Most attempts at a failing record.", "retry"),
    Setting("retry.initial", Duration(_ZERO), "Ceiling of the first delay; it doubles from there.", "retry"),
    Setting("retry.maximum", Duration(_ZERO), "Highest ceiling of a delay.", "retry"),
    Setting("retry.max_age", Duration(_MILLISECOND, optional=True), "No retry for a record older than this.", "retry"),
    Setting("outage.records", Whole(2, 10_000), "Failing records that make an outage.", "outage"),
    Setting("outage.pause", Duration(_MILLISECOND), "Pause before the first probe; it doubles from there.", "outage"),
    Setting("outage.maximum", Duration(_MILLISECOND), "Longest pause between probes.", "outage"),
    Setting("outage.limit", Duration(_MILLISECOND, optional=True), "After this, attempts count again.", "outage"),
    Setting(
        "checkpoint.table",
        Text("the name of a DynamoDB table (3 to 255 letters, digits, '_', '.' or '-')", r"[A-Za-z0-9_.-]{3,255}"),
        "The checkpoint table.",
        "checkpoint",
    ),
    Setting("checkpoint.interval", Duration(_ZERO), "Pause between checkpoints of a shard.", "checkpoint"),
    Setting("checkpoint.records", Whole(1, 1_000_000), "Settled records that make one due sooner.", "checkpoint"),
    Setting("checkpoint.lease", Duration(SECOND), "How long a silent worker keeps its shards.", "checkpoint"),
    Setting("checkpoint.window", Whole(1, 20_000), "Most records of a shard read in and not settled.", "checkpoint"),
    Setting(
        "checkpoint.memory", Duration(timedelta(hours=1)), "How long a function remembers a delivery.", "checkpoint"
    ),
    Setting("read_ahead_bytes", Size(MEBIBYTE, 1024**4), "Most bytes read in and not settled."),
    Setting("max_record_bytes", Size(1, 1024**3), "A larger record is a dead letter."),
    Setting("on_dead_letter", Choice(("continue", "park", "halt")), "What becomes of later records of its key."),
    Setting("on_gap", Choice(("resume", "halt")), "What to do when the stream dropped unread records."),
    Setting("parallelization_factor", Whole(1, 10), "The Lambda mapping's factor, where it is known: docs/lambda.md."),
    Setting("partial_responses", Switch(), "Whether the Lambda mapping has ReportBatchItemFailures."),
    Setting("code_version", Text("a label of up to 100 characters", r"\S{1,100}"), "Written on dead letters."),
)
"""Settings of one consumer."""

WORKER_SETTINGS = (
    Setting("until_idle", Duration(100 * _MILLISECOND, optional=True), "Stop when all is settled for so long."),
    Setting("grace", Duration(_ZERO), "How long handlers may go on after the worker was told to stop."),
    Setting("health", Listener(), "Where to serve /livez, /readyz and /metrics."),
    Setting("metrics", Choice(("emf",), optional=True), "Write metrics to standard output for CloudWatch."),
    Setting("metrics_interval", Duration(SECOND, 3600 * SECOND), "Pause between two such lines of a worker."),
    Setting("log_format", Choice(("json", "console")), "How events are written; console on a terminal, else json."),
    Setting("log_level", Choice(("debug", "info", "warning", "error")), "Least level of the events written."),
)
"""Settings of the process."""


def said(span: timedelta) -> str:
    """Return a duration in its largest unit that leaves a whole number."""
    for unit in ("d", "h", "m", "s"):
        if span and not span % _DURATIONS[unit]:
            return f"{span // _DURATIONS[unit]}{unit}"
    return f"{span // _MILLISECOND}ms" if span else "0s"


def said_size(size: int) -> str:
    """Return a size in its largest unit that leaves a whole number."""
    for unit in ("GiB", "MiB", "KiB"):
        if size and not size % _SIZES[unit.lower()]:
            return f"{size // _SIZES[unit.lower()]}{unit}"
    return str(size)


def _of(units: Mapping[str, Unit], unit: str) -> Unit:
    """Return what a unit stands for. Raises `ValueError` for an unknown one."""
    if unit not in units:
        raise ValueError(unit)
    return units[unit]


def _measure(given: object) -> tuple[float, str]:
    """Return the number and the unit of a measure. Raises `ValueError`."""
    if isinstance(given, int | float) and not isinstance(given, bool):
        return float(given), ""
    found = _MEASURE.fullmatch(given) if isinstance(given, str) else None
    if found is None:
        raise ValueError(given)
    return float(found[1]), found[2]
