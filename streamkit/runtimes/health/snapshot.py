"""How one worker process stands, as a frozen value that any thread may read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from streamkit import metrics
from streamkit.metrics import Sample

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from streamkit.ports import Clock


class Snapshot(msgspec.Struct, frozen=True):
    """One look at a worker."""

    at: float = 0.0
    """When it was taken: monotonic seconds of the worker's clock."""
    stuck: tuple[str, ...] = ()
    """Why only a new process would help; empty if it lives."""
    unready: tuple[str, ...] = ("it has just started",)
    """Why it does not do all that falls to it; empty if it does."""
    samples: tuple[Sample, ...] = ()


class Crewed(Protocol):
    """A consumer in a worker, as seen from here."""

    @property
    def name(self) -> str:
        """Name of the consumer."""
        ...

    def stuck(self) -> str | None:
        """Say why only a new process would help, if that is so."""
        ...

    def unready(self) -> str | None:
        """Say why it does not do all that falls to it, if that is so."""
        ...

    def samples(self, now: datetime) -> Iterable[Sample]:
        """Give what is counted, and how things stand."""
        ...


def look(crews: Sequence[Crewed], clock: Clock) -> Snapshot:
    """Take a look. In the worker's own loop: nobody else may look into the work."""
    stuck = [(crew.name, crew.stuck()) for crew in crews]
    unready = [(crew.name, crew.unready()) for crew in crews]
    now = clock.now()
    return Snapshot(
        at=clock.monotonic(),
        stuck=_said(stuck),
        unready=_said(unready),
        samples=(
            *(Sample(metrics.LIVE.series, (name,), float(why is None)) for name, why in stuck),
            *(Sample(metrics.READY.series, (name,), float(why is None)) for name, why in unready),
            *(sample for crew in crews for sample in crew.samples(now)),
        ),
    )


def aged(snapshot: Snapshot, *, now: float, patience: float) -> Snapshot:
    """Return what a snapshot means at this moment: one that is too old is of a loop that turns no more.

    `patience` in seconds, that of the watchdog which withholds the heartbeat (rule 2).
    """
    age = now - snapshot.at
    if age < patience:
        return snapshot
    why = f"the worker's loop has not turned for {age:.0f} s"
    gone = {metrics.LIVE.series, metrics.READY.series}
    return Snapshot(
        at=snapshot.at,
        stuck=(*snapshot.stuck, why),
        unready=(*snapshot.unready, why),
        samples=tuple(
            Sample(each.metric, each.labels, 0.0) if each.metric in gone else each for each in snapshot.samples
        ),
    )


def _said(found: Iterable[tuple[str, str | None]]) -> tuple[str, ...]:
    return tuple(f"{name}: {why}" for name, why in found if why is not None)
