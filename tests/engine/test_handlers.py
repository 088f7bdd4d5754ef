"""What handlers are, return and raise, and what is asked right before they start (rules 3, 8, 19)."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any, Literal

import pytest

from streamkit import Kinesis, Record, Retry, Sqs, consumer
from streamkit.core.ledger import Claimant
from streamkit.engine.handling import Signature
from streamkit.errors import Unanswered
from streamkit.testing import run_virtual
from tests.engine.bench import GOOD, KINDS, LIMIT, POISON, Bench, Fate, Interruption, Kind, keyed

HOUR = 3600.0


async def nothing(record: Record) -> None:
    """Succeed."""


async def answer(record: Record) -> str:
    """Say something to nobody."""
    return "done"


def forgetful(record: Record) -> object:
    """Forget to await."""
    return nothing(record)


class Obliging:
    """An object that is called."""

    async def __call__(self, record: Record) -> None:
        """Succeed."""


# What a handler may be


@pytest.mark.parametrize(
    ("handler", "is_async"),
    [
        (nothing, True),
        (Obliging(), True),
        (Obliging().__call__, True),
        (functools.partial(nothing), True),
        (len, False),
        (forgetful, False),
    ],
    ids=["async def", "async call", "method", "partial", "builtin", "plain"],
)
def test_a_handler_is_async_if_calling_it_makes_a_coroutine_for_sure(
    handler: Callable[..., Any], *, is_async: bool
) -> None:
    """Whatever it is wrapped in; a plain function that returns a coroutine cannot be known for one."""
    assert Signature.of(handler).is_async is is_async


@pytest.mark.parametrize(
    ("handler", "got"),
    [
        (forgetful, "a plain function that returns a coroutine"),
        (lambda record: 0, "expected a handler to return None, got int"),
        (lambda record: False, "expected a handler to return None, got bool"),
        (answer, "expected a handler to return None, got str"),
    ],
    ids=["coroutine", "number", "no", "async"],
)
def test_a_handler_that_returns_anything_is_an_error_never_success(handler: Callable[..., Any], got: str) -> None:
    """A coroutine nobody awaits had no effect; an answer was meant for somebody else."""

    async def main() -> None:
        bench = Bench([GOOD], attempts=3)
        bench.consumer = bench.consumer.using(handler=handler)
        await bench.live()
        (letter,) = bench.letters.letters
        assert letter.verdict.attempts == 3
        assert letter.reason.startswith("TypeError: ")
        assert got in letter.reason
        assert bench.tally.handled == 0

    run_virtual(main)


async def exhausted(record: Record) -> None:
    """Look for what is not there."""
    next(iter(()))


def exhausted_in_thread(record: Record) -> None:
    """Look for what is not there."""
    next(iter(()))


@pytest.mark.parametrize("handler", [exhausted, exhausted_in_thread])
def test_stop_iteration_is_a_failure_like_any_other(handler: Callable[..., Any]) -> None:
    """A future cannot carry it: it must neither hang the record nor break the shard."""

    async def main() -> None:
        bench = Bench([GOOD], attempts=2)
        bench.consumer = bench.consumer.using(handler=handler)
        await bench.live()
        (letter,) = bench.letters.letters
        assert (letter.verdict.condition, letter.verdict.attempts) == ("RetryAttemptsExhausted", 2)
        assert "StopIteration" in letter.reason

    run_virtual(main)


@pytest.mark.timeout(10)  # it hangs beyond cancellation
async def test_stop_iteration_in_a_real_thread_does_not_hang_the_record() -> None:
    """In asyncio's own loop, whose futures refuse to carry it."""
    real = consumer("real", source=Kinesis("stream"), dead_letters=Sqs("dead"), retry=Retry(attempts=2))
    settled = await real(exhausted_in_thread).settle(["one"])
    assert [letter.verdict.attempts for letter in settled.dead] == [2]


# Threads


def test_waiting_for_a_thread_takes_no_handlers_time() -> None:
    """Three handlers of eight seconds share a thread: none of them is over its ten."""

    async def main() -> None:
        bench = Bench(keyed([Fate(seconds=8)] * 3, "abc"), "thread", settings={"concurrency": 3}, threads=1)
        await bench.live()
        assert bench.effects == [0, 1, 2]
        assert bench.loop.time() == 24.0
        assert bench.report.named("handler.timed_out") == []
        assert bench.stuck == []

    run_virtual(main)


@pytest.mark.parametrize("how", ["fence", "stop", "cancel"])
def test_a_handler_that_waited_for_a_thread_does_not_start_once_it_must_not(
    how: Literal["fence", "stop", "cancel"],
) -> None:
    """The fence is asked, and a stop seen, with the thread in hand (rule 3)."""

    async def main() -> None:
        bench = Bench(keyed([Fate(seconds=8)] * 5, "abcde"), "thread", settings={"concurrency": 5}, threads=2)
        starts: list[float] = []
        bench.on_run = lambda _: starts.append(bench.loop.time())
        await bench.live(Interruption(how, 5))
        assert starts == [0.0, 0.0]
        assert bench.loop.time() == 8.0
        await bench.live()
        assert sorted(bench.effects) == [0, 1, 2, 3, 4]
        assert set(bench.runs.values()) == {1}

    run_virtual(main)


# Burials


def event_of(record: Record) -> str:
    """Return the business key."""
    return f"event-{record.key}"


def test_a_fenced_worker_sends_no_letter_once_the_queue_is_back() -> None:
    """The shard may have another owner by then, who judges anew."""

    async def main() -> None:
        bench = Bench([POISON])
        bench.letters.outage = True
        bench.loop.call_later(4, lambda: setattr(bench.letters, "outage", False))
        bench.until = lambda: False
        await bench.live(Interruption("fence", 3))
        assert bench.letters.letters == []
        assert bench.engine.fenced
        assert bench.settling.frontier is None

    run_virtual(main)


def test_a_fenced_worker_releases_no_claim() -> None:
    """The record's next owner may have claimed the key anew, under the same name, and taken effect."""

    async def main() -> None:
        bench = Bench([Fate("poison", seconds=5)], settings={"dedupe_key": event_of})
        bench.until = lambda: False
        await bench.live(Interruption("fence", 3))
        assert list(bench.ledger.claims) == ["event-a"]
        assert bench.letters.letters == []

    run_virtual(main)


def test_the_fence_is_asked_between_a_claim_and_the_next_and_before_the_letters_go() -> None:
    """A ledger may take longer than the lease to take a claim back."""

    async def main() -> None:
        bench = Bench(keyed([POISON] * 2, "ab"), settings={"dedupe_key": event_of})
        release = bench.ledger.release

        async def slow(key: str, by: Claimant) -> None:
            await release(key, by)
            await asyncio.sleep(5)

        bench.ledger.release = slow  # type: ignore[method-assign]
        bench.until = lambda: False
        await bench.live(Interruption("fence", 3))
        assert list(bench.ledger.held) == ["event-b"]
        assert bench.letters.letters == []

    run_virtual(main)


# The ledger of business keys


@pytest.mark.parametrize("kind", KINDS)
def test_a_ledger_that_is_down_is_never_held_against_a_record(kind: Kind) -> None:
    """Not after the limit of an outage either; the wait is paced, and all is done once it is back (rule 19)."""

    async def main() -> None:
        bench = Bench(keyed([GOOD] * 8, "abcd"), kind, settings={"dedupe_key": lambda record: str(record.data)})
        bench.ledger.outage = Unanswered("no answer")
        back = LIMIT.total_seconds() + HOUR
        bench.loop.call_later(back, lambda: setattr(bench.ledger, "outage", None))
        turns = bench.count_turns()
        await bench.live()
        assert bench.dead == []
        assert sorted(bench.effects) == list(range(8))
        assert set(bench.runs.values()) == {1}
        assert back <= bench.loop.time() < back + 120
        assert turns() < 10_000
        assert bench.ledger.requests < 2_000

    run_virtual(main)


def test_a_ledger_that_goes_down_after_the_limit_is_not_held_against_a_record_either() -> None:
    """Everything fails for so long that attempts count again; then the ledger's own trouble begins."""

    async def main() -> None:
        bench = Bench(keyed([GOOD] * 4, "abcd"), settings={"dedupe_key": lambda record: str(record.data)}, attempts=3)
        bench.outage = True
        limit = LIMIT.total_seconds()

        def turn() -> None:
            bench.outage = False
            bench.ledger.outage = Unanswered("no answer")

        bench.loop.call_later(limit - 1, turn)
        bench.loop.call_later(limit + HOUR, lambda: setattr(bench.ledger, "outage", None))
        await bench.live()
        assert bench.dead == []
        assert sorted(bench.effects) == [0, 1, 2, 3]

    run_virtual(main)
