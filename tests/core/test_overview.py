"""What an operator is told, from the rows alone."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from streamkit.core.leasing import Member, ShardRow, Vitals
from streamkit.core.lineage import Shard
from streamkit.core.overview import Look, Observer, Overview
from streamkit.core.positions import Position, Progress
from streamkit.core.quarantine import Death, Quarantine

NOW = 1_000_000.0
ROW = ShardRow(
    Shard("shard-1"),
    "TRIM_HORIZON",
    owner="a",
    epoch=1,
    progress=Progress(Position("7")),
    frontier_arrived=NOW - 500,
    vitals=Vitals(at=NOW - 1, settled=70, retried=3, dead=2, rate=9.5, behind=0.0),
)
ALIVE = Member("a", counter=5, started=NOW - 60)


def seen(*rows: ShardRow, members: tuple[Member, ...] = (ALIVE,), beats: bool = True, letters: int = 0) -> Overview:
    """Look twice, three seconds apart, with patience for three."""
    observer = Observer()
    first = Look(rows, members, 100.0, NOW - 3)
    later = [replace(each, counter=each.counter + beats) for each in members]
    second = Look(rows, later, 103.0, NOW, letters)
    observer.note(first)
    observer.note(second)
    return observer.overview(second, patience=3.0)


def vitals(**changes: Any) -> ShardRow:
    """Return the row with other vital signs."""
    assert ROW.vitals is not None
    return replace(ROW, vitals=replace(ROW.vitals, **changes))


def test_a_shard_at_its_tip_has_no_lag_however_long_ago_its_last_record_was() -> None:
    """A quiet stream is no late one."""
    view = seen(ROW)
    assert view.attention == ()
    [shard] = view.shards
    assert (shard.state, shard.lag_seconds, shard.rate, shard.settled, shard.dead) == ("reading", 0.0, 9.5, 70, 2)
    [worker] = view.workers
    assert (worker.pulse, worker.shards, worker.rate, worker.up_seconds) == ("beating", 1, 9.5, 60.0)


def test_a_queue_that_is_gone_needs_a_look() -> None:
    """Nothing is passed that has a letter to send, so somebody should know why."""
    observer, look = Observer(), Look((), (), 0.0, NOW, queue_missing=True)
    observer.note(look)
    [line] = observer.overview(look, patience=1.0).attention
    assert line.startswith("the dead-letter queue is not there")


def test_patience_is_measured_by_the_lease_that_the_workers_tell() -> None:
    """Of those alive, the longest: who looks may not have the consumer's code."""
    members = (ALIVE, Member("slow", lease=60.0), Member("gone", state="left", lease=900.0))
    assert Observer().lease(Look((), members, 0.0, NOW)) == 60.0
    assert Observer().lease(Look((), (ALIVE,), 0.0, NOW)) == 10.0
    assert Observer().lease(Look((), (), 0.0, NOW)) == 10.0


def test_lag_is_the_age_of_the_oldest_record_that_is_not_settled() -> None:
    """Behind it, at most as old as what arrived after the frontier."""
    [shard] = seen(vitals(oldest=NOW - 12, waiting=40, behind=3.0)).shards
    assert (shard.lag_seconds, shard.oldest_seconds, shard.waiting) == (12.0, 12.0, 40)
    [shard] = seen(vitals(behind=20.0)).shards
    assert shard.lag_seconds == 500.0


@pytest.mark.parametrize(
    ("row", "state", "said"),
    [
        (
            replace(ROW, state="halted", halted="a person asked", owner=None),
            "halted",
            "shard-1 is halted: a person asked",
        ),
        (replace(ROW, owner=None), "free", "shard-1 is free"),
        (replace(ROW, owner="gone"), "free", "shard-1 is free: its owner gone is gone"),
        (vitals(paused="OSError at shop.py:7"), "paused", "shard-1 is paused: everything fails: OSError at shop.py:7"),
        (
            vitals(held_up=NOW - 90, waiting=8),
            "held up",
            "shard-1 is held up: nothing settled for 90 s, 8 records wait",
        ),
        (
            replace(ROW, deaths=(Death(NOW, "signal 9", 3),) * 2, quarantine=Quarantine.of(160)),
            "quarantine",
            "shard-1 is in quarantine: 2 processes died, 160 records to try at most",
        ),
    ],
    ids=["halted", "free", "orphaned", "paused", "held up", "quarantine"],
)
def test_what_stands_still_needs_a_look_and_says_why(row: ShardRow, state: str, said: str) -> None:
    """One line for a person, and a state for a script."""
    view = seen(row)
    assert [each.state for each in view.shards] == [state]
    assert view.attention == (said,)


def test_a_worker_that_was_not_seen_to_beat_is_silent_and_so_are_its_shards() -> None:
    """By a counter that stood still under our own eyes: nobody's clock is trusted."""
    view = seen(ROW, beats=False)
    assert [each.pulse for each in view.workers] == ["silent"]
    assert [each.state for each in view.shards] == ["silent"]
    assert view.attention == ("shard-1 is owned by a silent worker: no heartbeat of a for 3 s",)
    [shard] = view.shards
    assert shard.lag_seconds == 500.0, "nobody reads: what arrived since is not known"


def test_one_look_alone_calls_nobody_silent() -> None:
    """There was no time to see anything."""
    observer, look = Observer(), Look([ROW], [ALIVE], 100.0, NOW)
    observer.note(look)
    view = observer.overview(look, patience=0.0)
    assert ([each.pulse for each in view.workers], view.attention) == (["unseen"], ())


def test_a_child_waits_for_its_parents_and_needs_no_look() -> None:
    """By name; an ended shard is no trouble either."""
    child = replace(ROW, shard=Shard("shard-2", ("shard-1",)), owner=None, vitals=None)
    view = seen(ROW, child)
    assert [(each.state, each.why) for each in view.shards] == [("reading", None), ("waiting", "for shard-1")]
    ended = seen(replace(ROW, state="ended", owner=None), replace(child, owner="a"))
    assert [each.state for each in ended.shards] == ["ended", "reading"]
    assert view.attention == ended.attention == ()


def test_a_rate_told_long_ago_is_over() -> None:
    """Nothing settled since: a shard that goes on tells every few seconds."""
    [shard] = seen(vitals(at=NOW - 11)).shards
    assert shard.rate == 0.0


def test_letters_that_wait_need_a_look() -> None:
    """Somebody has to redrive or purge them."""
    assert seen(ROW, letters=1_200).attention == ("about 1,200 dead letters wait in the queue",)


def test_rows_of_a_worker_that_tells_nothing_are_read_all_the_same() -> None:
    """Whatever an older version wrote."""
    [shard] = seen(replace(ROW, vitals=None)).shards
    assert (shard.state, shard.rate, shard.settled, shard.lag_seconds) == ("reading", None, None, 500.0)
