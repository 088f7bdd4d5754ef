"""A world whose time stands still until a test moves it."""

import random

import pytest

from streamkit.testing.kinesis import KinesisWorld


class StoppedClock:
    """Epoch seconds that only a test moves."""

    def __init__(self) -> None:
        self.seconds = 1_700_000_000.0004  # no whole millisecond, as real clocks

    def __call__(self) -> float:
        """Return the time."""
        return self.seconds

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += seconds


@pytest.fixture
def clock() -> StoppedClock:
    """Return the clock of the world."""
    return StoppedClock()


@pytest.fixture
def world(clock: StoppedClock) -> KinesisWorld:
    """One stream `s` of one shard, no limits, no faults."""
    world = KinesisWorld(clock=clock, chance=random.Random(7))
    world.create_stream(stream_name="s", shard_count=1)
    return world
