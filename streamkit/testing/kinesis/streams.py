"""One stream: which shard takes which key, and how shards come from shards."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from streamkit.testing.kinesis.errors import invalid
from streamkit.testing.kinesis.limits import MIB
from streamkit.testing.kinesis.numbers import HashRange, uniform
from streamkit.testing.kinesis.shards import Shard, wire
from streamkit.testing.kinesis.values import ChildShard, Mode, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamkit.testing.kinesis.fan_out import Registered

DAY_HOURS = 24


class Stream:
    """Its shards by id, in the order of their making. `created_at` in epoch seconds.

    `era` is the second the newest shards' numbers start with; it grows with every generation of shards, also over
    streams of the same name, so that a child's numbers are beyond its parents' however fast they follow each other.
    """

    def __init__(self, name: str, *, arn: str, mode: Mode, created_at: float, era: int) -> None:
        self.name = name
        self.arn = arn
        self.mode: Mode = mode
        self.created_at = created_at
        self.era = era
        self.status: Status = "CREATING"
        self.retention_hours = DAY_HOURS
        self.max_record_bytes = MIB
        self.tags: dict[str, str] = {}
        self.consumers: dict[str, Registered] = {}
        """Who has records pushed (enhanced fan-out), by name."""
        self.shards: dict[str, Shard] = {}
        self._made = 0
        self._open: list[Shard] = []
        self._starts: list[int] = []
        self._swept_at = created_at
        self._due: tuple[float, Callable[[float], object]] | None = None

    def __repr__(self) -> str:
        """Tell the state."""
        return f"<Stream {self.name}, {self.status}, {len(self._open)} open of {len(self.shards)} shards>"

    @property
    def open(self) -> Sequence[Shard]:
        """The shards that take records, by hash key."""
        return self._open

    def horizon(self, now: float) -> float:
        """Return the time before which nothing is kept."""
        return now - self.retention_hours * 3600

    def route(self, hash_key: int) -> Shard:
        """Return the open shard that takes `hash_key`."""
        return self._open[bisect_right(self._starts, hash_key) - 1]

    # -- changes that take their time

    def begin(self, status: Status, effect: Callable[[float], object], *, at: float) -> None:
        """Enter `status` until `at`; then comes `effect`, and the stream is active again."""
        self.status = status
        self._due = at, effect

    def advance(self, now: float) -> None:
        """Let happen what is due, and forget what has expired."""
        if self._due is not None and now >= self._due[0]:
            effect, self._due = self._due[1], None
            self.status = "ACTIVE"
            effect(now)
        if now - self._swept_at < 1.0:
            return
        self._swept_at = now
        horizon = self.horizon(now)
        for shard in list(self.shards.values()):
            shard.trim(horizon)
            if shard.closed_at is not None and shard.closed_at <= horizon:
                del self.shards[shard.id]

    # -- lineage

    def populate(self, count: int, *, now: float) -> None:
        """Open the first shards."""
        for keys in uniform(count):
            self._make(keys, (), now)
        self._reroute()

    def split(self, parent: Shard, at: int, *, now: float) -> tuple[Shard, Shard]:
        """Replace `parent` by two children, the second from hash key `at` on."""
        self.era = max(self.era + 1, int(now))
        lower = self._make(HashRange(parent.keys.start, at - 1), (parent,), now)
        upper = self._make(HashRange(at, parent.keys.end), (parent,), now)
        self._reroute()
        return lower, upper

    def merge(self, parent: Shard, adjacent: Shard, *, now: float) -> Shard:
        """Replace two neighbours by one child."""
        self.era = max(self.era + 1, int(now))
        keys = HashRange(min(parent.keys.start, adjacent.keys.start), max(parent.keys.end, adjacent.keys.end))
        child = self._make(keys, (parent, adjacent), now)
        self._reroute()
        return child

    def reshape(self, count: int, *, now: float) -> None:
        """Split and merge until `count` open shards share the hash keys evenly."""
        wanted = uniform(count)
        for keys in wanted[1:]:
            shard = self.route(keys.start)
            if shard.keys.start != keys.start:
                self.split(shard, keys.start, now=now)
        for keys in wanted:
            shard = self.route(keys.start)
            while shard.keys.end < keys.end:
                shard = self.merge(shard, self.route(shard.keys.end + 1), now=now)

    def splittable(self, shard: Shard, at: int) -> None:
        """Raise the refusal AWS gives if `shard` cannot be split at hash key `at`."""
        self._still_open(shard)
        if not shard.keys.start + 1 < at < shard.keys.end:
            raise invalid(
                f"NewStartingHashKey {at} used in SplitShard() on shard {shard.id} in stream {self.name} "
                f"is not both greater than one plus the shard's StartingHashKey {shard.keys.start} and "
                f"less than the shard's EndingHashKey {shard.keys.end - 1}."
            )

    def mergeable(self, shard: Shard, adjacent: Shard) -> None:
        """Raise the refusal AWS gives if the two are not open neighbours."""
        self._still_open(shard)
        self._still_open(adjacent)
        if shard.keys.end + 1 != adjacent.keys.start and adjacent.keys.end + 1 != shard.keys.start:
            raise invalid(
                f"Shards {shard.id} and {adjacent.id} in stream {self.name} are not an adjacent pair "
                "of shards eligible for merging"
            )

    def _still_open(self, shard: Shard) -> None:
        if shard.closed_at is not None:
            raise invalid(
                f"Shard {shard.id} in stream {self.name} has already been merged or split, "
                "and thus is not eligible for merging or splitting."
            )

    def _make(self, keys: HashRange, parents: tuple[Shard, ...], now: float) -> Shard:
        ids = [parent.id for parent in parents]
        child = Shard(self._made, keys, era=self.era, opened_at=now, parents=ids)
        self._made += 1
        self.shards[child.id] = child
        for parent in parents:
            parent.close(now)
            parent.children.append(ChildShard(child.id, ids, wire(keys)))
        return child

    def _reroute(self) -> None:
        still = (shard for shard in self.shards.values() if shard.closed_at is None)
        self._open = sorted(still, key=lambda shard: shard.keys.start)
        self._starts = [shard.keys.start for shard in self._open]
