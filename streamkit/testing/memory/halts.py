"""Where functions stand still, in memory: `Halts`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamkit.core.memory import Halt


class MemoryHalts:
    """The halts of one consumer's function."""

    def __init__(self) -> None:
        self._halts: dict[str, Halt] = {}

    def __repr__(self) -> str:
        return f"<MemoryHalts, {len(self._halts)} stand>"

    async def halt(self, halt: Halt) -> None:
        """Returning means that it stands."""
        self._halts[halt.name] = halt

    async def stands(self, name: str) -> Halt | None:
        """Return the halt of this name, if nobody has lifted it."""
        return self._halts.get(name)

    async def standing(self) -> Sequence[Halt]:
        """Return every halt."""
        return [self._halts[name] for name in sorted(self._halts)]

    async def lift(self, halt: Halt) -> None:
        """Returning means that the next delivery goes on."""
        self._halts.pop(halt.name, None)
