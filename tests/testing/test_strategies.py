"""The strategies make what may exist, and nothing else."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise

from hypothesis import find, given

from streamkit.core.leasing import Member, ShardRow
from streamkit.core.lineage import Shard
from streamkit.core.positions import Position
from streamkit.core.records import Batch, Record
from streamkit.testing import MemoryTable, strategies


@given(strategies.record_runs())
def test_records_are_in_stream_order(run: list[Record]) -> None:
    """Numbers grow as integers, subsequences within a number."""
    places = [(one.sequence, one.subsequence) for one in run]
    assert places == sorted(set(places))


def test_numbers_grow_where_their_texts_do_not() -> None:
    """The case for which order by text fails is among them."""
    find(
        strategies.record_runs(),
        lambda run: any(a.sequence_number > b.sequence_number for a, b in pairwise(run)),
    )


@given(strategies.batches())
def test_a_batch_is_never_empty(batch: Batch) -> None:
    """As its constructor demands."""
    assert batch


@given(strategies.positions())
def test_a_position_is_stored_and_read_back(position: Position) -> None:
    """Leading zeros and all lengths included."""
    assert Position.parse(position.stored()) == position


@given(strategies.lineages())
def test_a_lineage_leaves_no_gap(shards: Sequence[Shard]) -> None:
    """Parents come first; the shards without children cover every key once."""
    seen: set[str] = set()
    for shard in shards:
        assert set(shard.parents) <= seen
        seen.add(shard.id)
    parents = {parent for shard in shards for parent in shard.parents}
    ranges = sorted(shard.hash_range or (0, 0) for shard in shards if shard.id not in parents)
    assert (ranges[0][0], ranges[-1][1]) == (0, 2**128 - 1)
    assert all(left[1] + 1 == right[0] for left, right in pairwise(ranges))


@given(strategies.shard_rows(), strategies.members())
def test_rows_fit_into_a_table(row: ShardRow, member: Member) -> None:
    """They come back as they went in."""

    async def main() -> None:
        table = MemoryTable()
        await table.add([row])
        await table.join(member) if member.state == "alive" else None
        assert await table.rows() == [row]

    asyncio.run(main())


def test_without_hypothesis_the_error_says_what_to_do() -> None:
    """It is an option; the message names it."""
    program = "import sys; sys.modules['hypothesis'] = None; import streamkit.testing.strategies"
    answer = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True, check=False)
    assert answer.returncode == 1
    assert "ImportError: streamkit.testing.strategies needs hypothesis: pip install hypothesis" in answer.stderr
