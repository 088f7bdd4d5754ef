"""Make a dead-letter queue: what `streamkit init --queue` needs. Letters carry payloads, so it is encrypted."""

from __future__ import annotations

from datetime import timedelta

from streamkit.aws.call import Call
from streamkit.errors import ConfigurationError

KEEP = timedelta(days=14)
"""The longest SQS keeps a message: a dead letter waits for a person."""


async def create(call: Call, queue: str) -> str:
    """Make the queue, FIFO if its name ends so, and return its URL; one that is alike already stays as it is.

    Encrypted with keys of SQS. Raises `ConfigurationError` for an address that is no name and no ARN.
    """
    name = queue.rpartition(":")[2] if queue.startswith("arn:") else queue
    if "/" in name:
        raise ConfigurationError(f"expected a queue's name to make it, got {queue!r}: make it yourself, or name it")
    attributes = {
        "MessageRetentionPeriod": str(round(KEEP.total_seconds())),
        "SqsManagedSseEnabled": "true",
        **({"FifoQueue": "true"} if name.endswith(".fifo") else {}),
    }
    url: str = (await call("CreateQueue", QueueName=name, Attributes=attributes))["QueueUrl"]
    return url
