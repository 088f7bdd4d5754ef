"""Every state of a small world, breadth first, so that the first broken law comes with the shortest way to it.

python -m tests.exhaustive.search --help     larger worlds
"""

from __future__ import annotations

import argparse
import gc
import sys
import time  # noqa: TID251 - a command that says how long it took
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamkit.core.lineage import Shard
from tests.exhaustive.machine import Stream
from tests.exhaustive.model import Model, Size, State, Step

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_STATES = 3_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search saw."""

    states: int
    steps: int
    depth: int
    """Steps from the start to the state farthest from it."""
    broken: str | None = None
    trace: tuple[str, ...] = ()
    """The way to the broken law, in words."""

    def __str__(self) -> str:
        counted = f"{self.states:,} states, {self.steps:,} steps, depth {self.depth}"
        if self.broken is None:
            return counted
        lines = [f"{number:3}. {line}" for number, line in enumerate(self.trace, 1)]
        return "\n".join([counted, *lines, f"BROKEN: {self.broken}"])


@dataclass(slots=True)
class Search:
    """A search through one world."""

    model: Model
    came: dict[State, tuple[State, Step] | None] = field(default_factory=dict[State, "tuple[State, Step] | None"])
    before: dict[State, list[State]] = field(default_factory=dict[State, "list[State]"])
    steps: int = 0

    def run(self, *, most: int = MOST_STATES) -> Found:
        """Visit every state; stop at the first law that is broken. Raises `MemoryError` beyond `most` states."""
        start = self.model.start()
        self.came[start] = None
        waiting, depth = deque([(start, 0)]), 0
        while waiting:
            state, depth = waiting.popleft()
            for step, after, wrong in self.model.steps(state):
                self.steps += 1
                new = after not in self.came
                if new:
                    self.came[after] = (state, step)
                    waiting.append((after, depth + 1))
                broken = wrong or (self.model.broken(after) if new else None)
                if broken:
                    return self._found(depth + 1, broken, [*self._way_to(state), step])
                self.before.setdefault(after, []).append(state)
            if len(self.came) > most:
                raise MemoryError(f"expected at most {most:,} states, got more: choose a smaller world")
        return self._stuck(depth)

    def _stuck(self, depth: int) -> Found:
        """Make sure that from wherever a worker is left, the shards can still be settled to their end."""
        hopeful = {state for state in self.came if self.model.done(state)}
        waiting = deque(hopeful)
        while waiting:
            for state in self.before.get(waiting.popleft(), ()):
                if state not in hopeful:
                    hopeful.add(state)
                    waiting.append(state)
        for state in self.came:
            if state not in hopeful and self.model.able(state):
                return self._found(depth, "from here no way leads to the end", self._way_to(state))
        return self._found(depth, None, [])

    def _way_to(self, state: State) -> list[Step]:
        way: list[Step] = []
        while (came := self.came[state]) is not None:
            state, step = came
            way.append(step)
        return way[::-1]

    def _found(self, depth: int, broken: str | None, way: Sequence[Step]) -> Found:
        told = tuple(self.model.told(step) for step in way)
        return Found(states=len(self.came), steps=self.steps, depth=depth, broken=broken, trace=told)


def search(size: Size, *, most: int = MOST_STATES) -> Found:
    """Visit every state of a world of this size."""
    gc.disable()  # millions of small tuples, and no cycles but those of tracebacks
    try:
        return Search(Model(size)).run(most=most)
    finally:
        gc.enable()


SHAPES = {
    "one": (Shard("s1"),),
    "two": (Shard("s1"), Shard("s2")),
    "split": (Shard("s1"), Shard("s2", ("s1",)), Shard("s3", ("s1",))),
    "merge": (Shard("s1"), Shard("s2"), Shard("s3", ("s1", "s2"))),
}


def size(shape: str, *, records: int, workers: int = 2, joined: int = 2, troubles: int) -> Size:
    """Return the size of a world whose shards have this shape."""
    stream = Stream(SHAPES[shape], records)
    return Size(stream=stream, workers=workers, joined=min(joined, workers), troubles=troubles)


SMALL = {
    "one shard, one trouble": size("one", records=1, troubles=1),
    "one shard, a worker that joins late": size("one", records=2, joined=1, troubles=1),
    "one shard, three workers": size("one", records=0, workers=3, joined=3, troubles=1),
    "two shards, handed over to a worker that joins late": size("two", records=0, joined=1, troubles=0),
    "two shards, one trouble": size("two", records=0, troubles=1),
    "a split": size("split", records=1, troubles=0),
    "a merge": size("merge", records=0, troubles=0),
}
"""Worlds searched by every run of the tests."""
LARGER = {
    "one shard, two troubles": size("one", records=1, troubles=2),
    "two shards, one trouble, a worker that joins late": size("two", records=0, joined=1, troubles=1),
    "a merge, and a trouble": size("merge", records=0, troubles=1),
}
"""Worlds searched by `make test-long`."""


def main() -> None:
    """Search the small worlds, or one as large as asked for."""
    parser = argparse.ArgumentParser(description="Search every state of a small world of real coordinators.")
    parser.add_argument("--shape", choices=sorted(SHAPES), help="the shards; without it, the worlds of the tests")
    parser.add_argument("--records", type=int, default=1, help="in each shard")
    parser.add_argument("--workers", type=int, default=2, help="at most three")
    parser.add_argument("--joined", type=int, default=2, help="of them, from the start")
    parser.add_argument("--troubles", type=int, default=1, help="at most so many in a history")
    parser.add_argument("--most", type=int, default=MOST_STATES, help="states; a few KB each")
    args = parser.parse_args()
    worlds = SMALL | LARGER
    if args.shape:
        asked = size(args.shape, records=args.records, workers=args.workers, joined=args.joined, troubles=args.troubles)
        worlds = {args.shape: asked}
    for name, world in worlds.items():
        began = time.perf_counter()
        found = search(world, most=args.most)
        print(f"{name}: {found} ({time.perf_counter() - began:.1f} s)", flush=True)
        if found.broken:
            sys.exit(1)


if __name__ == "__main__":
    main()
