"""The roll of workers: whose process each row is, who has gone, and how shards pass between the living (rules 2, 6)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamkit.core.leasing import Member, ShardRow
    from streamkit.events import ShardsOffered
    from streamkit.testing.simulation.history import History
    from streamkit.testing.simulation.mix import Mix
    from streamkit.testing.simulation.process import Process

_SUSPICION = 1.05
_KEPT_SECONDS = 3600.0
"""Rule 2's own figures, not the product's: a change there must not move what it is measured by."""
_PATIENCE_WITH_MOVES = 3
"""Hand-overs of one shard, by rates that are only just being measured, while no worker or shard comes or goes."""


class Roll:
    """Sees every change of a worker's row."""

    def __init__(
        self, mix: Mix, now: Callable[[], float], history: History, *, violated: Callable[[str, str], None]
    ) -> None:
        """`now` tells the virtual second."""
        self._mix = mix
        self._now = now
        self._history = history
        self._violated = violated
        self._bodies: dict[str, Process] = {}
        self._beaten: dict[str, float] = {}
        """When the latest heartbeat of a worker took effect."""
        self._gone: dict[str, float] = {}
        """When a worker left or was declared dead."""
        self._offers = Counter[str]()
        """How often each shard was handed over since a worker or a shard came or went."""

    def owner(self, row: ShardRow) -> Process | None:
        """Return the process that a shard's row names, if it names one that was met."""
        return self._bodies.get(row.owner or "")

    def took(self, process: Process, row: ShardRow) -> None:
        """A process took a shard under its worker's name."""
        assert row.owner is not None  # noqa: S101 - a take has a taker
        self._bodies[row.owner] = process

    # -- coming and going

    def joined(self, process: Process, member: Member) -> None:
        """A worker's row was made."""
        self._bodies[member.worker] = process
        self._beaten[member.worker] = self._now()
        self.stirred()
        self._note(process, "joined")

    def beat(self, process: Process, member: Member, *, before: Member | None) -> None:
        """A heartbeat took effect upon a row that was like this."""
        if before is None or before.state != "alive":
            state = "gone" if before is None else before.state
            self._violated("the gone stay gone", f"{member.worker} of {process.name}, {state}, beat again")
        self._beaten[member.worker] = self._now()
        if member.state != "alive":
            self._gone[member.worker] = self._now()
            self.stirred()
            self._note(process, f"is {member.state}")

    def buried(self, process: Process, member: Member) -> None:
        """A worker was declared dead."""
        silent = self._now() - self._beaten[member.worker]
        self._gone[member.worker] = self._now()
        self.stirred()
        body = self._bodies[member.worker]
        self._note(process, f"buried {body.name}, silent for {silent:.3f} s")
        self._history.saw("buried the dead" if not body.alive else "buried the living")
        if silent < _SUSPICION * self._mix.lease / (1.0 + self._mix.drift) - 1e-6:
            self._violated("the living are not buried", f"{process.name} buried {body.name} after {silent:.3f} s")

    def forgotten(self, process: Process, member: Member) -> None:
        """The row of a worker was removed."""
        gone = self._now() - self._gone.get(member.worker, self._now())
        self._history.saw(f"forgot who {'left' if member.state == 'left' else 'died'}")
        if gone < _KEPT_SECONDS / (1.0 + self._mix.drift):
            self._violated("the gone are remembered for a while", f"{member} by {process.name} after {gone:.0f} s")

    # -- hand-overs

    def stirred(self) -> None:
        """Workers or shards came or went: shards may well change hands."""
        self._offers.clear()

    def offered(self, process: Process, event: ShardsOffered) -> None:
        """A worker lets go of shards that fall to others."""
        self._note(process, f"offers {', '.join(shard[-4:] for shard in event.shards)}")
        if len(event.shards) > 1:
            self._history.saw("several moves in one plan")
        if event.for_throughput:
            self._history.saw("a move for throughput")
        for shard in event.shards:
            self._offers[shard] += 1
            if self._offers[shard] > _PATIENCE_WITH_MOVES:
                self._violated("no shard is passed to and fro", f"{shard} by {process.name}, and nothing came or went")

    def _note(self, process: Process, what: str) -> None:
        self._history.note(self._now(), process.name, what)
