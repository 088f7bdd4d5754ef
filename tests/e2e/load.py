"""A steady load: records of many keys at an even pace, each key's in order."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from hashlib import md5
from itertools import count
from random import Random
from types import TracebackType
from typing import NamedTuple, Self

from tests.e2e.verdict import Place, Put
from tests.e2e.waiting import eventually

Payload = tuple[str, bytes]
PARTS = 8
"""Of the hash keys, each with as many keys: up to so many even shards get the same load."""


class Pace(NamedTuple):
    """What is put, and how fast: a record of every key at once, `beats` times a second."""

    keys_each: int = 3
    """Keys in each of eight parts of the hash keys."""
    beats: float = 10.0
    poison: float = 0.002
    """Share of records that no handler can take."""
    slow: float = 0.0
    """Share of records that keep their handler busy for a second."""

    def payload(self, turn: int, chance: Random) -> tuple[bytes, bool]:
        """Draw a payload; say whether it is poison."""
        poison = chance.random() < self.poison
        seconds = 1.0 if chance.random() < self.slow else 0.0
        return json.dumps({"turn": turn, "poison": poison, "seconds": seconds}).encode(), poison


def even_keys(each: int) -> list[str]:
    """Return keys of which so many fall into each part of the hash keys, which are MD5 sums in Kinesis."""
    found = Counter[int]()
    keys: list[str] = []
    for key in map("N{}".format, count()):
        part = md5(key.encode(), usedforsecurity=False).digest()[0] * PARTS // 256
        if found[part] < each:
            found[part] += 1
            keys.append(key)
        if len(keys) == each * PARTS:
            break
    return keys


class Load:
    """Puts records from a thread of its own until it is left; then `put` is all there is."""

    def __init__(self, put: Callable[[Sequence[Payload]], Sequence[Place]], pace: Pace, chance: Random) -> None:
        self.put: list[Put] = []
        self._put = put
        self._pace = pace
        self._keys = even_keys(pace.keys_each)
        self._chance = chance
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._failure: Exception | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        if self._failure is not None and error is None:
            raise self._failure

    def goes_on(self, seconds: float) -> None:
        """Wait until so many seconds' worth of records has been put: on a slow machine, longer than that."""
        wanted = len(self.put) + round(seconds * self._pace.beats) * len(self._keys)
        eventually(lambda: len(self.put) >= wanted or self._failure is not None, f"{wanted} records are put")

    def places(self) -> set[Place]:
        """Return the places of what can be handled."""
        return {each.place for each in self.put if not each.poison}

    def _run(self) -> None:
        turns = Counter[str]()
        try:
            while not self._stop.wait(1 / self._pace.beats):
                self._beat(turns)
        except Exception as failure:  # noqa: BLE001 - told to whoever leaves
            self._failure = failure

    def _beat(self, turns: Counter[str]) -> None:
        drawn = [self._pace.payload(turns[key], self._chance) for key in self._keys]
        places = self._put([(key, data) for key, (data, _) in zip(self._keys, drawn, strict=True)])
        now = time.time()
        for key, (_, poison), place in zip(self._keys, drawn, places, strict=True):
            self.put.append(Put(key, turns[key], poison, place, now))
        turns.update(self._keys)
