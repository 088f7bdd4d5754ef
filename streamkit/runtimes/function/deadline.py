"""How much of an invocation's time there is, and for what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from streamkit.ports import Clock

_RESERVE_SHARE = 1 / 6
_RESERVE_SECONDS = 5.0
"""The most that is kept back: for letters, the settlement, and the answer."""


class Context(Protocol):
    """What is used of Lambda's context object."""

    def get_remaining_time_in_millis(self) -> int:
        """Return what is left of the function's time-out."""
        ...


class Deadline(msgspec.Struct, frozen=True):
    """Moments of one invocation, in the clock's monotonic seconds.

    |  attempts start  | those under way may end |  letters, settlement  |  answer
    now              stop                      cancel                  leave     end
    """

    stop: float
    """Nothing starts any more."""
    cancel: float
    """Attempts under way are cancelled."""
    leave: float
    """What runs in a thread even now will not end: the process has to."""
    end: float
    """Lambda ends the function."""
    epoch: float
    """The same moment: seconds since the epoch."""

    @classmethod
    def of(cls, context: Context, clock: Clock) -> Deadline:
        """Share out what is left."""
        left = max(0, context.get_remaining_time_in_millis()) / 1000
        now, reserve = clock.monotonic(), min(_RESERVE_SECONDS, left * _RESERVE_SHARE)
        end = now + left
        return cls(
            stop=end - 2 * reserve,
            cancel=end - reserve,
            leave=end - reserve / 2,
            end=end,
            epoch=clock.now().timestamp() + left,
        )
