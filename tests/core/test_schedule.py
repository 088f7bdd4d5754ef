"""Schedules: order per key, one place for every record, and no waking up for nothing."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamkit.core.lanes import Lanes
from streamkit.core.records import Record
from streamkit.core.schedule import FOREVER, Attempt, Schedule
from streamkit.core.segments import Segments
from streamkit.testing.builders import record

SHAPES = ["lanes", "segments"]


class Drive:
    """Drives a schedule at random, and checks every step."""

    def __init__(self, shape: str, keys: list[str], chance: random.Random) -> None:
        self.records = [record(n, key=key, sequence=n + 1) for n, key in enumerate(keys)]
        self.schedule: Schedule = (
            Lanes(lambda ordinal: self.records[ordinal].key)
            if shape == "lanes"
            else Segments(size=chance.randint(1, 5), linger=chance.choice([0.0, 2.0]))
        )
        self.chance = chance
        self.now = 0.0
        self.settled: set[int] = set()
        self.held: dict[int, float] = {}
        self.under_way: list[Attempt] = []

    def run(self) -> None:
        """Go on until everything is settled."""
        waiting = list(enumerate(self.records))
        for _ in range(2_000):
            if waiting and self.chance.random() < 0.5:
                ordinal, each = waiting.pop(0)
                self.schedule.add(ordinal, [each], self.now)
            take = self.schedule.probe if self.chance.random() < 0.1 else self.schedule.take
            attempt = take(self.now)
            if attempt is not None:
                self.start(attempt)
            elif self.under_way:
                self.end(self.under_way.pop(self.chance.randrange(len(self.under_way))))
            elif not waiting:
                if len(self.settled) == len(self.records):
                    return
                due = self.schedule.wake_at()
                assert self.now < due < FOREVER, "nothing may run, and it would wake up for nothing"
                self.now = due
        pytest.fail("it does not end")

    def start(self, attempt: Attempt) -> None:
        """Check that the attempt may run: whole, in order, alone in its keys."""
        assert list(attempt.ordinals) == sorted(attempt.ordinals)
        assert [self.records[each] for each in attempt.ordinals] == list(attempt.records)
        assert not self.settled & set(attempt.ordinals), "settled records run again"
        busy = {key for other in self.under_way for key in self.keys(other.records)}
        assert not busy & self.keys(attempt.records), "two attempts of one key"
        for ordinal, each in zip(attempt.ordinals, attempt.records, strict=True):
            earlier = {n for n in range(ordinal) if self.records[n].key == each.key}
            assert earlier <= self.settled | set(attempt.ordinals), "an earlier record of its key was overtaken"
        self.under_way.append(attempt)

    def end(self, attempt: Attempt) -> None:
        """Let it succeed, fail whole, or fail in one record."""
        luck = self.chance.random()
        if luck < 0.5:
            self.settled |= set(attempt.ordinals)
            self.schedule.retire(attempt)
        elif len(attempt.ordinals) > 1:
            half = len(attempt.ordinals) // 2
            self.schedule.put_back(attempt, [attempt.ordinals[:half], attempt.ordinals[half:]])
        else:
            (ordinal,) = list(attempt.ordinals)
            self.schedule.put_back(attempt, [[ordinal]])
            if luck < 0.9:
                self.schedule.hold(ordinal, self.now + self.chance.choice([0.5, 1.0, 3.0]))
            else:
                self.schedule.hold(ordinal, FOREVER)
                self.schedule.drop(ordinal)
                self.settled.add(ordinal)

    @staticmethod
    def keys(records: tuple[Record, ...]) -> set[str]:
        """Return their keys."""
        return {each.key for each in records}


@pytest.mark.parametrize("shape", SHAPES)
@given(keys=st.lists(st.sampled_from("abc"), max_size=20), seed=st.integers(0, 2**32))
def test_whatever_fails_every_record_is_settled_once_in_order_per_key(shape: str, keys: list[str], seed: int) -> None:
    """One attempt of a key at a time; and `wake_at` is in the future whenever nothing may run."""
    Drive(shape, keys, random.Random(seed)).run()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_probe_prefers_what_has_not_failed_then_rotates(shape: str) -> None:
    """Else one bad record would be asked for ever, while a good one waits beside it."""
    records = [record(n, key=f"k{n}", sequence=n + 1) for n in range(4)]
    schedule: Schedule = (
        Lanes(lambda ordinal: records[ordinal].key) if shape == "lanes" else Segments(size=1, linger=0.0)
    )
    for n in range(3):
        schedule.add(n, [records[n]], 0.0)
    asked: list[int] = []
    for turn in range(7):
        if turn == 4:
            schedule.add(3, [records[3]], float(turn))
        attempt = schedule.probe(float(turn))
        assert attempt is not None
        asked += attempt.ordinals
        schedule.put_back(attempt, [attempt.ordinals])
        schedule.hold(attempt.ordinals[0], turn + 1.0)
    assert asked == [0, 1, 2, 0, 3, 1, 2]


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_to_probe_is_said_so(shape: str) -> None:
    """Neither what is under way nor what waits for a verdict can be asked."""
    only = record(0, sequence=1)
    schedule: Schedule = Lanes(lambda _: only.key) if shape == "lanes" else Segments(size=1, linger=0.0)
    assert not schedule.probeable()
    schedule.add(0, [only], 0.0)
    assert schedule.probeable()
    attempt = schedule.probe(0.0)
    assert attempt is not None
    assert not schedule.probeable()
    schedule.put_back(attempt, [[0]])
    schedule.hold(0, FOREVER)
    assert not schedule.probeable()
    assert schedule.probe(9.0) is None


def test_a_batch_waits_to_fill_and_no_longer_than_it_may() -> None:
    """`linger` counts from its first record."""
    schedule = Segments(size=3, linger=2.0)
    schedule.add(0, [record(sequence=1)], 10.0)
    schedule.add(1, [record(sequence=2)], 11.0)
    assert schedule.take(11.9) is None
    assert schedule.wake_at() == 12.0
    attempt = schedule.take(12.0)
    assert attempt is not None
    assert attempt.ordinals == (0, 1)


def test_a_full_batch_does_not_wait() -> None:
    """And the rest lingers anew."""
    schedule = Segments(size=2, linger=2.0)
    for n in range(3):
        schedule.add(n, [record(sequence=n + 1)], 0.0)
    attempt = schedule.take(0.0)
    assert attempt is not None
    assert attempt.ordinals == (0, 1)
