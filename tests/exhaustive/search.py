"""Every state of a small world, breadth first, so that the first broken law comes with the shortest way to it.

python -m tests.exhaustive.search --help     larger worlds
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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
            for step, after, broken in self.model.steps(state):
                self.steps += 1
                new = after not in self.came
                if new:
                    self.came[after] = (state, step)
                    waiting.append((after, depth + 1))
                broken = broken or (self.model.broken(after) if new else None)
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
    return Search(Model(size)).run(most=most)
