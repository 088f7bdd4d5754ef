"""The local fence: what stops a worker that was asleep for longer than its lease (rule 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamkit.ports import Clock

FENCE = 0.9
"""No handler starts later than this many lease durations after the last confirmed heartbeat was sent (rule 3)."""


class Fence:
    """Whether this worker may still start handlers: shared by the heartbeat's thread and the worker's loop.

    It holds until `FENCE` lease durations after the last confirmed heartbeat was *sent*. Once down, it stays down:
    the worker has to begin anew, as another incarnation.
    """

    def __init__(self, *, lease: float, clock: Clock) -> None:
        """`lease` in seconds; the join of the worker counts as the first heartbeat."""
        self._reach = FENCE * lease
        self._clock = clock
        self._until = clock.monotonic() + self._reach
        self._down = False

    def confirm(self, sent: float) -> None:
        """A heartbeat that was sent at this moment (monotonic seconds) is confirmed."""
        self._until = max(self._until, sent + self._reach)

    def drop(self) -> None:
        """This worker was declared dead."""
        self._down = True

    @property
    def left(self) -> float:
        """Return for how many seconds it holds if no further heartbeat is confirmed."""
        return 0.0 if self._down else self._until - self._clock.monotonic()

    def until(self) -> float:
        """Return the moment (monotonic) at which it falls if no further heartbeat is confirmed; 0 once it is down."""
        return 0.0 if self._down else self._until

    def holds(self) -> bool:
        """Say whether a handler may start now."""
        if not self._down and self._clock.monotonic() >= self._until:
            self._down = True
        return not self._down

    def __repr__(self) -> str:
        return f"<Fence {'down' if self._down else 'up'}, {self.left:.1f} s left>"
