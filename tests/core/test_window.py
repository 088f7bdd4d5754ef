"""The window: frontier and done set are exact, whoever takes over, in whatever pieces records come (rules 16, 17)."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import takewhile

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streamkit.core.kpl import DECODING
from streamkit.core.positions import Position, Progress
from streamkit.core.records import Record
from streamkit.core.window import Window
from streamkit.testing.builders import records
from streamkit.testing.strategies import record_runs

Place = tuple[int, int]


def place(record: Record) -> Place:
    """Return what orders the records of a shard."""
    return (record.sequence, record.subsequence)


@dataclass
class Owner:
    """One owner of the shard: the window under test, beside what it should know."""

    stream: list[Record]
    window: Window
    settled: set[Place]
    """What was settled at the last durable checkpoint, or since by this owner."""
    ordinals: dict[Place, int] = field(default_factory=dict[Place, int])
    read: int = 0

    @classmethod
    def of(cls, stream: list[Record], progress: Progress, settled: set[Place]) -> Owner:
        """Take over: read on from the frontier, as a reader does."""
        window = Window(msgspec.msgpack.decode(msgspec.msgpack.encode(progress), type=Progress))
        frontier = progress.frontier
        read = sum(frontier is not None and frontier.covers(*place(each)) for each in stream)
        return cls(stream, window, set(settled), read=read)

    def admit(self, count: int) -> None:
        """Read so many records more: only what is not settled may get an ordinal; what comes before that is known."""
        more = self.stream[self.read : self.read + count]
        assert self.window.known(more) == len([*takewhile(lambda each: place(each) in self.settled, more)])
        for record in more:
            ordinal = self.window.admit(record)
            assert (ordinal is None) == (place(record) in self.settled)
            if ordinal is not None:
                self.ordinals[place(record)] = ordinal
        self.read = min(len(self.stream), self.read + count)

    def settle(self, choice: int) -> None:
        """Settle one of the records under way."""
        if self.ordinals:
            chosen = sorted(self.ordinals)[choice % len(self.ordinals)]
            self.window.settle(self.ordinals.pop(chosen))
            self.settled.add(chosen)

    def check(self) -> Progress:
        """Compare with the model; return the checkpoint."""
        done = [place(each) in self.settled for each in self.stream]
        prefix = done[: self.read].index(False) if False in done[: self.read] else self.read
        assert self.window.frontier == (self.stream[prefix - 1].position if prefix else None)
        assert self.window.unsettled() == [each for each in self.stream[: self.read] if place(each) in self.ordinals]
        progress = self.window.progress()
        assert covered(progress, self.stream) == self.settled
        return progress


def covered(progress: Progress, stream: list[Record]) -> set[Place]:
    """Read a checkpoint as its definition says: everything up to the frontier, and the i-th after it per set bit."""
    frontier = progress.frontier
    below = [each for each in stream if frontier is not None and frontier.covers(*place(each))]
    after = stream[len(below) :]
    if progress.done:
        assert progress.first == Position(after[0].sequence_number, after[0].subsequence)
    bits = int.from_bytes(progress.done, "little")
    return {place(each) for each in below} | {place(each) for i, each in enumerate(after) if bits >> i & 1}


steps = st.lists(st.tuples(st.sampled_from(["admit", "settle", "settle", "check"]), st.integers(1, 8)), max_size=40)


@given(stream=record_runs(least=1, most=24), lives=st.lists(steps, min_size=1, max_size=4))
def test_frontier_and_done_set_are_exact_over_any_number_of_owners(
    stream: list[Record], lives: list[list[tuple[str, int]]]
) -> None:
    """Every checkpoint covers what was settled, nothing else; nothing settled is handed out again; no step back."""
    progress, settled = Progress(), set[Place]()
    reached = (0, -1)
    for life in lives:
        owner = Owner.of(stream, progress, settled)
        for step, number in life:
            match step:
                case "admit":
                    owner.admit(number)
                case "settle":
                    owner.settle(number)
                case _:
                    progress, settled = owner.check(), set(owner.settled)
                    frontier = (len(covered(replace(progress, done=b""), stream)), 0)
                    assert frontier >= reached, "the frontier moved back"
                    reached = frontier
        progress, settled = owner.check(), set(owner.settled)


@given(stream=record_runs(least=2, most=24), bits=st.binary(min_size=1, max_size=3), trimmed=st.integers(1, 5))
def test_done_bits_of_records_that_were_trimmed_are_dropped(stream: list[Record], bits: bytes, trimmed: int) -> None:
    """If the first record read is not the one the bits were counted from, all are handed out: repeats, never loss."""
    anchor = Position(stream[0].sequence_number, stream[0].subsequence)
    window = Window(Progress(first=anchor, done=bits, decoding=DECODING))
    left = stream[trimmed:]
    assert [window.admit(each) for each in left] == list(range(len(left)))


@given(
    stream=record_runs(least=3, most=24),
    bits=st.binary(min_size=1, max_size=3),
    read=st.integers(1, 4),
    trimmed=st.integers(0, 5),
)
def test_done_bits_behind_a_gap_are_dropped(stream: list[Record], bits: bytes, read: int, trimmed: int) -> None:
    """Bits counted with records that were trimmed before they were read would name others: these would be lost."""
    anchor = Position(stream[0].sequence_number, stream[0].subsequence)
    window = Window(Progress(first=anchor, done=bits, decoding=DECODING))
    for each in stream[:read]:
        window.admit(each)
    window.skip()
    assert None not in [window.admit(each) for each in stream[read + trimmed :]]


@given(stream=record_runs(least=1, most=24), bits=st.binary(min_size=1, max_size=3))
def test_done_bits_of_another_decoding_version_are_dropped(stream: list[Record], bits: bytes) -> None:
    """Counted by other rules they would name other records."""
    anchor = Position(stream[0].sequence_number, stream[0].subsequence)
    window = Window(Progress(first=anchor, done=bits, decoding=DECODING + 1))
    assert None not in [window.admit(each) for each in stream]
    assert window.frontier is None


def test_a_record_read_twice_is_a_duplicate() -> None:
    """A reader that goes back, or a producer's record behind the frontier, changes nothing."""
    stream = records(3)
    window = Window(Progress(frontier=stream[0].position))
    assert [window.admit(each) for each in [*stream, *stream]] == [None, 0, 1, None, None, None]


def test_sequence_numbers_are_compared_as_numbers() -> None:
    """10 follows 9, whatever their text says."""
    nine, ten = records(2, first=9)
    window = Window(Progress(frontier=nine.position))
    assert window.admit(ten) == 0
    assert Window(Progress(frontier=ten.position)).admit(nine) is None


def test_a_new_owner_keeps_the_bits_of_what_it_has_not_read_yet() -> None:
    """Its first checkpoint must not forget what its predecessor had done ahead (rule 17)."""
    stream = records(4)
    first = Window(Progress())
    for each in stream:
        first.admit(each)
    first.settle(3)
    second = Window(first.progress())
    second.settle(second.admit(stream[0]) or 0)
    assert covered(second.progress(), stream) == {(1, 0), (4, 0)}


def test_six_thousand_records_ahead_fit_in_one_write_unit() -> None:
    """A DynamoDB write unit is 1 KiB (rule 17)."""
    window = Window(Progress())
    for each in records(6_000):
        window.admit(each)
    for ordinal in range(1, 6_000):
        window.settle(ordinal)
    assert len(msgspec.msgpack.encode(window.progress())) < 1024


@pytest.mark.parametrize("order", [1, -1])
def test_a_long_run_keeps_little(order: int) -> None:
    """Settled records are let go of, in whichever order they settle: memory is bounded."""
    window = Window(Progress())
    stream = iter(records(20_000))
    for _ in range(40):
        ordinals = [window.admit(each) for _, each in zip(range(500), stream, strict=False)]
        for ordinal in ordinals[::order]:
            assert ordinal is not None
            window.settle(ordinal)
    assert window.clear
    assert window.settled == 20_000
    assert window.frontier == Position("20000")
    assert len(window._records) < 2_500  # noqa: SLF001 - what it holds on to is the promise  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(("now", "kept"), [(10 << 8 | DECODING, True), (20 << 8 | DECODING, False), (DECODING, False)])
def test_done_bits_counted_by_other_rules_are_dropped(now: int, *, kept: bool) -> None:
    """Another size limit makes other records of the same aggregates: the bits would name the wrong ones."""
    window = Window(Progress(), decoding=10 << 8 | DECODING)
    stream = records(3)
    ordinals = [window.admit(each) for each in stream]
    assert ordinals == [0, 1, 2]
    window.settle(2)
    successor = Window(window.progress(), decoding=now)
    assert [successor.admit(each) for each in stream] == [0, 1, None if kept else 2]


def test_what_is_left_of_an_aggregate_is_not_lost_when_it_becomes_one_record() -> None:
    """The frontier stands inside of it, and a smaller limit makes it one defect: nobody handled all of it."""
    (whole,) = records(1)
    parts = [replace(whole, subsequence=n, last=n == 2) for n in range(3)]
    window = Window(Progress())
    assert [window.admit(each) for each in parts] == [0, 1, 2]
    window.settle(0)
    successor = Window(window.progress(), decoding=7 << 8 | DECODING)
    assert successor.admit(replace(whole, defect="too large")) == 0
    successor.settle(0)
    assert Window(successor.progress()).admit(whole) is None
