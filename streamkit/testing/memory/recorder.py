"""A report that keeps what it is told."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamkit.events import Event

KEPT = 100_000


class Recorder:
    """Keeps the latest events, in the order in which they happened."""

    def __init__(self, keep: int = KEPT) -> None:
        self.events: deque[Event] = deque(maxlen=keep)

    def __call__(self, event: Event) -> None:
        """Keep the event."""
        self.events.append(event)

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items()))
        return f"<Recorder of {counts or 'nothing yet'}>"

    @property
    def names(self) -> list[str]:
        """The name of every event."""
        return [event.name for event in self.events]

    @property
    def counts(self) -> Counter[str]:
        """How many there are of each name."""
        return Counter(self.names)

    def named(self, name: str) -> list[Event]:
        """Return the events of this name."""
        return [event for event in self.events if event.name == name]
