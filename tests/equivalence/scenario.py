"""What a seed draws: records that misbehave, outages, reshards, and a consumer. The same for every runtime.

What must become of each record follows from the scenario alone; that is what both runtimes are held against.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal

from streamkit.core.settlement import OnDeadLetter
from streamkit.testing.mapping import Faults, Terms, Weather

Behaviour = Literal["fine", "slow", "flaky", "poison", "bad", "garbled"]
"""Flaky: fails a few times. Poison, bad, garbled: can never be handled, and says so, does not, or cannot be read."""
DOOMED = ("poison", "bad", "garbled")
CONDITIONS = {"poison": "Poison", "bad": "RetryAttemptsExhausted", "garbled": "Undecodable"}
Reshard = Literal["split", "merge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """One record. Times in virtual seconds from the start."""

    at: float
    number: int
    key: str
    behaviour: Behaviour


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What befalls the Lambda path, while it lasts."""

    faults: Faults = field(default_factory=Faults)
    weather: Weather = field(default_factory=Weather)
    stops: tuple[float, ...] = ()
    """When an operator disables the mapping abruptly, and enables it again."""
    lasts: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One seed's draw."""

    seed: int
    source: Literal["kinesis", "dynamodb"]
    """Records, or the changes that the same puts make to a table's items."""
    shards: int
    puts: tuple[Put, ...]
    reshards: tuple[tuple[float, Reshard], ...]
    outages: tuple[tuple[float, float], ...]
    """From when until when the sink answers `Unavailable` to everything."""
    kind: Literal["async", "thread", "batch"]
    concurrency: int
    attempts: int
    on_dead_letter: OnDeadLetter
    handler_seconds: float
    terms: Terms
    in_turn: bool
    """Whether the consumer declares a parallelization factor of 1, as the mapping has."""
    partial_responses: bool
    timeout: timedelta
    trouble: Trouble

    @property
    def fates(self) -> dict[int, str | None]:
        """Return the condition of each number's dead letter; None for what takes effect."""
        found: dict[int, str | None] = {}
        parked: set[str] = set()
        for put in self.puts:
            fate = CONDITIONS.get(put.behaviour)
            if put.key in parked:
                fate = "Parked"
            if fate is not None and self.on_dead_letter == "park":
                parked.add(put.key)
            found[put.number] = fate
        return found

    @property
    def lines(self) -> dict[str, list[int]]:
        """Return the numbers that take effect, by key, in their order."""
        found: dict[str, list[int]] = {}
        for put in self.puts:
            if self.fates[put.number] is None:
                found.setdefault(put.key, []).append(put.number)
        return found


def draw(seed: int, *, troubled: bool = False, changes: bool = False) -> Scenario:
    """Draw the scenario of a seed; `changes` makes it one of a table's changes."""
    scenario = _draw(seed, troubled=troubled)
    return replace(scenario, **_of_a_table(scenario)) if changes else scenario


def _of_a_table(scenario: Scenario) -> dict[str, Any]:
    """Return what is different where the events do not tell the shard, and a payload is never garbled."""
    puts = tuple(replace(put, behaviour="poison") if put.behaviour == "garbled" else put for put in scenario.puts)
    return {"source": "dynamodb", "puts": puts, "reshards": (), "on_dead_letter": "continue"}


def _draw(seed: int, *, troubled: bool) -> Scenario:
    """Draw the scenario of a seed; `troubled` adds faults of Lambda and of the way to the table."""
    rng = random.Random(f"equivalence {seed}")
    count = rng.choice((10, 30, 60, 100))
    duration = rng.choice((0.0, 5.0, 30.0))
    keys = rng.choice((1, 3, 8, 20))
    attempts = 6 if troubled else rng.choice((2, 3))
    factor = rng.choice((1, 1, 2, 4, 10))
    in_turn = factor == 1 and rng.random() < 0.6
    reports = rng.random() < 0.8
    kind: Literal["async", "thread", "batch"] = rng.choice(("async", "async", "async", "batch"))
    return Scenario(
        seed=seed,
        source="kinesis",
        shards=rng.choice((1, 1, 2)),
        puts=tuple(sorted(_puts(rng, count, keys=keys, duration=duration), key=lambda put: (put.at, put.number))),
        reshards=_reshards(rng, duration) if not in_turn else (),
        outages=_outages(rng, duration),
        kind=kind,
        concurrency=rng.choice((1, 4, 64)),
        attempts=attempts,
        on_dead_letter=rng.choice(("continue", "continue", "park")) if in_turn else "continue",
        handler_seconds=rng.choice((0.0, 0.05, 0.3)),
        terms=Terms(
            batch_size=rng.choice((1, 5, 20, 100)),
            window=timedelta(seconds=rng.choice((0.0, 0.0, 2.0))),
            parallelization_factor=factor,
            bisect_batch_on_function_error=rng.random() < 0.4,
            report_batch_item_failures=reports,
        ),
        in_turn=in_turn,
        partial_responses=reports,
        timeout=timedelta(seconds=rng.choice((6.0, 15.0, 60.0)) if kind != "batch" else 60.0),
        trouble=_trouble(rng, duration) if troubled else Trouble(),
    )


def _puts(rng: random.Random, count: int, *, keys: int, duration: float) -> list[Put]:
    share = rng.choice((0.0, 0.1, 0.3))
    moments = sorted(rng.uniform(0.0, duration) for _ in range(count))
    behaviours: tuple[Behaviour, ...] = ("slow", "flaky", "flaky", "poison", "bad", "garbled")
    return [
        Put(
            at=at,
            number=number,
            key=f"key-{rng.randrange(keys)}",
            behaviour=rng.choice(behaviours) if rng.random() < share else "fine",
        )
        for number, at in enumerate(moments)
    ]


def _reshards(rng: random.Random, duration: float) -> tuple[tuple[float, Reshard], ...]:
    if rng.random() < 0.6 or not duration:
        return ()
    return tuple(
        (at, rng.choice(("split", "split", "merge")))
        for at in sorted(rng.uniform(0, duration) for _ in range(rng.randint(1, 3)))
    )


def _outages(rng: random.Random, duration: float) -> tuple[tuple[float, float], ...]:
    if rng.random() < 0.7:
        return ()
    begin = rng.uniform(0.0, duration)
    return ((begin, begin + rng.choice((3.0, 20.0, 90.0))),)


def _trouble(rng: random.Random, duration: float) -> Trouble:
    """Draw what befalls Lambda."""

    def share(odds: float, most: float) -> float:
        return rng.uniform(0.0, most) if rng.random() < odds else 0.0

    faults = Faults(
        throttled=share(0.4, 0.5),
        lost=share(0.5, 0.4),
        twins=share(0.5, 0.6),
        crashed=share(0.5, 0.3),
        stalled=share(0.5, 0.5),
        zombies=rng.choice((0.0, 0.5, 1.0)),
        recycled=share(0.4, 0.5),
        within=timedelta(seconds=rng.choice((0.2, 1.0, 5.0))),
        latency=timedelta(seconds=rng.choice((0.0, 0.05, 0.5))),
    )
    weather = Weather(
        throttled=share(0.3, 0.3),
        lost=share(0.3, 0.3),
        late=share(0.3, 0.2),
        latency=timedelta(seconds=rng.choice((0.0, 0.02, 0.2))),
    )
    stops = tuple(sorted(rng.uniform(0, duration + 30) for _ in range(rng.choice((0, 0, 1, 3)))))
    return Trouble(faults=faults, weather=weather, stops=stops, lasts=duration + rng.choice((10.0, 60.0)))
