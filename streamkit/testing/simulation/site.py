"""What a fleet reads: producers put into it, operators reshape it, processes open it as their source."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from streamkit.consumer import DynamoDBStream, Kinesis
    from streamkit.core.lineage import Shard
    from streamkit.core.records import Record
    from streamkit.ports import Report, Source
    from streamkit.testing.simulation.mix import Rates
    from streamkit.testing.simulation.process import Process

NAME = "stream"
MOST_OPEN = 8
"""Shards that take records."""


class Reshape(NamedTuple):
    """A shard was closed, or that was refused."""

    kind: str
    told: str


class Site(ABC):
    """A stream, or a table with one. `lineage` has the parents of every shard there ever was."""

    def __init__(self) -> None:
        self.era: int = 0
        """How often it was deleted: what is put then is of another one."""
        self.lineage: dict[str, tuple[str, ...]] = {}

    @abstractmethod
    def declared(self) -> Kinesis | DynamoDBStream:
        """Return the source as a consumer declares it."""

    @abstractmethod
    def source(self, process: Process, report: Report) -> Source:
        """Return it as one process sees it: requests travel."""

    # The producers' and the operator's side

    @abstractmethod
    def put(self, key: str, number: int) -> Record | None:
        """Put a record that says its number; None where nobody takes it."""

    @abstractmethod
    def put_into(self, shard: Shard, number: int) -> Record | None:
        """Put a record into this shard, under a key of its own."""

    @abstractmethod
    def listed(self) -> Sequence[Shard]:
        """Return the shards that the service still has; none while there is no stream."""

    def open(self) -> list[Shard]:
        """Return the shards that take records."""
        listed = self.listed()
        closed = {parent for shard in listed for parent in shard.parents}
        return [shard for shard in listed if shard.id not in closed]

    def closed(self, shard: str) -> bool:
        """Say whether a shard takes no more."""
        return any(shard in parents for parents in self.lineage.values())

    def note(self) -> None:
        """Take note of the lineage as it is now."""
        self.lineage.update((shard.id, shard.parents) for shard in self.listed())

    @abstractmethod
    def reshape(self, rng: random.Random, happens: Callable[[float], bool]) -> Reshape | None:
        """Close a shard in favour of others, if that may be; `happens` draws by a share."""

    @abstractmethod
    def delete(self) -> None:
        """Take the stream away."""

    @abstractmethod
    def create(self, shards: int) -> None:
        """Have a stream there again."""

    @abstractmethod
    def trouble(self, rates: Rates) -> None:
        """Let these be the troubles of reading from now on."""
