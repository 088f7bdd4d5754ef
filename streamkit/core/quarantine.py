"""A record that kills the process (rule 22): who is suspected, and in which steps the suspects are tried. Pure.

    taken over --> taken over --> steps, each written down first --> a step dies: its records are the suspects now
    from a dead owner, twice,          | all suspects settled        | it had one record only: a strike against that
    the frontier unmoved               '--> as ever                  '--> condemned by its strikes

Each death leaves a sixteenth of the suspects, so few are needed. A record is condemned by deaths at which nothing but
it was tried: two of a process of the quarantine's own, or three of a worker, which has other shards to die of.
"""

from __future__ import annotations

from datetime import UTC, datetime
from math import ceil
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from streamkit.core.positions import Position

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DEATHS = 2
"""From so many deaths in a row without progress on, records go in marked steps."""
STEPS = 16
"""Into so many steps the suspects are cut: few enough writes, and a sixteenth of them left after each death."""
STRIKES_APART = 2
"""Deaths of a process in which nothing else ran: it was the record."""
STRIKES = 3
"""Deaths of any kind: something else may have killed a worker, but hardly each time at this very record."""
MOST = 24
"""Deaths that a row tells of: more are not added, for what dies of itself marks no step in between."""
KEPT = 12
"""Of them, those that are left when the owner writes: there has to be room for its own."""


class Death(msgspec.Struct, frozen=True, array_like=True):
    """The end of a process that did not come back with what it had."""

    at: float
    """When it was noticed: seconds since the epoch."""
    how: str
    """Exit status or signal, or which worker was declared dead."""
    epoch: int
    """Of the lease under which it worked."""
    apart: bool = False
    """Whether it was a process of the quarantine's own."""

    def __str__(self) -> str:
        at = datetime.fromtimestamp(self.at, UTC).isoformat(timespec="seconds")
        return f"{self.how} ({at})"


class Quarantine(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far the suspects of one shard have been tried: in its row as long as there are any."""

    left: int
    """Records to try before the shard is above suspicion, those of the step under way included."""
    size: int
    """Most records of a step."""
    until: Position | None = None
    """The last suspect, where a death has told; else the first `left` records are suspected."""
    step: Position | None = None
    """The last record of the step marked last."""
    tried: int = 0
    """How many records that step has."""
    epoch: int = 0
    """Of the lease under which it is under way; 0 once it is not."""
    strikes: tuple[Death, ...] = ()
    """Deaths at which the record at `step` was tried alone."""

    @classmethod
    def of(cls, suspects: int) -> Quarantine:
        """Begin with so many suspects at most."""
        return cls(suspects, piece(suspects))

    @property
    def over(self) -> bool:
        """Say whether all suspects are settled."""
        return self.left <= 0

    @property
    def condemned(self) -> Position | None:
        """The record that is condemned, by its place, if one is."""
        proven = sum(strike.apart for strike in self.strikes) >= STRIKES_APART or len(self.strikes) >= STRIKES
        return self.step if proven else None

    @property
    def why(self) -> str:
        """The crash history of the record tried last, in a few words."""
        return f"it ended its process {len(self.strikes)} times, alone: {'; '.join(map(str, self.strikes))}"

    def marked(self, step: Position, *, tried: int, epoch: int) -> Quarantine:
        """Return how things stand while these records are tried, the last of which is at `step`."""
        same = tried == 1 and step == self.step
        return replace(self, step=step, tried=tried, epoch=epoch, strikes=self.strikes if same else ())

    def passed(self) -> Quarantine:
        """Return how things stand once the step is settled."""
        left = self.left - self.tried
        if self.until is not None and self.step is not None:
            left = max(1, left) if self.step.place < self.until.place else 0
        return Quarantine(left, self.size, self.until)

    def stopped(self) -> Quarantine:
        """Return how things stand when nothing is under way, the step settled or not."""
        return replace(self, epoch=0)

    def died(self, deaths: Iterable[Death]) -> Quarantine:
        """Return how things stand after processes died in this step."""
        if self.tried > 1:
            return Quarantine(self.tried, piece(self.tried), self.step)
        return replace(self, left=1, size=1, until=self.step, epoch=0, strikes=(*self.strikes, *deaths))


def piece(suspects: int) -> int:
    """Return how many of so many suspects are tried at once."""
    return max(1, ceil(suspects / STEPS))


def resumed(kept: Quarantine | None, deaths: Sequence[Death], *, most: int) -> Quarantine | None:
    """Return how a shard just taken is to be run, None being as ever, by what its row keeps and the deaths it tells of.

    Only who marked the step under way can have died of it. `most` is how many records can have been under way when
    nothing was marked.
    """
    if kept is None:
        return Quarantine.of(most) if len(deaths) >= DEATHS else None
    fatal = [death for death in deaths if death.epoch == kept.epoch and not death.apart]
    return kept.died(fatal) if fatal else kept.stopped()
