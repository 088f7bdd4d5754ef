"""What all operations share: the streams of one account and region, and the faults on the way to them."""

from __future__ import annotations

import functools
import math
import re
from typing import TYPE_CHECKING, Concatenate, Final, ParamSpec, Protocol, TypeVar

from streamkit.testing.kinesis import errors
from streamkit.testing.kinesis.faults import CALM, NONE, Fault, Faults
from streamkit.testing.kinesis.limits import UNLIMITED, Limits
from streamkit.testing.kinesis.seals import Seal
from streamkit.testing.kinesis.values import aws_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamkit.testing.kinesis.shards import Shard
    from streamkit.testing.kinesis.streams import Stream
    from streamkit.testing.kinesis.values import Status

DATA_PLANE: Final = frozenset({"PutRecord", "PutRecords", "GetRecords", "GetShardIterator"})
_NAME: Final = re.compile(r"[a-zA-Z0-9_.-]+")
_LONGEST_NAME: Final = 128

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A", bound="Account")


class Chance(Protocol):
    """What the world needs of a seeded `random.Random`."""

    def random(self) -> float:
        """Uniform in [0, 1)."""
        ...

    def uniform(self, a: float, b: float, /) -> float:
        """Uniform from `a` to `b`."""
        ...

    def randbytes(self, n: int, /) -> bytes:
        """`n` bytes."""
        ...


class Account:
    """The streams of one account in one region.

    `clock` returns epoch seconds. `chance` decides seals and faults, so that equal seeds make equal worlds.
    `limits` and `faults` may be replaced at any time. Creating, changing and deleting a stream takes
    `transition_seconds`. Memory grows with what is put, until retention frees it.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        chance: Chance,
        limits: Limits = UNLIMITED,
        faults: Faults = NONE,
        region: str = "us-east-1",
        transition_seconds: float = 0.0,
    ) -> None:
        self.limits = limits
        self.faults = faults
        self.region = region
        self._clock = clock
        self._chance = chance
        self._transition_seconds = transition_seconds
        self._seal = Seal(chance.randbytes(32))
        self._streams: dict[str, Stream] = {}
        self._eras: dict[str, int] = {}
        """The last era of each name that was deleted: its next stream starts beyond."""

    def __repr__(self) -> str:
        """Tell the state."""
        return f"<{type(self).__name__} of {self.region}, {len(self._streams)} streams>"

    def latency_seconds(self, operation: str) -> float:
        """Draw how long a call of `operation` shall take."""
        low, high = self.faults.on(operation).latency_seconds
        return self._chance.uniform(low, high) if high else 0.0

    def arn(self, name: str) -> str:
        """Return the ARN of a stream of this name."""
        return f"arn:aws:kinesis:{self.region}:{errors.ACCOUNT}:stream/{name}"

    def hit(self, share: float) -> bool:
        """Draw whether a call is among this share."""
        return share > 0.0 and self._chance.random() < share

    def strike(self, operation: str, fault: Fault) -> None:
        """Let a call fail before it has any effect."""
        if operation == "GetRecords" and self.hit(fault.expired):
            now = self._now()
            raise errors.expired(issued=now - 301, now=now, tolerated_seconds=300)
        if operation == "PutRecords":
            return
        if self.hit(fault.throttled):
            code = errors.THROTTLED if operation in DATA_PLANE else "LimitExceededException"
            raise errors.KinesisError(code, "Rate exceeded.")
        if self.hit(fault.failing):
            raise errors.failed()

    def _now(self) -> float:
        """Return the time in whole milliseconds, as AWS keeps it, so that times compare as they are shown."""
        return whole_millis(self._clock())

    def _stream(self, name: str | None, arn: str | None, *, status: tuple[Status, ...] = ()) -> Stream:
        """Find a stream by name or ARN, in one of `status` if given."""
        named = self._named(name, arn)
        stream = self._streams.get(named)
        if stream is not None:
            stream.advance(self._now())
            stream = self._streams.get(named)
        if stream is None:
            raise errors.missing_stream(named)
        if status and stream.status not in status:
            raise errors.stream_busy(named, stream.status)
        return stream

    def _named(self, name: str | None, arn: str | None) -> str:
        if arn is not None:
            prefix, _, tail = arn.partition(":stream/")
            if not tail or not prefix.startswith("arn:aws"):
                raise errors.malformed(arn, "streamARN", "Member must satisfy regular expression pattern: arn:aws.*")
            if name not in (None, tail):
                raise errors.invalid(f"StreamName {name} does not match the name in StreamARN {arn}.")
            name = tail
        if name is None:
            raise errors.invalid("Either StreamName or StreamARN should be provided.")
        if not 1 <= len(name) <= _LONGEST_NAME:
            raise errors.malformed(name, "streamName", f"Member must have length between 1 and {_LONGEST_NAME}")
        if not _NAME.fullmatch(name):
            pattern = f"Member must satisfy regular expression pattern: {_NAME.pattern}"
            raise errors.malformed(name, "streamName", pattern)
        return name


def operation(method: Callable[Concatenate[A, P], T]) -> Callable[Concatenate[A, P], T]:
    """Make a method an operation of the service, which faults may hit. Its AWS name follows from its own."""
    name = aws_name(method.__name__)

    @functools.wraps(method)
    def exposed(self: A, /, *args: P.args, **kwargs: P.kwargs) -> T:
        fault = self.faults.on(name)
        if fault is CALM:
            return method(self, *args, **kwargs)
        self.strike(name, fault)
        answer = method(self, *args, **kwargs)
        if self.hit(fault.lost):
            raise errors.AnswerLost(name)
        return answer

    return exposed


def whole_millis(epoch_seconds: float) -> float:
    """Cut off what is finer than a millisecond."""
    return math.floor(epoch_seconds * 1000) / 1000


def within(value: int, low: int, high: int, at: str) -> int:
    """Return `value`, or raise the ValidationException for a number out of range."""
    if value < low:
        raise errors.malformed(value, at, f"Member must have value greater than or equal to {low}")
    if value > high:
        raise errors.malformed(value, at, f"Member must have value less than or equal to {high}")
    return value


def shard_of(stream: Stream, shard_id: str) -> Shard:
    """Return a shard of the stream. Raises ResourceNotFoundException."""
    shard = stream.shards.get(shard_id)
    if shard is None:
        raise errors.missing_shard(shard_id, stream.name)
    return shard
