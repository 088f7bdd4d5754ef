"""A scenario played: the stream, the sink with its moods, and what happened."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from streamkit import (
    Batch,
    Change,
    Consumer,
    DynamoDBStream,
    Kinesis,
    Outage,
    Poison,
    Record,
    Retry,
    Sqs,
    Unavailable,
    consumer,
)
from streamkit.testing import World
from streamkit.testing.mapping.containers import Container, home

if TYPE_CHECKING:
    from tests.equivalence.scenario import Put, Scenario

_FLAKY_FAILURES = 1
_SLOW_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Effect:
    """One effect of a handler."""

    number: int
    key: str
    at: float


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt under way, and where."""

    number: int
    container: Container | None
    suspensions: int

    @property
    def runs(self) -> bool:
        """Whether it goes on in real time: its container is neither dead nor was frozen since."""
        return self.container is None or not (
            self.container.dead or self.container.frozen or self.container.suspensions != self.suspensions
        )


class Broken(AssertionError):
    """A promise that was not kept."""


class Stage:
    """One world, its producer and its sink."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.world = World(shards=scenario.shards)
        self.effects: list[Effect] = []
        self.failures: Counter[int] = Counter()
        self.broken: list[str] = []
        self.sequence_numbers: dict[int, str] = {}
        self.finished = False
        self._puts = {put.number: put for put in scenario.puts}
        self._under_way: dict[str, Attempt] = {}

    # -- the producer and the operator

    async def produce(self) -> None:
        """Put the records and reshard the stream, each at its moment."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        happenings: list[tuple[float, int, Put | str]] = [(put.at, 1, put) for put in self.scenario.puts]
        happenings += [(at, 0, what) for at, what in self.scenario.reshards]
        for at, _, what in sorted(happenings, key=lambda happening: happening[:2]):
            await asyncio.sleep(max(0.0, began + at - loop.time()))
            if isinstance(what, str):
                self._reshard(what)
            else:
                self._put(what)
        self.finished = True

    def _put(self, put: Put) -> None:
        text = str(put.number).encode()
        if self.scenario.source == "dynamodb":
            self.world.changing.put({"id": put.key, "n": put.number})
            return  # the service tells nobody the number
        stored = self.world.stream.put(put.key, b"\xff" + text if put.behaviour == "garbled" else text)
        self.sequence_numbers[put.number] = stored.sequence_number

    def _reshard(self, what: str) -> None:
        described = self.world.stream.kinesis.describe_stream(stream_name="stream").shards
        shards = [each for each in described if each.sequence_number_range.ending_sequence_number is None]
        shards.sort(key=lambda shard: int(shard.hash_key_range.starting_hash_key))
        if what == "split":
            self.world.stream.split(shards[0].shard_id)
        elif len(shards) > 1:
            self.world.stream.merge(shards[0].shard_id, shards[1].shard_id)

    # -- the consumer

    def consumer(self) -> Consumer:
        """Return the scenario's consumer, the same in every runtime."""
        scenario = self.scenario
        settings: dict[str, Any] = {
            "retry": Retry(attempts=scenario.attempts, initial=timedelta(seconds=0.1), maximum=timedelta(seconds=2)),
            "outage": Outage(maximum=timedelta(seconds=10), limit=timedelta(minutes=5)),
            "concurrency": scenario.concurrency,
            "on_dead_letter": scenario.on_dead_letter,
            "parallelization_factor": 1 if scenario.in_turn else None,
            "partial_responses": scenario.partial_responses,
        }
        source = DynamoDBStream("stream") if scenario.source == "dynamodb" else Kinesis("stream")
        fixed: dict[str, Any] = {"source": source, "dead_letters": Sqs("dead")}
        if scenario.kind == "batch":
            return consumer.batch("equal", batch_size=10, **fixed, **settings)(self._handle_batch)
        return consumer("equal", **fixed, **settings)(self._handle)

    async def _handle(self, record: Record) -> None:
        number = self._number(record)
        self._begin(number, record.key)
        try:
            await asyncio.sleep(self.scenario.handler_seconds)
            await self._check(record)
            self._take_effect(number)
        finally:
            self._end(record.key)

    async def _handle_batch(self, batch: Batch) -> None:
        """All or nothing: what fails names no culprit."""
        await asyncio.sleep(self.scenario.handler_seconds)
        for record in batch:
            await self._check(record)
        for record in batch:
            self._take_effect(self._number(record))

    async def _check(self, record: Record) -> None:
        """Misbehave as the record does."""
        now, number = asyncio.get_running_loop().time(), self._number(record)
        if any(begin <= now < end for begin, end in self.scenario.outages):
            raise Unavailable("the sink is down")
        match self._puts[number].behaviour:
            case "slow":
                await asyncio.sleep(_SLOW_SECONDS)
            case "garbled":
                record.text()
            case "poison":
                raise Poison("never")
            case "bad":
                raise RuntimeError("no")
            case "flaky" if self.failures[number] < _FLAKY_FAILURES:
                self.failures[number] += 1
                raise RuntimeError("not yet")
            case _:
                pass

    # -- what the sink sees

    def _begin(self, number: int, key: str) -> None:
        other, container = self._under_way.get(key), home()
        if other is not None and other.runs:
            self.broken.append(f"{number} starts while {other.number} of its key is under way")
        self._under_way[key] = Attempt(number, container, container.suspensions if container else 0)

    def _end(self, key: str) -> None:
        attempt, container = self._under_way.get(key), home()
        if attempt is not None and attempt.container is container:
            del self._under_way[key]

    def _take_effect(self, number: int) -> None:
        self.effects.append(Effect(number, self._puts[number].key, asyncio.get_running_loop().time()))

    def _number(self, record: Record) -> int:
        """Return which put it is of, and note how it is named."""
        number = int(str(record.new["n"])) if isinstance(record, Change) and record.new else _number(record)
        self.sequence_numbers[number] = record.sequence_number
        return number

    # -- what must hold at the end

    @property
    def letters(self) -> dict[int, str]:
        """The condition of each number's dead letter."""
        return {self._number(letter.record): letter.verdict.condition for letter in self.world.letters.letters}

    @property
    def lines(self) -> dict[str, list[int]]:
        """The first effects of each key, in their order."""
        found: dict[str, dict[int, None]] = {}
        for effect in self.effects:
            found.setdefault(effect.key, {})[effect.number] = None
        return {key: [*line] for key, line in found.items()}

    @property
    def repeats(self) -> Counter[int]:
        """How often each number took effect once more."""
        times = Counter(effect.number for effect in self.effects)
        return Counter({number: count - 1 for number, count in times.items() if count > 1})

    def check(self, *, killers: frozenset[int] = frozenset()) -> None:
        """Hold what happened against the scenario. Raises `Broken`.

        `killers` are numbers in which processes died by chance, twice: they may be taken for what killed them.
        """
        killed = {number for number in killers if self.letters.get(number) == "ProcessDied"}
        fates = {number: fate for number, fate in self.scenario.fates.items() if number not in killed}
        broken = [*self.broken, *self._wrong_letters(fates, killed), *self._wrong_lines(fates)]
        if broken:
            raise Broken(f"seed {self.scenario.seed}: " + "; ".join(broken[:5]))

    def _wrong_letters(self, fates: dict[int, str | None], killed: set[int]) -> list[str]:
        """Return what is wrong with the dead letters: exactly what is condemned has one, for its reason."""
        expected = {number: fate for number, fate in fates.items() if fate is not None}
        got = {number: condition for number, condition in self.letters.items() if number not in killed}
        found = [] if got == expected else [f"expected the letters {_difference(expected, got)}"]
        if extra := {effect.number for effect in self.effects} & expected.keys():
            found.append(f"effects of what is in letters: {sorted(extra)}")
        return found

    def _wrong_lines(self, fates: dict[int, str | None]) -> list[str]:
        """Return what was lost, and where first effects of a key came out of order."""
        found: list[str] = []
        for key, line in self.scenario.lines.items():
            got = self.lines.get(key, [])
            if lost := {number for number in line if number in fates} - {*got}:
                found.append(f"{key}: lost {sorted(lost)}")
            if any(first > second for first, second in pairwise(got)):
                found.append(f"{key}: out of order, {got}")
        return found


def _number(record: Record) -> int:
    return int(record.data.lstrip(b"\xff"))


def _difference(expected: dict[int, str], got: dict[int, str]) -> str:
    odd = sorted(number for number in {*expected, *got} if expected.get(number) != got.get(number))
    return ", ".join(f"{number}: {expected.get(number)}, got {got.get(number)}" for number in odd[:8])
