"""Rows of functions: what may expire, and how large one gets."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from streamkit.aws.call import Call
from streamkit.aws.memory import TableMemory
from streamkit.core.memory import (
    MAX_FAILURES,
    MAX_PARTS,
    MAX_STEP,
    Digests,
    Memo,
    ShardCell,
    SlotCell,
    Stretches,
    Trouble,
)

NOW = 1_356_998_400.0
SHARD = ShardCell("arn:aws:kinesis:eu-west-1:123456789012:stream/stream", "shardId-000000000000")
SLOT = SlotCell(SHARD.stream, SHARD.shard, 4_523_328, NOW, NOW + 3.5)
DAY = 86_400
MOST_RECORDS = 10_000
"""Of an event: https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-parameters.html"""
MOST_BYTES = 400 * 1024
"""Of an item: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html"""


async def expires(memory: TableMemory, dynamodb: Call, table: str, trouble: Trouble) -> int:
    """Return when the shard's row goes, after a delivery that ended with this trouble and another that died."""
    claim = Memo(token="a", since=NOW, until=NOW + 10)
    revision = (await memory.claim(SHARD, claim, now=NOW)).revision
    await memory.write(
        SHARD, Memo(token="a", since=NOW, until=None, revision=revision + 1, trouble=trouble, known=Stretches())
    )
    await memory.claim(SHARD, Memo(token="b", since=NOW + 60, until=NOW + 70), now=NOW + 60)
    found: dict[str, Any] = await dynamodb("Scan", TableName=table, ConsistentRead=True)
    [item] = found["Items"]
    return int(item["expires"]["N"])


@pytest.mark.parametrize("trouble", [Trouble(parked=("0123456789abcdef",)), Trouble(halted="a halt")])
async def test_parked_keys_and_halts_never_expire(dynamodb: Call, table: str, trouble: Trouble) -> None:
    """They are durable state (rule 21): a mapping may be disabled for longer than what was settled is kept."""
    memory = TableMemory(dynamodb, table, consumer="consumer", keep=timedelta(days=7))
    assert await expires(memory, dynamodb, table, trouble) > NOW + 10_000 * DAY


async def test_what_is_remembered_of_a_shard_expires_after_a_week(dynamodb: Call, table: str) -> None:
    """Shards come and go; what the stream forgot nobody delivers again."""
    memory = TableMemory(dynamodb, table, consumer="consumer", keep=timedelta(days=7))
    assert NOW + 7 * DAY <= await expires(memory, dynamodb, table, Trouble()) <= NOW + 8 * DAY


async def test_the_largest_row_fits_into_an_item() -> None:
    """The most records of an event, each a large aggregate in part settled, and everything that can go wrong."""
    places = [f"{'9' * 56}{n:06}:{n}" for n in range(MAX_FAILURES)]
    counts = dict.fromkeys(places, 1_000)
    trouble = Trouble(
        failures=counts,
        cut=counts,
        sole=counts,
        suspects=tuple(places[:MAX_STEP]),
        deaths=1_000,
        down_since=NOW,
        halted="x" * 300,
        batch=10_000,
    )
    known = Digests(bytes(12 * MOST_RECORDS), bytes(range(256)) * 5, bytes(12 * MAX_PARTS))
    mark = tuple(places[:MAX_STEP])
    memo = Memo(token="a" * 32, since=NOW, until=NOW, revision=10**9, mark=mark, trouble=trouble, known=known)
    noted = NotedCall()
    await TableMemory(noted, "table", consumer="consumer", keep=timedelta(days=7)).write(SLOT, memo)
    assert 200 * 1024 < size(noted.items[0]) < MOST_BYTES


class NotedCall:
    """A service that notes what it is sent."""

    def __init__(self) -> None:
        self.items: list[Any] = []

    async def __call__(self, operation: str, /, **parameters: object) -> dict[str, Any]:
        """Note the item."""
        self.items.append(parameters["Item"])
        return {}


def size(value: object) -> int:
    """Return about how large DynamoDB takes an item or a value of it to be."""
    if isinstance(value, dict):
        return sum(len(str(name)) + 3 + size(each) for name, each in value.items())
    if isinstance(value, list):
        return sum(3 + size(each) for each in value)
    return len(value) if isinstance(value, str | bytes) else 1
