"""A stream whose records are pushed: enhanced fan-out, by the adapter that reads AWS."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from msgspec.structs import replace

from streamkit.aws.fan_out_renewal import FanOutSettings
from streamkit.aws.kinesis import KinesisSettings, KinesisSource
from streamkit.aws.pace import Pacing
from streamkit.testing.kinesis.limits import Pushing
from streamkit.testing.kinesis.service import call_of
from streamkit.testing.simulation.polled import PolledStream
from streamkit.testing.simulation.site import NAME
from streamkit.testing.simulation.wire import Wire

if TYPE_CHECKING:
    from streamkit.consumer import Kinesis
    from streamkit.ports import Clock, Report, Source
    from streamkit.testing.simulation.mix import Mix
    from streamkit.testing.simulation.process import Process

_LIFE_SECONDS = 20.0
_AGAIN_SECONDS = 15.0
"""Shorter than the service's five minutes and the product's, so that they end within a history."""
_MOST = 10_000


class PushedStream(PolledStream):
    """A Kinesis stream with one registered consumer; who is refused polls for a while."""

    def __init__(self, mix: Mix, clock: Clock) -> None:
        super().__init__(mix, clock)
        self.kinesis.pushing = Pushing(life_seconds=_LIFE_SECONDS, records=mix.page, registering_seconds=mix.poll)
        idle = timedelta(seconds=mix.poll).total_seconds()
        self._settings = KinesisSettings(
            pacing=Pacing(idle_seconds=idle, idle_limit_seconds=2 * idle),
            limit=min(mix.page, _MOST),
            fan_out=FanOutSettings(again_seconds=_AGAIN_SECONDS),
        )
        self._now = lambda: clock.now().timestamp()

    def declared(self) -> Kinesis:
        """Return the source as a consumer declares it."""
        return replace(super().declared(), fan_out=True)

    def source(self, process: Process, report: Report) -> Source:
        """Return the stream as one process sees it."""
        return KinesisSource(
            Wire(call_of(self.kinesis, now=self._now), process, faulty=False),
            stream=NAME,
            clock=process.clock,
            chance=process.chance,
            report=report,
            fan_out="simulated",
            settings=self._settings,
        )

    def delete(self) -> None:
        """Delete the stream, and its consumer with it."""
        self.kinesis.delete_stream(stream_name=NAME, enforce_consumer_deletion=True)
        self.era += 1
