"""The whole of it."""

from __future__ import annotations

from streamkit.testing.kinesis.control import ControlPlane
from streamkit.testing.kinesis.fan_out import FanOutPlane


class KinesisWorld(ControlPlane, FanOutPlane):
    """Kinesis of one account in one region; `Account` says what it is made from."""
