"""What the demo needs of the repository: the consumer and its data."""

from __future__ import annotations

import gzip
from pathlib import Path

import msgspec

import streamkit
from streamkit.errors import ConfigurationError

CONSUMER = "consumers.flights:flights"
_DATA = Path("consumers", "data", "flights-2013-week1.ndjson.gz")


class Checkout(msgspec.Struct, frozen=True):
    """A working copy of the repository."""

    root: Path

    @classmethod
    def find(cls) -> Checkout:
        """Return the one we are in, or the one streamkit is installed from. Raises `ConfigurationError`."""
        for root in (Path.cwd(), Path(streamkit.__file__).parent.parent):
            if (root / _DATA).is_file():
                return cls(root)
        raise ConfigurationError(
            f"expected a checkout of the repository with {_DATA}, got none: run `make demo` in one"
        )

    def flights(self, number: int | None) -> list[bytes]:
        """Return the first flights of the file as they are: a line of JSON each."""
        with gzip.open(self.root / _DATA) as file:
            return [line.rstrip(b"\n") for line in file][:number]
