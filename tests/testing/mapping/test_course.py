"""What becomes of a batch: AWS's rules for retries, bisection and age, for any batch and any bad records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from streamkit.core.records import Record
from streamkit.testing.builders import records
from streamkit.testing.mapping.answers import INVALID, SUCCESS, UNHANDLED, Verdict
from streamkit.testing.mapping.course import Course, Discard
from streamkit.testing.mapping.terms import FOREVER, Terms

TERMS = st.builds(
    Terms,
    maximum_retry_attempts=st.integers(0, 4),
    bisect_batch_on_function_error=st.booleans(),
)


class Walk:
    """A course walked to its end by a function that fails at bad records."""

    def __init__(self, count: int, terms: Terms, bad: Sequence[int], *, reports: bool = False) -> None:
        self.deliveries: Counter[int] = Counter()
        self.invoked: list[tuple[int, ...]] = []
        self.settled: list[int] = []
        self.discards: list[Discard] = []
        course = Course(records(count), terms)
        while not course.over:
            self.invoked.append(_sequences(course.piece))
            self.deliveries.update(self.invoked[-1])
            step = course.ended(self._verdict(bad, reports=reports))
            self.settled.extend(_sequences(step.settled))
            if step.discard is not None:
                self.discards.append(step.discard)

    def _verdict(self, bad: Sequence[int], *, reports: bool) -> Verdict:
        places = [at for at, number in enumerate(self.invoked[-1]) if number in bad]
        if not places:
            return SUCCESS
        return Verdict(places[0], reported=True) if reports else UNHANDLED

    @property
    def given_up(self) -> list[int]:
        """The sequence numbers that were given up."""
        return [number for discard in self.discards for number in _sequences(discard.records)]


def _sequences(some: Sequence[Record]) -> tuple[int, ...]:
    return tuple(record.sequence for record in some)


@given(st.integers(1, 60), TERMS, st.lists(st.integers(1, 60), max_size=4), st.booleans())
def test_every_record_is_settled_or_given_up_once_in_order(
    count: int,
    terms: Terms,
    bad: list[int],
    reports: bool,  # noqa: FBT001 - drawn
) -> None:
    """Whatever the terms: nothing is left out, nothing comes twice, and a settled record is never delivered again."""
    walk = Walk(count, terms, bad, reports=reports)
    assert sorted(walk.settled + walk.given_up) == [*range(1, count + 1)]
    assert walk.settled == sorted(walk.settled)
    assert walk.given_up == sorted(walk.given_up)


@given(st.integers(1, 100), st.integers(0, 3), st.lists(st.integers(1, 100), min_size=1, max_size=3))
def test_bisection_gives_up_bad_records_only_and_costs_no_retries(count: int, retries: int, bad: list[int]) -> None:
    """Each bad record stands alone at last, with all its retries left: N retries are N + 1 invocations of it alone."""
    walk = Walk(count, Terms(maximum_retry_attempts=retries, bisect_batch_on_function_error=True), bad)
    assert walk.given_up == sorted({number for number in bad if number <= count})
    assert all(discard.invocations == retries + 1 for discard in walk.discards)
    assert all(walk.invoked.count((number,)) == retries + 1 for number in walk.given_up)


def test_bisection_halves_left_before_right() -> None:
    """The order in which AWS's users see it, and the order of the stream."""
    walk = Walk(4, Terms(maximum_retry_attempts=0, bisect_batch_on_function_error=True), [2])
    assert walk.invoked == [(1, 2, 3, 4), (1, 2), (1,), (2,), (3, 4)]


def test_with_partial_responses_bisection_cuts_at_the_returned_number() -> None:
    """What stands before it is settled; what follows is not halved, and its retries begin anew."""
    terms = Terms(maximum_retry_attempts=1, bisect_batch_on_function_error=True, report_batch_item_failures=True)
    walk = Walk(6, terms, [4], reports=True)
    assert walk.invoked == [(1, 2, 3, 4, 5, 6), (4, 5, 6), (4, 5, 6)]
    assert walk.given_up == [4, 5, 6]


def test_an_answer_that_makes_no_sense_is_bisected_like_an_exception() -> None:
    """Both fail the batch as a whole."""
    course = Course(records(4), Terms(bisect_batch_on_function_error=True, report_batch_item_failures=True))
    course.ended(INVALID)
    assert _sequences(course.piece) == (1, 2)


def test_without_bisection_good_records_behind_the_bad_one_are_given_up_with_it() -> None:
    """The whole batch is discarded, those before it included, though they took effect."""
    walk = Walk(100, Terms(maximum_retry_attempts=3), [50])
    assert walk.given_up == [*range(1, 101)]
    assert len(walk.invoked) == 4


def test_the_budget_of_retries_restarts_when_the_checkpoint_advances() -> None:
    """As recorded on AWS: three retries, and the bad record is delivered five times."""
    walk = Walk(3, Terms(maximum_retry_attempts=3, report_batch_item_failures=True), [3], reports=True)
    assert walk.deliveries[3] == 5
    assert [discard.invocations for discard in walk.discards] == [4]


def test_without_a_limit_a_bad_record_blocks_until_it_expires() -> None:
    """The default: nothing is given up but for age."""
    course = Course(records(2), Terms(maximum_retry_attempts=FOREVER))
    for _ in range(10_000):
        assert course.ended(UNHANDLED).discard is None
    first, *_ = course.piece
    assert course.expired(first.arrived).discard is None
    step = course.expired(first.arrived + 1)
    assert step.discard is not None
    assert (step.discard.condition, step.discard.invocations) == ("RecordAgeExceeded", 10_001)
    assert course.over
