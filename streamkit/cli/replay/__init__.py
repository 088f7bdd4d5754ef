"""`streamkit replay`: a range of a stream's history through the handler once more."""

from streamkit.cli.replay.command import replay

__all__ = ["replay"]
