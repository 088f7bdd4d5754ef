"""The adapter of DynamoDB Streams keeps the promises of its port, over the service in memory."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pytest

from streamkit.aws.backoff import Backoff
from streamkit.aws.change_source import ChangeSettings, ChangeSource
from streamkit.aws.pace import Pacing
from streamkit.ports import Source
from streamkit.testing import ManualClock, Recorder, SeededChance
from streamkit.testing.contracts import ChangesContract, RollingContract, RollingDriver
from streamkit.testing.dynamodb_streams import ChangeStreams, ChangingTable
from streamkit.testing.dynamodb_streams.service import calls

HASTY = ChangeSettings(
    pacing=Pacing(calls_per_second=10_000, bytes_per_second=1e9, idle_seconds=0.0, idle_limit_seconds=0.0),
    backoff=Backoff(base_seconds=0.0, limit_seconds=0.0),
)


class Writer:
    """Writes to the table; a second passes with each write."""

    def __init__(self, table: ChangingTable, clock: ManualClock) -> None:
        self.table = table
        self.clock = clock

    async def put(self, item: Mapping[str, object]) -> None:
        """Put a second later."""
        self.clock.advance(timedelta(seconds=1))
        self.table.put(item)

    async def remove(self, key: str) -> None:
        """Delete a second later."""
        self.clock.advance(timedelta(seconds=1))
        self.table.remove({"id": key})

    async def delete(self) -> None:
        """Delete the table."""
        self.table.delete()

    async def create(self) -> None:
        """Make it a minute later."""
        self.clock.advance(timedelta(minutes=1))
        self.table.create(shards=2)

    async def roll(self, shard: str) -> None:
        """Roll."""
        self.table.streams.roll(shard)

    async def split(self, shard: str) -> None:
        """Split."""
        self.table.streams.split(shard)

    async def disable(self) -> None:
        """Disable."""
        self.table.disable()

    async def enable(self) -> None:
        """Enable, with two shards."""
        self.table.enable(shards=2)

    async def age(self, hours: float) -> None:
        """Let time pass."""
        self.clock.advance(timedelta(hours=hours))


@pytest.fixture
def clock() -> ManualClock:
    """A clock that the test moves."""
    return ManualClock()


@pytest.fixture
def table(clock: ManualClock) -> ChangingTable:
    """A new table, of two shards; quotas are for other tests: here no time passes by itself."""
    return ChangingTable(ChangeStreams(clock=lambda: clock.now().timestamp(), quotas=False), clock, shards=2)


@pytest.fixture
def changing(table: ChangingTable, clock: ManualClock) -> RollingDriver:
    """The side of its writers."""
    return Writer(table, clock)


@pytest.fixture
def source(table: ChangingTable, clock: ManualClock) -> Source:
    """The side of its consumer, impatient."""
    dynamodb, streams = calls(table)
    return ChangeSource(
        dynamodb, streams, table=table.name, clock=clock, chance=SeededChance(seed=0), report=Recorder(), settings=HASTY
    )


class TestChanges(ChangesContract):
    """What every table's stream does."""


class TestRolling(RollingContract):
    """What the service does to streams at times of its own."""
