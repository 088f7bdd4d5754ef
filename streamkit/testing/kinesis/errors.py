"""Refusals, with AWS's names and words.

Messages follow what real AWS answers, as recorded in public test suites; they help people, so code should look at
`code` alone.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

ACCOUNT: Final = "123456789012"
THROTTLED: Final = "ProvisionedThroughputExceededException"


class KinesisError(Exception):
    """The service refused: `code` is AWS's name for the reason, `message` its sentence. Nothing has happened."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class AnswerLost(Exception):
    """The call took effect, then the connection broke before the answer arrived."""


def invalid(message: str) -> KinesisError:
    """An argument that cannot be right in this state of the stream."""
    return KinesisError("InvalidArgumentException", message)


def malformed(value: object, at: str, constraint: str) -> KinesisError:
    """An argument that is never right."""
    message = f"1 validation error detected: Value '{value}' at '{at}' failed to satisfy constraint: {constraint}"
    return KinesisError("ValidationException", message)


def missing_stream(name: str) -> KinesisError:
    """No such stream."""
    return KinesisError("ResourceNotFoundException", f"Stream {name} under account {ACCOUNT} not found.")


def missing_shard(shard: str, stream: str) -> KinesisError:
    """No such shard, or no longer."""
    message = f"Shard {shard} in stream {stream} under account {ACCOUNT} does not exist"
    return KinesisError("ResourceNotFoundException", message)


def stream_exists(name: str) -> KinesisError:
    """The name is taken."""
    return KinesisError("ResourceInUseException", f"Stream {name} under account {ACCOUNT} already exists.")


def stream_busy(name: str, status: str) -> KinesisError:
    """The stream is being created, changed or deleted."""
    message = f"Stream {name} under account {ACCOUNT} not ACTIVE, instead in state {status}"
    return KinesisError("ResourceInUseException", message)


def in_use(message: str) -> KinesisError:
    """Somebody else has it."""
    return KinesisError("ResourceInUseException", message)


def missing_consumer(name: str) -> KinesisError:
    """No such stream consumer."""
    return KinesisError("ResourceNotFoundException", f"Consumer {name} under account {ACCOUNT} not found.")


def limit_exceeded(message: str) -> KinesisError:
    """A quota of the account or the stream would be passed."""
    return KinesisError("LimitExceededException", message)


def throttled(shard: str, stream: str) -> KinesisError:
    """The shard's throughput is used up."""
    return KinesisError(THROTTLED, f"Rate exceeded for shard {shard} in stream {stream} under account {ACCOUNT}.")


def failed() -> KinesisError:
    """Something inside AWS broke."""
    return KinesisError("InternalFailureException", "Internal Service Failure")


def expired(*, issued: float, now: float, tolerated_seconds: int) -> KinesisError:
    """The iterator is too old. Times in epoch seconds."""
    message = (
        f"Iterator expired. The iterator was created at time {_spelled(issued)} while right now it is {_spelled(now)} "
        f"which is further in the future than the tolerated delay of {tolerated_seconds * 1000} milliseconds."
    )
    return KinesisError("ExpiredIteratorException", message)


def _spelled(epoch_seconds: float) -> str:
    return datetime.fromtimestamp(epoch_seconds, UTC).strftime("%a %b %d %H:%M:%S UTC %Y")
