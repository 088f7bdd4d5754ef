"""What a consumer is: one value, made by a decorator, that runs unchanged in every runtime.

Importing this opens no socket and imports no AWS SDK.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from types import UnionType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Never, TypedDict, Unpack, get_args, overload

import msgspec
from msgspec.structs import replace

from streamkit.core import kept
from streamkit.core.policy import SECOND, Checkpoint, Listing, Outage, Retry
from streamkit.core.records import Batch, Compression, Record
from streamkit.core.rules import OnDeadLetter, OnMissingKey
from streamkit.engine.handling import Signature
from streamkit.errors import ConfigurationError

if TYPE_CHECKING:
    from streamkit.core.items import Items
    from streamkit.runtimes.function.deadline import Context
    from streamkit.runtimes.function.function import Answer
    from streamkit.runtimes.oneshot import Settlement

Mode = Literal["at_least_once", "at_most_once", "transactional"]
Handler = Callable[..., Awaitable[None] | None]
"""A function over one record or batch, with extras (`state`) as keyword-only parameters."""

_NAME = re.compile(kept.NAME)
_TABLE = re.compile(r"[A-Za-z0-9_.-]{3,255}")
_STREAM_CONSUMER = re.compile(r"[A-Za-z0-9_.-]{1,128}")
BUCKET = re.compile(kept.BUCKET)
MEBIBYTE = 1024 * 1024
MOST_RATE = 1e6


class _Stream(msgspec.Struct, frozen=True):
    stream: str


class Kinesis(_Stream, frozen=True, kw_only=True):
    """A Kinesis data stream, by name or ARN.

    `start` is where a shard begins that has no checkpoint: the oldest record, the time the consumer first saw the
    stream, or a moment. `compression` says how payloads are compressed; `"auto"` looks at their first bytes.
    `role` is assumed to read another account's stream. `poll` is the pace of reading an idle shard. `kpl_only` says
    that the Kinesis Producer Library makes all aggregates: what it put again for another shard after a reshard is then
    not handled twice (other aggregators put nothing again, so by default everything is handled). `changes` says that
    the stream carries the changes of DynamoDB tables (Kinesis Data Streams for DynamoDB): handlers get each as a
    `Change`. `fan_out` has records pushed to the worker, at 2 MB a second of its own for each shard, instead of polled
    (enhanced fan-out, which AWS charges for): under the name given, or `streamkit-<name of the consumer>`.
    """

    start: Literal["TRIM_HORIZON", "LATEST"] | datetime = "TRIM_HORIZON"
    role: str | None = None
    kpl_only: bool = False
    compression: Compression | None = None
    poll: timedelta = timedelta(milliseconds=250)
    changes: bool = False
    fan_out: bool | str = False

    listing: ClassVar[Listing] = Listing(shards=1_000, calls_per_second=1_000.0)

    def __post_init__(self) -> None:
        _expect(bool(self.stream), "Kinesis(stream): expected a name or ARN", self.stream)
        _expect_start("Kinesis", self.start)
        _expect(
            self.compression in (None, "gzip", "zlib", "zstd", "auto"),
            "Kinesis(compression=...): expected None, 'gzip', 'zlib', 'zstd' or 'auto'",
            self.compression,
        )
        _expect(
            timedelta(milliseconds=200) <= self.poll <= timedelta(minutes=1),
            "Kinesis(poll=...): expected 0.2 s (5 reads a second is the service's limit) to 60 s",
            self.poll,
        )
        _expect(
            isinstance(self.fan_out, bool) or bool(_STREAM_CONSUMER.fullmatch(self.fan_out)),
            "Kinesis(fan_out=...): expected True, False or a name of 1 to 128 letters, digits, '_', '.' or '-'",
            self.fan_out,
        )
        plain = not (self.changes and (self.compression or self.kpl_only))
        _expect(plain, "Kinesis(changes=True): expected neither compression nor kpl_only: DynamoDB uses none", self)

    def pushed_as(self, consumer: str) -> str | None:
        """Return the name of the stream consumer that this consumer's records are pushed to, if they are to be."""
        return f"streamkit-{consumer}" if self.fan_out is True else self.fan_out or None


class _Table(msgspec.Struct, frozen=True):
    table: str


class DynamoDBStream(_Table, frozen=True, kw_only=True):
    """The changes of a DynamoDB table, by the table's name or ARN: its stream has to be enabled.

    Handlers get each as a `Change`. `start` is where reading begins when the consumer first sees the table: the oldest
    change the service still has (of up to 24 hours), now, or a moment. `role` is assumed to read another account's
    table. `poll` is the pace of reading an idle shard. If the stream is disabled and enabled again, the old one is
    read to its end, then the new one.
    """

    start: Literal["TRIM_HORIZON", "LATEST"] | datetime = "TRIM_HORIZON"
    role: str | None = None
    poll: timedelta = timedelta(milliseconds=500)

    listing: ClassVar[Listing] = Listing(shards=100, calls_per_second=10.0)
    kpl_only: ClassVar[Literal[False]] = False
    compression: ClassVar[None] = None
    changes: ClassVar[Literal[True]] = True

    def __post_init__(self) -> None:
        name = self.table.rpartition(":table/")[2] if self.table.startswith("arn:") else self.table
        _expect(
            bool(_TABLE.fullmatch(name)),
            "DynamoDBStream(table): expected the name or ARN of a table (not of one of its streams)",
            self.table,
        )
        _expect_start("DynamoDBStream", self.start)
        _expect(
            timedelta(milliseconds=200) <= self.poll <= timedelta(minutes=1),
            "DynamoDBStream(poll=...): expected 0.2 s to 60 s",
            self.poll,
        )

    @property
    def stream(self) -> str:
        """The table's name or ARN: a table has one stream at a time, so it stands for it."""
        return self.table


Source = Kinesis | DynamoDBStream
"""What a consumer may read."""


class Sqs(msgspec.Struct, frozen=True):
    """A queue, for dead letters or successes: by name, URL or ARN; standard or FIFO.

    `bucket` is the S3 bucket for payloads of dead letters that are over the queue's limit: docs/dead-letters.md.
    """

    queue: str
    bucket: str | None = None

    def __post_init__(self) -> None:
        _expect(bool(self.queue), "Sqs(queue): expected a name, URL or ARN", self.queue)
        _expect(
            self.bucket is None or bool(BUCKET.fullmatch(self.bucket)),
            "Sqs(bucket=...): expected the name of an S3 bucket (3 to 63 small letters, digits, '.' or '-')",
            self.bucket,
        )


class Consumer(msgspec.Struct, frozen=True, kw_only=True):
    """A handler with everything said about it. Frozen: change a copy with `using`."""

    name: str
    handler: Handler
    batches: bool
    source: Source
    dead_letters: Sqs | None = None
    on_success: Sqs | None = None
    """Where it is told, at least once and before a checkpoint passes it, that a record was handled."""
    concurrency: int = 64
    retry: Retry = Retry()
    outage: Outage = Outage()
    checkpoint: Checkpoint = Checkpoint()
    mode: Mode = "at_least_once"
    where: Callable[[Record], object] | None = None
    dedupe_key: Callable[[Record], str | None] | None = None
    on_missing_key: OnMissingKey = "error"
    on_dead_letter: OnDeadLetter = "continue"
    handler_timeout: timedelta = 60 * SECOND
    batch_size: int = 100
    linger: timedelta = timedelta()
    lifespan: Callable[[], AbstractAsyncContextManager[Any]] | None = None
    parallelization_factor: int | None = None
    partial_responses: bool = False
    max_record_bytes: int = 10 * MEBIBYTE
    read_ahead_bytes: int = 64 * MEBIBYTE
    on_gap: Literal["resume", "halt"] = "resume"
    code_version: str = ""
    rate: float | None = None
    """Most records a second that handlers are started for, in one process and over all its shards; None is no limit.

    Retries count, a batch counts by its records, what is filtered or handled before does not."""

    def __post_init__(self) -> None:
        if not (_is_a(self.name, str) and _NAME.fullmatch(self.name)):
            msg = f"consumer name: expected up to 100 letters, digits, '_', '.' or '-', got {self.name!r}"
            raise ConfigurationError(msg)
        for holds, expectation, got in self._expectations():
            _expect(holds, f"consumer {self.name}: {expectation}", got)
        signature = self.signature
        stateless = "state" in signature.extras and self.lifespan is None
        _expect(
            not stateless, f"consumer {self.name}: lifespan: expected one, for the handler takes `state`", self.lifespan
        )
        takes_tx = "tx" in signature.extras and signature.is_async
        _expect(
            (self.mode == "transactional") == takes_tx,
            f"consumer {self.name}: mode: expected 'transactional' together with an async handler that takes `*, tx`",
            f"{self.mode} with {sorted(signature.extras)}",
        )

    def _expectations(self) -> Iterable[tuple[bool, str, object]]:
        yield _is_a(self.source, Source), "source: expected Kinesis(...) or DynamoDBStream(...)", self.source
        yield _is_a(self.dead_letters, Sqs | None), "dead_letters: expected Sqs(...) or None", self.dead_letters
        yield _is_a(self.on_success, Sqs | None), "on_success: expected Sqs(...) or None", self.on_success
        yield (
            self.on_success is None or self.on_success.bucket is None,
            "on_success: expected no bucket: what does not fit is told without its payload",
            self.on_success,
        )
        yield (
            self.on_success is None or self.mode != "transactional",
            "on_success: expected none with mode 'transactional': its commit is the checkpoint, so put an item by `tx`",
            self.on_success,
        )
        yield 1 <= self.concurrency <= 10_000, "concurrency: expected 1 to 10000", self.concurrency
        yield 1 <= self.batch_size <= 10_000, "batch_size: expected 1 to 10000", self.batch_size
        window = self.checkpoint.window
        yield (
            not self.batches or self.batch_size <= window,
            f"batch_size: expected at most checkpoint.window ({window})",
            (self.batch_size),
        )
        yield timedelta() <= self.linger <= 300 * SECOND, "linger: expected 0 to 300 s", self.linger
        yield (
            self.handler_timeout > timedelta(),
            "handler_timeout: expected more than 0",
            self.handler_timeout,
        )
        yield (
            self.mode in get_args(Mode),
            "mode: expected 'at_least_once', 'at_most_once' or 'transactional'",
            self.mode,
        )
        yield (
            self.mode != "transactional" or not self.batches,
            "mode: expected a handler of one record for 'transactional' (what commits together is found by itself)",
            "one of batches",
        )
        yield (
            self.on_dead_letter in ("continue", "park", "halt"),
            ("on_dead_letter: expected 'continue', 'park' or 'halt'"),
            self.on_dead_letter,
        )
        yield (
            self.on_missing_key in get_args(OnMissingKey),
            "on_missing_key: expected 'error' or 'handle'",
            self.on_missing_key,
        )
        yield self.on_gap in ("resume", "halt"), "on_gap: expected 'resume' or 'halt'", self.on_gap
        yield self.max_record_bytes >= 1, "max_record_bytes: expected at least 1", self.max_record_bytes
        yield (
            self.read_ahead_bytes >= MEBIBYTE,
            "read_ahead_bytes: expected at least 1 MiB",
            self.read_ahead_bytes,
        )
        yield self.rate is None or 0 < self.rate <= MOST_RATE, "rate: expected more than 0, up to 1e6", self.rate
        factor = self.parallelization_factor
        yield _is_a(self.partial_responses, bool), "partial_responses: expected True or False", self.partial_responses
        yield factor is None or 1 <= factor <= 10, "parallelization_factor: expected 1 to 10", factor

    @property
    def signature(self) -> Signature:
        """What the handler wants. Raises `ConfigurationError` if it cannot be a handler."""
        return Signature.of(self.handler)

    @property
    def table(self) -> str:
        """Name of the checkpoint table."""
        return self.checkpoint.table or f"streamkit-{self.name}"

    def __call__(self, subject: Record | Batch, **extras: object) -> Awaitable[None] | None:
        """Run the raw handler: no retry, no dedupe, nothing settled."""
        return self.handler(subject, **extras)

    def using(self, **changes: Any) -> Consumer:  # noqa: ANN401 - any field of this class
        """Return a copy with other settings. Raises `ConfigurationError` for a wrong one, naming it."""
        _expect_known(self.name, changes, self.__struct_fields__)
        return replace(self, **changes)

    def lambda_handler(self, event: object, context: Context) -> Answer:
        """Settle an event of a Lambda event source mapping: `lambda_handler = flights.lambda_handler` in its module.

        Returns Lambda's partial batch response, with the first record that is not settled, if any. Never raises for
        records where `partial_responses` is declared; where it is not, raises `Unsettled` while anything is. Raises
        `MalformedEvent` for what is no event of a stream, and `ConfigurationError`. docs/lambda.md says how to set
        the mapping up.
        """
        from streamkit.runtimes.function.container import handle

        return handle(self, event, context)

    async def settle(self, payloads_or_records: Iterable[object], *, items: Items | None = None) -> Settlement:
        """Take these records of one shard as far as they settle: the whole engine, without AWS and without waiting.

        A payload may be bytes, text, or anything JSON can hold, and gets a key of its own; pass `Record`s to say more.
        Where the source is one of changes, it is the JSON of a change (`streamkit.testing.change` makes them).
        `items` are the tables a transactional consumer finds (`streamkit.testing.Items`), its own thereafter.
        Retries follow at once. Where the worker would pause (an outage) or halt, the rest comes back `unsettled`.
        """
        from streamkit.runtimes.oneshot import settle

        return await settle(self, payloads_or_records, items=items)


class Settings(TypedDict, total=False):
    """What a consumer may be told besides its name, source and dead letters: the fields of `Consumer`."""

    on_success: Sqs | None
    concurrency: int
    retry: Retry
    outage: Outage
    checkpoint: Checkpoint
    mode: Mode
    where: Callable[[Record], object] | None
    dedupe_key: Callable[[Record], str | None] | None
    on_missing_key: OnMissingKey
    on_dead_letter: OnDeadLetter
    handler_timeout: timedelta
    batch_size: int
    linger: timedelta
    lifespan: Callable[[], AbstractAsyncContextManager[Any]] | None
    parallelization_factor: int | None
    partial_responses: bool
    max_record_bytes: int
    read_ahead_bytes: int
    on_gap: Literal["resume", "halt"]
    code_version: str
    rate: float | None


class _Decorator:
    """`consumer` and `consumer.batch`."""

    @overload
    def __call__(
        self, name: str, *, source: Source, dead_letters: Sqs | None = None, **settings: Unpack[Settings]
    ) -> Callable[[Handler], Consumer]: ...

    @overload
    def __call__(self, name: Handler) -> Never: ...

    def __call__(self, name: Any, *, source: Any = None, **settings: Any) -> Callable[[Handler], Consumer]:
        """Make a consumer of an `async def` (or plain `def`, run in a thread) over one `Record`.

        `name` is the identity of its positions. Raises `ConfigurationError` for anything that is not what it has to be.
        """
        return _declared(name, source, settings, batches=False)

    @overload
    def batch(
        self, name: str, *, source: Source, dead_letters: Sqs | None = None, **settings: Unpack[Settings]
    ) -> Callable[[Handler], Consumer]: ...

    @overload
    def batch(self, name: Handler) -> Never: ...

    def batch(self, name: Any, *, source: Any = None, **settings: Any) -> Callable[[Handler], Consumer]:
        """Make a consumer of a function over one `Batch`, of up to `batch_size` records.

        A batch that fails without naming a culprit is halved until the culprit stands alone.
        """
        return _declared(name, source, settings, batches=True)


consumer = _Decorator()


def _declared(
    name: Any,  # noqa: ANN401 - see caller
    source: Any,  # noqa: ANN401
    settings: dict[str, Any],
    *,
    batches: bool,
) -> Callable[[Handler], Consumer]:
    """Return what makes a consumer of a handler. Raises `ConfigurationError` where it got the handler already."""
    if callable(name):
        decorator, handler = "consumer.batch" if batches else "consumer", getattr(name, "__name__", repr(name))
        msg = (
            f"@{decorator} of {handler}: expected a name and a source before the handler, got none: "
            f'@{decorator}("{handler}", source=Kinesis("..."), dead_letters=Sqs("..."))'
        )
        raise ConfigurationError(msg)
    _expect_known(name, settings, {"dead_letters", *Settings.__annotations__})
    return lambda handler: Consumer(name=name, handler=handler, batches=batches, source=source, **settings)


def _expect_known(name: str, settings: Iterable[str], known: Iterable[str]) -> None:
    for unknown in sorted({*settings} - {*known}):
        from difflib import get_close_matches  # noqa: PLC0415 - no cold start pays for it

        likely = "".join(f" (did you mean {each!r}?)" for each in get_close_matches(unknown, known, n=1))
        msg = f"consumer {name}: expected settings among {sorted(known)}, got {unknown!r}{likely}"
        raise ConfigurationError(msg)


def _expect(holds: bool, expectation: str, got: object) -> None:  # noqa: FBT001 - reads like an assertion
    if not holds:
        msg = f"{expectation}, got {got!r}"
        raise ConfigurationError(msg)


def _expect_start(source: str, start: object) -> None:
    _expect(
        start in ("TRIM_HORIZON", "LATEST") or (isinstance(start, datetime) and start.tzinfo is not None),
        f"{source}(start=...): expected 'TRIM_HORIZON', 'LATEST' or a datetime with a time zone",
        start,
    )


def _is_a(value: object, kind: type | UnionType) -> bool:
    """Look at run time: callers need not be type-checked."""
    return isinstance(value, kind)
