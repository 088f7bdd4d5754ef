"""The faults in force right now. Everything about chance in the services is drawn here, from one generator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.testing.simulation.mix import Rates

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from streamkit.errors import WorldError
    from streamkit.testing.simulation.mix import Mix
    from streamkit.testing.simulation.process import Process

CALM = Rates()


class Weather:
    """What befalls requests, until `clear`."""

    def __init__(self, mix: Mix, rng: random.Random, *, bereaved: Callable[[Process], None]) -> None:
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

    def way(self) -> float:
        """Seconds one way takes."""
        if self.rates.slow and self.rng.random() < self.rates.slow:
            return self.rng.uniform(0.0, self.lease)
        return self._latency * (0.5 + self.rng.random())

    def long_stop(self) -> float:
        """Seconds for which a process is stopped: around its lease, or for much longer."""
        return self.lease * self.rng.choice((0.3, 0.9, 1.0, 1.1, 1.3, 2.0, 3.0, 6.0)) * self.rng.uniform(0.9, 1.1)

    def clear(self) -> None:
        """No fault any more."""
        self.rates = CALM
        self.table_down = None
        self.queue_down = self.sink_down = False
