"""Consume Kinesis and DynamoDB Streams in Python: nothing lost, order kept, one bad record costs one dead letter."""

from typing import TYPE_CHECKING

from streamkit.consumer import Consumer, DynamoDBStream, Kinesis, Sqs, consumer
from streamkit.core.letters import Letter
from streamkit.core.policy import Checkpoint, Outage, Retry
from streamkit.core.records import Batch, Record
from streamkit.errors import ConfigurationError, StreamkitError
from streamkit.signals import Failed, Partial, Poison, Unavailable, Undecodable

if TYPE_CHECKING:
    from streamkit.core.changes import Change
    from streamkit.core.guard import Guard
    from streamkit.engine.transaction import Transaction

__version__ = "0.1.0"

__all__ = [
    "Batch",
    "Change",
    "Checkpoint",
    "ConfigurationError",
    "Consumer",
    "DynamoDBStream",
    "Failed",
    "Guard",
    "Kinesis",
    "Letter",
    "Outage",
    "Partial",
    "Poison",
    "Record",
    "Retry",
    "Sqs",
    "StreamkitError",
    "Transaction",
    "Unavailable",
    "Undecodable",
    "consumer",
]


def __getattr__(name: str) -> object:
    """Load what few consumers name: a cold start of the others pays for none of it."""
    if name == "Change":
        from streamkit.core.changes import Change

        return Change
    if name == "Guard":
        from streamkit.core.guard import Guard

        return Guard
    if name == "Transaction":
        from streamkit.engine.transaction import Transaction

        return Transaction
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
