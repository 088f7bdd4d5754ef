"""Refusals of DynamoDB Streams, with AWS's names."""

from __future__ import annotations


class StreamsError(Exception):
    """The service refused: `code` is AWS's name for the reason. Nothing has happened."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


def missing(what: str) -> StreamsError:
    """No such stream, shard or table, or no longer."""
    return StreamsError("ResourceNotFoundException", f"Requested resource not found: {what}")


def invalid(message: str) -> StreamsError:
    """A parameter that cannot be right."""
    return StreamsError("ValidationException", message)


def expired() -> StreamsError:
    """The iterator is older than 15 minutes."""
    return StreamsError("ExpiredIteratorException", "Shard iterator is expired")


def trimmed() -> StreamsError:
    """The place has been dropped."""
    return StreamsError(
        "TrimmedDataAccessException", "The operation attempted to read past the oldest stream record in a shard"
    )


def too_often(what: str) -> StreamsError:
    """A quota is used up."""
    return StreamsError("LimitExceededException", f"Rate of requests exceeds the allowed throughput: {what}")
