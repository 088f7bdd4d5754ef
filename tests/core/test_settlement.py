"""Settling, asked directly: no loop, no handler, only decisions and time."""

from __future__ import annotations

from datetime import timedelta

import pytest

from streamkit import Batch, Failed, Partial, Poison, Record
from streamkit.core.policy import Outage, Retry
from streamkit.core.positions import Progress
from streamkit.core.schedule import FOREVER, Attempt
from streamkit.core.settlement import Batching, Outcome, Rules, Settling, Tally
from streamkit.testing import Recorder
from streamkit.testing.builders import records


def settling(stream: list[Record], *, batch: int | None = None, attempts: int = 2, early: int = 5) -> Settling:
    """Return one with these records admitted; delays are one second, pauses ten."""
    rules = Rules(
        retry=Retry(attempts=attempts),
        outage=Outage(records=early, limit=timedelta(hours=1)),
        outage_limit=3600.0,
        backoff=lambda _: 1.0,
        pause=lambda _: 10.0,
        batching=Batching(size=batch, linger=0.0) if batch else None,
    )
    made = Settling("shard", rules, progress=Progress(), tally=Tally(), report=Recorder())
    made.admit(stream, 0.0)
    return made


def taken(made: Settling, now: float = 0.0) -> Attempt:
    """Take what must be there."""
    attempt = made.take(now)
    assert attempt is not None
    return attempt


def test_halves_are_run_left_to_right() -> None:
    """A batch that fails without a culprit is halved until it stands alone."""
    made = settling(records(4, keys="abcd"), batch=4)
    made.failed(taken(made), ValueError(), 0.0)
    left = taken(made)
    assert left.ordinals == (0, 1)
    made.succeeded(left, 0.0)
    right = taken(made)
    assert right.ordinals == (2, 3)
    made.failed(right, ValueError(), 0.0)
    assert taken(made).ordinals == (2,)


def test_a_named_culprit_stands_alone_and_claims_nothing_about_the_others() -> None:
    """`Failed(record)`: what was before and after it runs again, without it."""
    stream = records(5, keys="abcde")
    made = settling(stream, batch=5)
    made.failed(taken(made), Failed(stream[2], ValueError("bad")), 0.0)
    assert taken(made).ordinals == (0, 1)


def test_a_partial_settles_what_is_done() -> None:
    """Done, failed, and the rest unknown: each is treated as what it is."""
    stream = records(4, keys="abcd")
    made = settling(stream, batch=4)
    made.failed(taken(made), Partial(done=stream[:2], failed={stream[2]: ValueError()}), 0.0)
    assert made.frontier == stream[1].position
    assert made.unsettled() == stream[2:]
    assert taken(made).ordinals == (3,)


def test_a_partial_in_which_all_is_done_is_a_success() -> None:
    """However it was said."""
    stream = records(2)
    made = settling(stream, batch=2)
    made.failed(taken(made), Partial(done=Batch(stream)), 0.0)
    assert made.clear


def test_a_partial_that_contradicts_itself_believes_the_failure() -> None:
    """A record both done and failed is not done: repeats, never loss."""
    stream = records(2, keys="ab")
    made = settling(stream, batch=2)
    made.failed(taken(made), Partial(done=stream, failed={stream[0]: ValueError()}), 0.0)
    assert made.unsettled() == stream[:1]


def test_a_culprit_of_another_batch_is_nobody() -> None:
    """Named by mistake: halved, as if nobody had been named."""
    stream = records(3, keys="abc")
    made = settling(stream[:2], batch=2)
    made.failed(taken(made), Failed(stream[2]), 0.0)
    assert taken(made).ordinals == (0,)


def test_a_condemned_record_is_settled_only_when_it_is_buried() -> None:
    """Until its letter is durable the frontier stays, and its key waits (rule 16)."""
    stream = records(2)
    made = settling(stream)
    made.failed(taken(made), Poison("bad"), 0.0)
    assert list(made.condemned) == [0]
    assert made.frontier is None
    assert made.take(0.0) is None
    assert made.wake_at() == FOREVER
    made.buried([0])
    assert made.frontier == stream[0].position
    assert taken(made).ordinals == (1,)


def test_an_abandoned_attempt_leaves_its_records_as_they_were() -> None:
    """Cancelled or never started: not a failure."""
    made = settling(records(1))
    attempt = taken(made)
    made.abandoned(attempt)
    assert made.attempts(0) == 0
    assert taken(made) == attempt


@pytest.mark.parametrize("count", [1, 2])
def test_what_is_settled_is_not_abandoned(count: int) -> None:
    """A commit that is known in the turn in which its waiter is cancelled: its lane has gone on, or is gone."""
    made = settling(records(count))
    attempt = taken(made)
    made.succeeded(attempt, 0.0)
    made.abandoned(attempt)
    assert made.passed == 1
    following = made.take(0.0)
    assert (following.ordinals if following else ()) == tuple(range(1, count))
    assert made.take(0.0) is None


@pytest.mark.parametrize("batch", [None, 2])
def test_nothing_runs_once_halted(batch: int | None) -> None:
    """Until a person acts."""
    made = settling(records(4, keys="ab"), batch=batch)
    made.halt("a reason")
    made.halt("another reason")
    assert made.halted == "a reason"
    assert made.take(0.0) is None
    assert made.wake_at() == FOREVER


def test_records_settled_before_are_dropped_and_counted() -> None:
    """A duplicate is a success, never an error (rule 23)."""
    stream = records(3)
    made = settling(stream)
    seen: list[tuple[Record, Outcome]] = []
    made.listener = lambda record, outcome: seen.append((record, outcome))
    made.admit(stream, 0.0)
    assert seen == [(record, Outcome.DUPLICATE) for record in stream]
    assert made.pending == 3
