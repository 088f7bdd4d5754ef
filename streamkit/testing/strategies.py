"""Hypothesis strategies for streamkit's values: anything that may legally exist, the odd cases included.

Sequence numbers cross from one length to the next, so that order by text is not order by number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.core.leasing import Member, ShardRow
from streamkit.core.lineage import Shard
from streamkit.core.positions import MAX_DIGITS, Position, Progress, Since
from streamkit.core.records import Batch, Origin, Record
from streamkit.testing.builders import SHARD, STREAM

try:
    from hypothesis import strategies as st
except ImportError as missing:  # pragma: no cover - the tests have it
    raise ImportError("streamkit.testing.strategies needs hypothesis: pip install hypothesis") from missing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hypothesis.strategies import DrawFn, SearchStrategy

__all__ = [
    "batches",
    "keys",
    "lineages",
    "members",
    "payloads",
    "positions",
    "progresses",
    "record_runs",
    "sequence_numbers",
    "shard_rows",
    "starts",
]

MOST_RECORDS = 30
HASH_KEYS = 2**128
_MOMENTS = st.integers(1_356_998_400_000, 1_388_534_400_000).map(lambda milliseconds: milliseconds / 1000)
_TOKENS = st.text("0123456789abcdef", min_size=32, max_size=32)
_LEVELS = st.none() | st.integers(0, 100)


def sequence_numbers() -> SearchStrategy[str]:
    """Decimal strings of any allowed length, often just below or above a power of ten."""
    edges = st.integers(1, MAX_DIGITS - 1).flatmap(lambda digits: st.integers(10**digits - 3, 10**digits + 3))
    typical = st.integers(10**55, 10**56 - 1)
    return st.one_of(typical, edges, st.integers(0, 10**MAX_DIGITS - 1)).map(str)


def positions() -> SearchStrategy[Position]:
    """Places after a record, or inside of an aggregate."""
    return st.builds(Position, sequence_numbers(), st.none() | st.integers(0, 10_000))


def starts() -> SearchStrategy[Since | str]:
    """TRIM_HORIZON or a moment."""
    return st.just("TRIM_HORIZON") | st.builds(Since, _MOMENTS)


def keys() -> SearchStrategy[str]:
    """Partition keys, few enough that lanes hold several records."""
    return st.sampled_from(["a", "b", "c", "N14228", "\N{AIRPLANE}", " ", "k" * 256])


def payloads() -> SearchStrategy[bytes]:
    """Bytes of any kind, JSON among them."""
    return st.binary(max_size=64) | st.sampled_from([b"", b"{}", b"null", b'{"dep_delay": 4}', b"\xff\xfe{"])


@st.composite
def record_runs(
    draw: DrawFn, *, least: int = 0, most: int = MOST_RECORDS, shard: str = SHARD, stream: str = STREAM
) -> list[Record]:
    """Consecutive records of one shard in stream order; some share a sequence number, as user records do."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=least, max_size=most))
    number = draw(st.sampled_from([1, 8, 95, 10**55 - 3]))
    arrived = draw(_MOMENTS)
    origin = Origin(stream, shard)
    found: list[Record] = []
    for size in sizes:
        number += draw(st.integers(1, 3))
        arrived += draw(st.sampled_from([0.0, 0.001, 1.0]))
        found.extend(
            Record(
                data=draw(payloads()),
                key=draw(keys()),
                sequence_number=str(number),
                origin=origin,
                arrived=arrived,
                subsequence=subsequence,
                last=subsequence == size - 1,
            )
            for subsequence in range(size)
        )
    return found[:most]


def batches(*, most: int = MOST_RECORDS) -> SearchStrategy[Batch]:
    """Non-empty batches of one shard."""
    return record_runs(least=1, most=most).map(Batch)


@st.composite
def lineages(draw: DrawFn, *, reshards: int = 6) -> Sequence[Shard]:
    """The shards of a stream after splits and merges, parents before children; the open ones cover all keys."""
    count = draw(st.integers(1, 4))
    cuts = [HASH_KEYS * index // count for index in range(count + 1)]
    shards = [Shard(_shard_id(index), (), (cuts[index], cuts[index + 1] - 1)) for index in range(count)]
    ranges = {shard.id: (cuts[index], cuts[index + 1] - 1) for index, shard in enumerate(shards)}
    living = list(ranges)
    for _ in range(draw(st.integers(0, reshards))):
        at = draw(st.integers(0, len(living) - 1))
        merging = at + 1 < len(living) and draw(st.booleans())
        parents = living[at : at + 2] if merging else living[at : at + 1]
        first, last = ranges[parents[0]][0], ranges[parents[-1]][1]
        middle = (first + last) // 2
        pieces = [(first, last)] if merging else [(first, middle), (middle + 1, last)]
        born = [Shard(_shard_id(len(shards) + index), tuple(parents), piece) for index, piece in enumerate(pieces)]
        ranges.update(zip((shard.id for shard in born), pieces, strict=True))
        living[at : at + len(parents)] = [shard.id for shard in born]
        shards.extend(born)
    return shards


def progresses() -> SearchStrategy[Progress]:
    """How far a shard may be settled: nothing, a frontier, or a frontier with a done set ahead."""
    ahead = st.builds(
        Progress,
        frontier=st.none() | positions(),
        first=positions(),
        done=st.binary(min_size=1, max_size=64),
        decoding=st.integers(0, 3),
    )
    return st.just(Progress()) | st.builds(Progress, frontier=positions()) | ahead


def shard_rows(*, owners: Sequence[str] = ("worker-a", "worker-b")) -> SearchStrategy[ShardRow]:
    """Rows in every state, free ones included."""
    return st.builds(
        ShardRow,
        shard=lineages(reshards=2).map(lambda shards: shards[-1]),
        start=starts(),
        owner=st.none() | st.sampled_from(owners),
        epoch=st.integers(0, 1000),
        revision=st.integers(0, 10**9),
        token=st.just("") | _TOKENS,
        progress=progresses(),
        state=st.sampled_from(["open", "ended", "halted"]),
        halted=st.none() | st.text(max_size=20),
        prefers=st.none() | st.sampled_from(owners),
        parked=st.lists(_TOKENS, max_size=3).map(tuple),
        frontier_arrived=st.none() | _MOMENTS,
        caught_up_at=st.none() | _MOMENTS,
        level=_LEVELS,
    )


def members() -> SearchStrategy[Member]:
    """Heartbeat rows in every state."""
    return st.builds(
        Member,
        worker=_TOKENS.map(lambda token: f"host-{token}"),
        counter=st.integers(0, 10**9),
        state=st.sampled_from(["alive", "left", "dead"]),
        holds=st.lists(st.integers(0, 20).map(_shard_id), max_size=5, unique=True).map(tuple),
        started=_MOMENTS,
        levels=st.lists(_LEVELS, max_size=5).map(tuple),
    )


def _shard_id(index: int) -> str:
    return f"shardId-{index:012d}"
