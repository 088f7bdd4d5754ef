"""What leases of the KCL mean here, and what is made of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from streamkit.aws.kcl import read
from streamkit.aws.shapes import listed_shard
from streamkit.core.kcl import Lease, Step, awake, checkpoint_of, steps
from streamkit.core.lineage import Shard, Stream, holes
from streamkit.core.positions import Position, Since
from streamkit.errors import ConfigurationError

RECORDED = json.loads((Path(__file__).parents[1] / "kcl" / "leases.json").read_text(encoding="utf-8"))
"""What the KCL 3.1.3 wrote, and what its processor was given before it was killed (tests/kcl/test_real_kcl.py)."""
STREAM = Stream("flights", "arn:aws:kinesis:us-east-1:1:stream/flights", "1700000000123", timedelta(days=1))
NUMBER = "49680432602231802203644822693586625813415355622000427010"


def lease(shard: str, checkpoint: str = NUMBER, sub: int = 0, **more: Any) -> Lease:
    """Return a lease at a checkpoint."""
    return Lease(shard=shard, checkpoint=checkpoint_of(checkpoint, sub), **more)


def by_shard(found: list[Step]) -> dict[str, Step]:
    """Return the steps by shard."""
    return {step.row.id: step for step in found}


def test_rows_of_the_real_kcl_become_rows_that_go_on_after_what_it_handled() -> None:
    """Its checkpoints are the last records that its processor asked to checkpoint; the split shard is over."""
    leases = [found for item in RECORDED["leases"] if (found := read("app", item, STREAM)) is not None]
    made = by_shard(steps(leases, [*map(listed_shard, RECORDED["shards"])], start=None, now=0.0))
    marks = {shard: (number, sub) for shard, number, sub, _, done in RECORDED["processed"] if done is None}
    parents = {parent for step in made.values() for parent in step.row.shard.parents}
    assert len(made) == 4
    assert len(parents) == 1
    for shard, step in made.items():
        if shard in parents:
            assert step.row.state == "ended"
        elif shard in marks:
            number, sub = marks[shard]
            frontier = step.row.progress.frontier
            assert frontier is not None
            assert frontier == Position(number, sub or 0)
            assert frontier.covers(int(number), sub or 0)
            assert not frontier.covers(int(number), (sub or 0) + 1)
        else:
            assert (step.row.progress.frontier, step.row.start) == (None, "TRIM_HORIZON")
    assert not holes(step.row.shard for step in made.values() if step.row.state != "ended")


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"leaseKey": {"S": "shardId-1"}, "checkpoint": {"S": "LATEST"}}, lease("shardId-1", "LATEST")),
        (
            {
                "leaseKey": {"S": "shardId-2"},
                "checkpoint": {"S": NUMBER},
                "checkpointSubSequenceNumber": {"N": "3"},
                "leaseCounter": {"N": "7"},
                "leaseOwner": {"S": "w"},
                "parentShardId": {"SS": ["shardId-1", "shardId-0"]},
                "pendingCheckpoint": {"S": "77"},
            },
            lease("shardId-2", sub=3, counter=7, owner="w", parents=("shardId-0", "shardId-1"), pending="77"),
        ),
        (
            {"leaseKey": {"S": "1:flights:1700000000:shardId-3"}, "checkpoint": {"S": "SHARD_END"}},
            lease("shardId-3", "SHARD_END"),
        ),
        ({"leaseKey": {"S": "1:weather:1700000000:shardId-3"}, "checkpoint": {"S": "SHARD_END"}}, None),
        ({"leaseKey": {"S": "1:flights:1600000000:shardId-3"}, "checkpoint": {"S": "SHARD_END"}}, None),
        ({"leaseKey": {"S": "Leader"}, "entityType": {"S": "LEADER"}}, None),
        ({"leaseKey": {"S": "s"}, "entityType": {"S": "LEASE"}, "checkpoint": {"S": "1"}}, lease("s", "1")),
    ],
    ids=["1.x", "2.x", "several streams", "another stream", "a stream before", "another kind", "3.x"],
)
def test_rows_of_every_version_are_read(item: Mapping[str, Any], expected: Lease | None) -> None:
    """Those of other streams, or of other kinds, are left out."""
    assert read("app", item, STREAM) == expected


@pytest.mark.parametrize("checkpoint", ["", "x", "-1", "12a", "9" * 130, "٣"])
def test_a_checkpoint_that_is_none_is_refused(checkpoint: str) -> None:
    """It names the lease."""
    with pytest.raises(ConfigurationError, match="table app, lease s: expected a sequence number or TRIM_HORIZON"):
        read("app", {"leaseKey": {"S": "s"}, "checkpoint": {"S": checkpoint}}, STREAM)


def test_shards_without_a_lease_are_placed_by_their_lineage() -> None:
    """Leases of ended parents were removed; children of ended ones were not made yet."""
    listed = [Shard("a"), Shard("b", ("a",)), Shard("c", ("a",)), Shard("d", ("b",)), Shard("e")]
    found = by_shard(steps([lease("b", "SHARD_END"), lease("c")], listed, start=None, now=0.0))
    assert {id_: step.row.state for id_, step in found.items()} == {
        "a": "ended",
        "b": "ended",
        "c": "open",
        "d": "open",
        "e": "open",
    }
    assert found["d"].row.start == "TRIM_HORIZON"
    assert list(found).index("a") < list(found).index("b") < list(found).index("d")


def test_sentinels_become_starts() -> None:
    """AT_TIMESTAMP names no moment in the table; LATEST goes on as a restarted KCL would, and says so."""
    listed = [Shard(each) for each in "abc"]
    leases = [lease("a", "TRIM_HORIZON"), lease("b", "LATEST")]
    found = by_shard(steps(leases, listed[:2], start=None, now=100.0))
    assert (found["a"].row.start, found["b"].row.start) == ("TRIM_HORIZON", Since(100.0))
    assert "what came before now is left out" in (found["b"].warning or "")
    with pytest.raises(ValueError, match="say it with --start"):
        steps([*leases, lease("c", "AT_TIMESTAMP")], listed, start=None, now=100.0)
    found = by_shard(steps([*leases, lease("c", "AT_TIMESTAMP")], listed, start=Since(5.0), now=100.0))
    assert [found[each].row.start for each in "abc"] == ["TRIM_HORIZON", Since(5.0), Since(5.0)]


def test_what_the_stream_has_no_more_is_said() -> None:
    """An ended one is over; of another, something is lost."""
    found = steps([lease("gone", "SHARD_END"), lease("lost"), lease("there")], [Shard("there")], start=None, now=0.0)
    assert {step.row.id: bool(step.warning) for step in found} == {"lost": True, "there": False}


def test_a_lease_that_moves_gives_its_application_away() -> None:
    """By its counter, its owner, its checkpoint, or by coming up at all."""
    still = [lease("a", counter=1, owner="w"), lease("b", counter=2)]
    assert awake(still, still) == []
    for moved in (
        replace(still[0], counter=2),
        replace(still[0], owner="x"),
        replace(still[0], checkpoint=Position(NUMBER, 1)),
    ):
        assert awake(still, [moved, still[1]]) == ["a"]
    assert awake(still[:1], still) == ["b"]
