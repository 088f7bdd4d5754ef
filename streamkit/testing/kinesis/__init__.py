"""Kinesis Data Streams in memory: no sockets, no sleeping, the clock and chance injected.

    world = KinesisWorld(clock=clock, chance=random.Random(7))
    world.create_stream(stream_name="flights", shard_count=4)
    world.put_record(stream_name="flights", data=b"...", partition_key="N12345")

Operations are methods named as in boto3 and answer with values whose fields are AWS's in snake case. Refusals are
`KinesisError`s with AWS's names. Quotas (`Limits`) and troubles (`Faults`) are values to be switched at any time.
`streamkit.testing.endpoint` serves the same world over HTTP.
"""

from streamkit.testing.kinesis.errors import ACCOUNT, AnswerLost, KinesisError
from streamkit.testing.kinesis.faults import Fault, Faults
from streamkit.testing.kinesis.limits import AS_AWS, UNLIMITED, Limits, Pushing
from streamkit.testing.kinesis.values import (
    Entry,
    Push,
    Put,
    Puts,
    Records,
    ShardDescription,
    ShardFilter,
    Shards,
    Stored,
)
from streamkit.testing.kinesis.world import KinesisWorld

__all__ = [
    "ACCOUNT",
    "AS_AWS",
    "UNLIMITED",
    "AnswerLost",
    "Entry",
    "Fault",
    "Faults",
    "KinesisError",
    "KinesisWorld",
    "Limits",
    "Push",
    "Pushing",
    "Put",
    "Puts",
    "Records",
    "ShardDescription",
    "ShardFilter",
    "Shards",
    "Stored",
]
