"""The faults in force right now. Everything about chance in the services is drawn here, from one generator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from streamkit.testing.simulation.mix import Rates

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from streamkit.errors import WorldError
    from streamkit.testing.simulation.mix import Mix
    from streamkit.testing.simulation.process import Process

CALM = Rates()

Fate = Literal["throttled", "lost", "late", "heard"]
"""Of a request with an effect."""


class Weather:
    """What befalls requests, until `clear`."""

    def __init__(
        self, mix: Mix, rng: random.Random, *, bereaved: Callable[[Process], None], saw: Callable[[str], None]
    ) -> None:
        self.seed = mix.seed
        self.lease = mix.lease
        self.rates = mix.rates
        self.rng = rng
        self.bereaved = bereaved
        """Told of a process that was killed at a request: somebody may start another."""
        self.table_down: type[WorldError] | None = None
        self.queue_down = False
        self.sink_down = False
        self._latency = mix.latency
        self._saw = saw

    def way(self) -> float:
        """Seconds one way takes."""
        if self.rates.slow and self.rng.random() < self.rates.slow:
            self._saw("way slow")
            return self.rng.uniform(0.0, self.lease)
        return self._latency * (0.5 + self.rng.random())

    def happens(self, share: float) -> bool:
        """Draw whether something of this share befalls."""
        return self.rng.random() < share

    def fate(self) -> Fate:
        """Draw what becomes of a request."""
        rates, drawn = self.rates, self.rng.random()
        if drawn < rates.throttled:
            return "throttled"
        if drawn < rates.throttled + rates.lost:
            return "lost"
        return "late" if drawn < rates.throttled + rates.lost + rates.late else "heard"

    def late(self, patience: float) -> float:
        """Seconds after which a late request lands: about when its sender gives up, or much later."""
        return patience * self.rng.uniform(0.9, 1.9) if self.happens(0.5) else self.rng.uniform(0.0, 3.0 * self.lease)

    def long_stop(self) -> float:
        """Seconds for which a process is stopped: around its lease, or for much longer."""
        return self.lease * self.rng.choice((0.3, 0.9, 1.0, 1.1, 1.3, 2.0, 3.0, 6.0)) * self.rng.uniform(0.9, 1.1)

    def clear(self) -> None:
        """No fault any more."""
        self.rates = CALM
        self.table_down = None
        self.queue_down = self.sink_down = False
