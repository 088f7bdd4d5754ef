"""What tests of the mapping put on: a world, a stream of numbers, handlers with one bad record."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from streamkit.testing import World
from streamkit.testing.mapping import (
    Context,
    EventSourceMapping,
    Faults,
    Handler,
    KinesisFeed,
    LambdaFunction,
    Terms,
    run_mapped,
)

T = TypeVar("T")


class BadRecord(Exception):
    """Raised for a record that cannot be handled."""


def numbers_of(event: dict[str, Any]) -> list[int]:
    """Return the payloads of a Kinesis event: numbers."""
    return [json.loads(base64.b64decode(entry["kinesis"]["data"])) for entry in event["Records"]]


@dataclass
class Handled:
    """Handlers that note what they handle, and fail at some numbers."""

    bad: Sequence[int] = ()
    effects: list[int] = field(default_factory=list[int])
    calls: list[list[int]] = field(default_factory=list[list[int]])

    def plain(self, event: dict[str, Any], _context: Context) -> None:
        """Handle one after the other; raise at the first bad one."""
        self.calls.append(numbers_of(event))
        for number in self.calls[-1]:
            if number in self.bad:
                raise BadRecord(str(number))
            self.effects.append(number)

    def reporting(self, event: dict[str, Any], _context: Context) -> dict[str, list[dict[str, str]]]:
        """Handle one after the other; stop at the first bad one and report it."""
        self.calls.append(numbers_of(event))
        for number, entry in zip(self.calls[-1], event["Records"], strict=True):
            if number in self.bad:
                return {"batchItemFailures": [{"itemIdentifier": entry["kinesis"]["sequenceNumber"]}]}
            self.effects.append(number)
        return {"batchItemFailures": []}


def mapped(
    handler: Handler,
    main: Callable[[World, EventSourceMapping], Awaitable[T]],
    *,
    terms: Terms | None = None,
    faults: Faults | None = None,
    shards: int = 1,
    seed: int = 0,
) -> tuple[T, EventSourceMapping]:
    """Run `main` beside a mapping of a stream in memory; return what it returns, and the mapping."""

    async def run() -> tuple[T, EventSourceMapping]:
        world = World(shards=shards)
        function = LambdaFunction(lambda: handler, faults=faults)
        async with EventSourceMapping(KinesisFeed(world.stream), function, terms) as mapping:
            answer = await main(world, mapping)
        return answer, mapping

    return run_mapped(run, seed=seed)


def delivered(
    handler: Handler,
    count: int,
    *,
    terms: Terms | None = None,
    faults: Faults | None = None,
    keys: int = 5,
    seed: int = 0,
) -> EventSourceMapping:
    """Put numbers before the mapping starts, wait until all are settled, and return the mapping."""

    async def run() -> EventSourceMapping:
        world = World()
        for number in range(count):
            world.stream.put(f"key-{number % keys}", number)
        function = LambdaFunction(lambda: handler, faults=faults)
        async with EventSourceMapping(KinesisFeed(world.stream), function, terms) as mapping:
            await mapping.settled()
        return mapping

    return run_mapped(run, seed=seed)
