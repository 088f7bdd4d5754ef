"""One attempt: its start, its time-out, its end, and the fence before it (rules 3, 8)."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamkit import Record
from streamkit.core.ledger import Claimant, Holding
from streamkit.testing import run_virtual
from tests.engine.bench import GOOD, KINDS, SINGLE, TIMEOUT, Bench, Fate, Interruption, Kind, fates, few, keyed


@pytest.mark.parametrize("kind", KINDS)
@few
@given(planted=fates("good", "bad", "slow"), at=st.sampled_from([0.0, 0.5, 1.0, 1.5, 5.0]))
def test_once_the_fence_is_down_no_handler_starts(kind: Kind, planted: list[Fate], at: float) -> None:
    """Attempts under way may end; nothing is handed out any more, and the engine says why it stopped."""

    async def main() -> None:
        bench = Bench(planted, kind, settings={"concurrency": 2})
        late: list[float] = []
        bench.on_run = lambda _: late.append(bench.loop.time()) if bench.loop.time() >= at else None
        batches = kind not in SINGLE
        await bench.live(Interruption("fence", at))
        assert late == [] or batches, "a batch under way goes on"
        assert bench.engine.fenced or bench.settling.clear or not late

    run_virtual(main)


def test_the_fence_is_asked_after_the_ledger_answered() -> None:
    """A claim may take longer than the lease: the moment before the handler is what counts."""

    async def main() -> None:
        bench = Bench([GOOD], settings={"dedupe_key": lambda record: record.key})
        claim = bench.ledger.claim

        async def slow(key: str, by: Claimant) -> Holding:
            await asyncio.sleep(5)
            return await claim(key, by)

        bench.ledger.claim = slow  # type: ignore[method-assign]
        await bench.live(Interruption("fence", 3))
        assert bench.runs == {}
        assert bench.engine.fenced
        assert bench.settling.frontier is None

    run_virtual(main)


@pytest.mark.parametrize("kind", ["record", "quick"])
def test_the_fence_is_asked_when_the_handler_starts_not_when_its_task_is_made(kind: Kind) -> None:
    """Between the two, another handler may compute for longer than the lease."""

    async def main() -> None:
        bench = Bench(keyed([GOOD] * 4, "abcd"), kind)
        up = [True]

        def hog(_: Record) -> None:
            up[0] = sum(bench.runs.values()) < 2

        bench.on_run = hog
        bench.may_start = lambda: up[0]
        bench.until = lambda: False
        await bench.live()
        assert sum(bench.runs.values()) == 2
        assert bench.engine.fenced

    run_virtual(main)


def test_an_attempt_over_its_time_is_cancelled_and_counts_as_failed() -> None:
    """The next attempt of its key starts only when it has ended."""

    async def main() -> None:
        bench = Bench([Fate("slow", failures=1), GOOD])
        await bench.live()
        assert bench.effects == [0, 1]
        assert bench.runs == {0: 2, 1: 1}
        assert len(bench.report.named("handler.timed_out")) == 1
        assert bench.loop.time() >= TIMEOUT.total_seconds()

    run_virtual(main)


def test_an_attempt_in_a_thread_is_waited_for_and_never_overlapped() -> None:
    """A thread cannot be cancelled: its time-out is reported, and what it did in the end counts (rule 8)."""

    async def main() -> None:
        bench = Bench([Fate("slow", failures=1), GOOD], "thread", attempts=3)
        await bench.live()
        assert bench.runs == {0: 2, 1: 1}
        assert bench.effects == [0, 1]
        assert len(bench.report.named("handler.timed_out")) == 1
        assert bench.stuck == []

    run_virtual(main)


def test_an_attempt_that_does_not_end_is_reported_as_stuck() -> None:
    """After its time and its grace, in a thread or ignoring its cancellation: only the process's end stops it."""

    async def main() -> None:
        bench = Bench([GOOD], settings={"handler_timeout": timedelta(seconds=1)})

        async def deaf(record: Record) -> None:
            for _ in range(4):
                try:
                    await asyncio.sleep(20)
                except asyncio.CancelledError:
                    continue

        bench.consumer = bench.consumer.using(handler=deaf)
        await bench.live()
        assert bench.stuck == [31.0]
        assert len(bench.report.named("handler.stuck")) == 1

    run_virtual(main)


@pytest.mark.parametrize("kind", KINDS)
@few
@given(planted=fates("good"), at=st.sampled_from([0.25, 0.5, 1.0, 1.5]))
def test_nothing_starts_after_cancellation(kind: Kind, planted: list[Fate], at: float) -> None:
    """A lost lease cancels the shard: a thread under way ends, and no other record is handed out after it."""

    async def main() -> None:
        bench = Bench([Fate(seconds=1.0), *planted], kind, settings={"concurrency": 2, "batch_size": 2})
        starts: list[float] = []
        bench.on_run = lambda _: starts.append(bench.loop.time())
        await bench.live(Interruption("cancel", at))
        assert max(starts) <= at

    run_virtual(main)


@pytest.mark.parametrize("kind", KINDS)
def test_stopping_lets_attempts_end_and_repeats_nothing(kind: Kind) -> None:
    """A drain within the grace period costs no repeat (rule 7)."""

    async def main() -> None:
        bench = Bench(keyed([Fate(seconds=1.0)] * 8, "abcd"), kind, settings={"concurrency": 4, "batch_size": 4})
        await bench.live(Interruption("stop", 0.5))
        assert bench.effects
        await bench.live()
        assert sorted(bench.effects) == list(range(8))
        assert set(bench.runs.values()) == {1}

    run_virtual(main)


def test_handlers_that_never_wait_cost_one_task() -> None:
    """A runner takes attempt after attempt; another starts only once that one had to wait."""

    async def main() -> None:
        made: list[object] = []
        bench = Bench(keyed([GOOD] * 500, [f"k{n}" for n in range(100)]))

        async def quick(record: Record) -> None:
            bench.effects.append(bench.index(record))

        bench.consumer = bench.consumer.using(handler=quick, where=None)
        loop = asyncio.get_running_loop()
        loop.set_task_factory(lambda loop, coro, **kw: (made.append(coro), asyncio.Task(coro, loop=loop, **kw))[1])  # type: ignore[func-returns-value]
        await bench.live()
        loop.set_task_factory(None)
        assert len(bench.effects) == 500
        assert len(made) < 20

    run_virtual(main)


def test_every_handler_of_a_stretch_has_its_own_time() -> None:
    """One runner hands out many records in one turn of the loop: a handler's time counts from when it waits."""

    async def main() -> None:
        near = TIMEOUT.total_seconds() - 1
        planted = [GOOD, Fate(seconds=near), GOOD, Fate(seconds=near), Fate("slow", failures=1), GOOD]
        bench = Bench(keyed(planted, "abcdef"), "quick", settings={"concurrency": 1})
        await bench.live()
        assert bench.runs == {0: 1, 1: 1, 2: 1, 3: 1, 4: 2, 5: 1}
        assert len(bench.report.named("handler.timed_out")) == 1

    run_virtual(main)


def test_what_stands_before_a_handler_that_waits_is_settled_although_it_waits() -> None:
    """A slow record holds the frontier where it is, and neither what ran before it nor other keys."""

    async def main() -> None:
        bench = Bench(keyed([GOOD, GOOD, Fate(seconds=5.0), GOOD, GOOD], "abccd"), "quick")
        seen: list[tuple[object, list[int]]] = []
        asyncio.get_running_loop().call_later(
            1,
            lambda: seen.append((bench.settling.frontier, [bench.index(each) for each in bench.settling.unsettled()])),
        )
        await bench.live()
        assert seen == [(bench.records[1].position, [2, 3])]

    run_virtual(main)


def test_concurrency_is_the_most_attempts_at_a_time() -> None:
    """Lanes beyond it wait."""

    async def main() -> None:
        bench = Bench(keyed([Fate(seconds=1.0)] * 20, "abcdefghij"), settings={"concurrency": 3})
        most = 0

        def look(_: Record) -> None:
            nonlocal most
            most = max(most, len(bench.busy) + 1)

        bench.on_run = look
        await bench.live()
        assert most == 3
        assert bench.loop.time() == 7.0

    run_virtual(main)
