"""A function on a stage: events of its own making, containers that can be killed, in virtual time."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from streamkit import Change, Consumer, Kinesis, Poison, Record, Retry, Sqs, consumer
from streamkit.core.records import Batch
from streamkit.runtimes.function.function import Answer, Function
from streamkit.testing import World

ARN = "arn:aws:kinesis:eu-west-1:123456789012:stream/stream"
TABLE_ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/flights/stream/2013-01-01T00:00:00.000"
SHARD = "shardId-000000000000"
FIRST = 49590338271490256608559692538361571095921575989136588898
ARRIVED = 1_356_998_400.0
"""2013-01-01T00:00:00Z, when virtual time begins."""
SETTLED: Answer = {"batchItemFailures": []}

MODES: Sequence[int | None] = (1, None)
"""Parallelization factors: declared to be one, and not declared."""


class Exited(BaseException):
    """The process was ended from inside."""


class Context:
    """What is left of an invocation's time, in virtual seconds."""

    def __init__(self, seconds: float = 60.0) -> None:
        self._end = asyncio.get_running_loop().time() + seconds

    def get_remaining_time_in_millis(self) -> int:
        """Return what is left."""
        return max(0, round((self._end - asyncio.get_running_loop().time()) * 1000))


def kinesis(
    *numbers: int,
    shard: str = SHARD,
    keys: int = 5,
    data: Callable[[int], bytes] = lambda number: str(number).encode(),
    apart: float = 0.1,
) -> dict[str, Any]:
    """Return an event of these records, `apart` seconds from each other, their keys in turn."""
    return {
        "Records": [
            {
                "kinesis": {
                    "kinesisSchemaVersion": "1.0",
                    "partitionKey": f"key-{number % keys}",
                    "sequenceNumber": sequence(number),
                    "data": base64.b64encode(data(number)).decode(),
                    "approximateArrivalTimestamp": ARRIVED + number * apart,
                },
                "eventSource": "aws:kinesis",
                "eventVersion": "1.0",
                "eventID": f"{shard}:{sequence(number)}",
                "eventName": "aws:kinesis:record",
                "invokeIdentityArn": "arn:aws:iam::123456789012:role/function",
                "awsRegion": "eu-west-1",
                "eventSourceARN": ARN,
            }
            for number in numbers
        ]
    }


def changes(*numbers: int, keys: int = 5, arn: str = TABLE_ARN) -> dict[str, Any]:
    """Return an event of these changes of a table's items."""
    return {
        "Records": [
            {
                "eventID": f"{number:032x}",
                "eventName": "MODIFY",
                "eventVersion": "1.1",
                "eventSource": "aws:dynamodb",
                "awsRegion": "eu-west-1",
                "dynamodb": {
                    "ApproximateCreationDateTime": ARRIVED + number // 10,
                    "Keys": {"id": {"S": f"key-{number % keys}"}},
                    "NewImage": {"id": {"S": f"key-{number % keys}"}, "n": {"N": str(number)}},
                    "SequenceNumber": str(4421584500000000017450439091 + number),
                    "SizeBytes": 26,
                    "StreamViewType": "NEW_AND_OLD_IMAGES",
                },
                "eventSourceARN": arn,
            }
            for number in numbers
        ]
    }


def sequence(number: int) -> str:
    """Return the sequence number of the n-th record."""
    return str(FIRST + number * 2**80)


def first(answer: Answer) -> int | None:
    """Return which record an answer names, None if all are settled."""
    [*failures] = answer["batchItemFailures"]
    assert len(failures) <= 1, "more than one identifier"
    return (int(failures[0]["itemIdentifier"]) - FIRST) // 2**80 if failures else None


class Stage:
    """One consumer's function, its world, and what its handlers did."""

    def __init__(self, **settings: Any) -> None:
        self.world = World()
        self.effects: list[int] = []
        """What took effect, in order."""
        self.runs: list[int] = []
        self.exits = 0
        self.behaviour: Callable[[int], Awaitable[None] | None] = lambda _: None
        """What a handler does besides; it may raise, and wait."""
        self.handler: Callable[..., Any] = self.handle
        self.batches = False
        self._settings = settings

    def consumer(self) -> Consumer:
        """Make the consumer."""
        settings: dict[str, Any] = {
            "source": Kinesis("stream"),
            "dead_letters": Sqs("dead"),
            "partial_responses": True,
            "retry": Retry(attempts=3, initial=timedelta(seconds=0.5), maximum=timedelta(seconds=1)),
            **self._settings,
        }
        decorate = consumer.batch if self.batches else consumer
        made: Consumer = decorate("staged", **settings)(self.handler)
        return made

    async def handle(self, record: Record) -> None:
        """Note the run, behave, note the effect."""
        number = self.number(record)
        self.runs.append(number)
        waiting = self.behaviour(number)
        if waiting is not None:
            await waiting
        self.effects.append(number)

    def number(self, record: Record) -> int:
        """Return which record it is."""
        return int(str((record.new or {})["n"])) if isinstance(record, Change) else int(record.data)

    @asynccontextmanager
    async def container(self, **changes: Any) -> AsyncGenerator[Function]:
        """Open the function as a container would."""

        def leave() -> None:
            self.exits += 1
            raise Exited

        async with Function.open(
            self.consumer().using(**changes),
            self.world,
            clock=self.world.clock,
            chance=self.world.chance,
            report=self.world.report,
            leave=leave,
        ) as function:
            yield function

    async def invoke(self, event: Mapping[str, Any], *, seconds: float = 60.0, **changes: Any) -> Answer:
        """Invoke in a container of its own."""
        async with self.container(**changes) as function:
            return await function.invoke(event, Context(seconds))

    async def killed(self, event: Mapping[str, Any], *, after: float, seconds: float = 60.0) -> None:
        """Invoke, and kill the container some time later: nothing of it is written any more."""
        with_limit = asyncio.timeout(after)
        try:
            async with with_limit:
                await self.invoke(event, seconds=seconds)
        except TimeoutError:
            assert with_limit.expired()
            return
        raise AssertionError("expected an invocation that lasts longer")

    async def delivered(self, numbers: Iterable[int], *, times: int = 50, seconds: float = 60.0) -> int:
        """Deliver as a mapping with partial responses does, until all is settled; return how often."""
        waiting = list(numbers)
        for delivery in range(1, times + 1):
            unsettled = first(await self.invoke(kinesis(*waiting), seconds=seconds))
            if unsettled is None:
                return delivery
            waiting = waiting[waiting.index(unsettled) :]
        raise AssertionError(f"expected an end within {times} deliveries")

    @property
    def dead(self) -> list[int]:
        """Which records have letters."""
        return [self.number(letter.record) for letter in self.world.letters.letters]

    def repeated(self) -> dict[int, int]:
        """Return what took effect more than once."""
        return {number: n for number, n in Counter(self.effects).items() if n > 1}

    def order_holds(self, keys: int = 5) -> bool:
        """Say whether the first effects of each key came in stream order."""
        first_effects = list(dict.fromkeys(self.effects))
        lines = [[number for number in first_effects if number % keys == key] for key in range(keys)]
        return all(line == sorted(line) for line in lines)

    @property
    def cost(self) -> int:
        """Requests to the memory so far."""
        return self.world.deliveries.requests.total()


async def poison(number: int) -> None:
    """Be poison."""
    raise Poison(f"record {number}")


def batch_numbers(batch: Batch) -> list[int]:
    """Return which records a batch has."""
    return [int(record.data) for record in batch]
