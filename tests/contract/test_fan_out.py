"""The adapter of Kinesis keeps the promises of its port also where records are pushed, over the service in memory."""

import random
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from streamkit.aws.fan_out_renewal import FanOutSettings
from streamkit.aws.kinesis import KinesisSource
from streamkit.clock import SystemClock
from streamkit.ports import Source
from streamkit.testing import KinesisWorld, MemoryStream, Recorder, SeededChance
from streamkit.testing.contracts import SourceContract, StreamDriver
from streamkit.testing.kinesis import Pushing
from streamkit.testing.kinesis.service import call_of
from tests.aws.drivers import KinesisProducer
from tests.aws.suites import HASTY

AT_ONCE = replace(HASTY, fan_out=FanOutSettings(apart_seconds=0.0, look_seconds=0.0))


def now() -> float:
    """The time, in seconds since the epoch."""
    return SystemClock().now().timestamp()


class TestPushed(SourceContract):
    """Source and reader."""

    @pytest.fixture
    def kinesis(self) -> KinesisWorld:
        """A service that is quick to say that there is nothing."""
        kinesis = KinesisWorld(clock=now, chance=random.Random(0))
        kinesis.pushing = Pushing(apart_seconds=0.0, heartbeat_seconds=0.02, records=2)
        return kinesis

    @pytest.fixture
    def stream(self, kinesis: KinesisWorld) -> StreamDriver:
        """A new stream of it."""
        return KinesisProducer(call_of(kinesis, now=now), MemoryStream(kinesis, SystemClock(), shards=2).name)

    @pytest.fixture
    def source(self, kinesis: KinesisWorld) -> Iterator[Source]:
        """The port over it; nothing may be polled."""
        recorder = Recorder()
        yield KinesisSource(
            call_of(kinesis, now=now),
            stream="stream",
            clock=SystemClock(),
            chance=SeededChance(0),
            report=recorder,
            fan_out="readers",
            settings=AT_ONCE,
        )
        assert recorder.named("push.refused") == []
