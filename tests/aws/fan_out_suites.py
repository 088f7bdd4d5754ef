"""The contract of a source whose records are pushed, on whatever the fixtures of the importing folder lead to."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace

from streamkit.aws.clients import Aws
from streamkit.aws.fan_out_renewal import FanOutSettings
from streamkit.aws.kinesis import KinesisSource
from streamkit.clock import SystemChance, SystemClock
from streamkit.core.lineage import Shard
from streamkit.core.positions import Place
from streamkit.ports import Reader
from streamkit.testing import Recorder
from streamkit.testing.contracts import SourceContract
from tests.aws.drivers import KinesisProducer
from tests.aws.suites import HASTY

IMPATIENT = replace(HASTY, fan_out=FanOutSettings(apart_seconds=0.0, look_seconds=0.05, again_seconds=5.0, tries=3))


class Remembering(KinesisSource):
    """Knows the readers it has opened: each holds a connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.opened: list[Reader] = []

    def reader(self, shard: Shard, place: Place) -> Reader:
        """Open one more."""
        self.opened.append(super().reader(shard, place))
        return self.opened[-1]


class TestPushed(SourceContract):
    """Source and reader on Kinesis, by enhanced fan-out."""

    @pytest.fixture
    async def stream(self, aws: Aws, name: str) -> AsyncIterator[KinesisProducer]:
        """A new stream."""
        producer = KinesisProducer(await aws.call("kinesis"), name)
        await producer.create()
        yield producer
        await producer.discard()

    @pytest.fixture
    async def source(self, aws: Aws, name: str, recorder: Recorder) -> AsyncIterator[KinesisSource]:
        """The port over it, impatient."""
        source = Remembering(
            await aws.call("kinesis"),
            stream=name,
            clock=SystemClock(),
            chance=SystemChance(),
            report=recorder,
            fan_out="readers",
            settings=IMPATIENT,
        )
        yield source
        for reader in source.opened:
            reader.close()

    async def test_nothing_but_an_end_that_is_not_told_is_polled_for(
        self, source: KinesisSource, stream: KinesisProducer, recorder: Recorder
    ) -> None:
        """Records come by the subscription itself."""
        shard_id, _ = await stream.put("k", b"1")
        shard = next(shard for shard in await source.shards() if shard.id == shard_id)
        reader = source.reader(shard, "TRIM_HORIZON")
        found = [record.data for record in (await reader.read()).records]
        await stream.put("k", b"2")
        while len(found) < 2:
            found += [record.data for record in (await reader.read()).records]
        assert found == [b"1", b"2"]
        assert recorder.named("push.started")
        assert recorder.named("push.refused") == []
