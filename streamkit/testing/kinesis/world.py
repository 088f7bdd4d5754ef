"""The whole of it."""

from __future__ import annotations

from streamkit.testing.kinesis.control import ControlPlane
from streamkit.testing.kinesis.data import DataPlane


class KinesisWorld(ControlPlane, DataPlane):
    """Kinesis of one account in one region; `Account` says what it is made from."""
