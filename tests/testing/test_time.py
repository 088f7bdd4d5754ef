"""The virtual loop, its clocks, its chance and its threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from streamkit.clock import SystemClock
from streamkit.testing.threads import StuckThread
from streamkit.testing.time import START, Deadlock, SeededChance, VirtualClock, VirtualLoop, run_virtual

real = SystemClock()


def loop() -> VirtualLoop:
    """Return the running loop."""
    running = asyncio.get_running_loop()
    assert isinstance(running, VirtualLoop)
    return running


def test_hours_cost_milliseconds() -> None:
    """Time jumps to the next timer: 30 days of sleep in a second of test."""

    async def main() -> timedelta:
        clock = VirtualClock()
        for _ in range(30 * 24):
            await asyncio.sleep(3600)
        return clock.now() - START

    began = real.monotonic()
    assert run_virtual(main) == timedelta(days=30)
    assert real.monotonic() - began < 1


def test_a_timer_further_away_than_the_longest_select_is_reached() -> None:
    """The loop never selects for longer than a day; the loop goes on until the timer."""

    async def main() -> float:
        await asyncio.sleep(100 * 86400)
        return loop().time()

    assert run_virtual(main()) == pytest.approx(100 * 86400)


def test_tasks_run_in_the_order_of_their_timers() -> None:
    """Virtual time keeps the order of real time."""
    woke: list[float] = []

    async def sleeper(seconds: float) -> None:
        await asyncio.sleep(seconds)
        woke.append(loop().time())

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for seconds in (3.0, 1.0, 2.0):
                group.create_task(sleeper(seconds))

    run_virtual(main)
    assert woke == [1.0, 2.0, 3.0]


def test_a_timeout_fires_in_virtual_time() -> None:
    """`asyncio.timeout` belongs to the loop's time."""

    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(900):
                await asyncio.Event().wait()
        return loop().time()

    assert run_virtual(main) == 900


def test_a_deadlock_names_the_pending_tasks() -> None:
    """Nothing ready and no timer: an error instead of a hang, naming who waits where."""

    async def forlorn() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(forlorn(), name="waiter-7")

    with pytest.raises(Deadlock, match=r"2 pending tasks: .*waiter-7 in .*forlorn at .*test_time.py:\d+"):
        run_virtual(main)


def test_the_error_of_main_comes_out() -> None:
    """A failing test fails with its own error."""

    async def main() -> None:
        await asyncio.sleep(1)
        msg = "mine"
        raise LookupError(msg)

    with pytest.raises(LookupError, match="mine"):
        run_virtual(main)


def test_a_thread_takes_no_virtual_time() -> None:
    """While a thread job is under way, the clock stands still: a timer does not overtake it."""

    async def main() -> float:
        async with asyncio.timeout(0.001):
            total = await asyncio.to_thread(sum, range(2_000_000))
        assert total == 1_999_999_000_000
        return loop().time()

    assert run_virtual(main) == 0


def test_a_thread_blocks_for_virtual_time() -> None:
    """A sync handler that waits for an hour takes an hour of virtual time."""

    async def main() -> float:
        await asyncio.to_thread(loop().block, 3600)
        return loop().time()

    assert run_virtual(main) == pytest.approx(3600)


def test_a_thread_waits_at_a_gate_beyond_a_timeout() -> None:
    """The time-out fires while the thread is still there; the thread ends when the gate opens (rule 8)."""

    async def main() -> list[str]:
        gate, said = loop().gate(), list[str]()

        def handler() -> None:
            gate.wait()
            said.append(f"thread ended at {loop_time()}")

        loop_time = loop().time
        attempt = asyncio.get_running_loop().run_in_executor(None, handler)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await asyncio.shield(attempt)
        said.append(f"timed out at {loop_time()}")
        await asyncio.sleep(15)
        gate.open()
        await attempt
        return said

    assert run_virtual(main) == ["timed out at 30.0", "thread ended at 45.0"]


def test_threads_deliver_in_the_order_in_which_they_started() -> None:
    """Threads race; their results do not: the same run every time."""

    async def main() -> list[int]:
        ended: list[int] = []
        barrier = threading.Barrier(8)

        async def one(number: int) -> None:
            await asyncio.to_thread(barrier.wait)
            ended.append(number)

        async with asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(one(number))
        return ended

    for _ in range(20):
        assert run_virtual(main) == list(range(8))


def test_a_thread_may_call_back_into_the_loop() -> None:
    """`run_coroutine_threadsafe` wakes the loop, which otherwise waits for the thread."""

    async def answer() -> int:
        for _ in range(3):
            await asyncio.sleep(0)
        return 42

    async def main() -> int:
        here = asyncio.get_running_loop()

        def ask() -> int:
            return sum(asyncio.run_coroutine_threadsafe(answer(), here).result() for _ in range(100))

        return await asyncio.to_thread(ask)

    assert run_virtual(main) == 4200


def test_results_wait_for_the_threads_that_are_busy() -> None:
    """While one job talks to the loop, the result of another is not let in at whatever moment it came."""

    async def main() -> list[str]:
        here, first_is_done, order = asyncio.get_running_loop(), threading.Event(), list[str]()

        async def note(what: str) -> None:
            order.append(what)

        def talk() -> None:
            assert first_is_done.wait(10)
            for _ in range(50):
                asyncio.run_coroutine_threadsafe(note("talk"), here).result()

        async def run(name: str, job: Callable[[], None]) -> None:
            await asyncio.to_thread(job)
            order.append(name)

        async with asyncio.TaskGroup() as group:
            group.create_task(run("first", first_is_done.set))
            group.create_task(run("second", talk))
        return order

    assert run_virtual(main) == ["talk"] * 50 + ["first", "second"]


def test_the_error_of_a_thread_comes_out() -> None:
    """What a job raises is raised where it is awaited, `StopIteration` as a `RuntimeError`."""

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await asyncio.to_thread(next, iter(()))

    run_virtual(main)


def test_a_thread_at_a_gate_ends_with_the_loop() -> None:
    """No thread outlives its loop: the wait fails, the interpreter can exit."""
    seen: list[BaseException] = []

    async def main() -> None:
        gate = loop().gate()

        def handler() -> None:
            try:
                gate.wait()
            except StuckThread as error:
                seen.append(error)

        asyncio.get_running_loop().run_in_executor(None, handler)
        await asyncio.sleep(1)

    run_virtual(main)
    assert len(seen) == 1


def test_a_deadlock_is_seen_behind_a_gate() -> None:
    """A thread at a gate that nobody opens is no reason to wait for ever."""

    async def main() -> None:
        await asyncio.to_thread(loop().gate().wait)

    with pytest.raises(Deadlock):
        run_virtual(main)


def test_a_clock_of_its_own_may_drift() -> None:
    """Monotonic clocks run at different rates, wall clocks are off: each process has its own."""

    async def main() -> None:
        plain, fast = VirtualClock(), VirtualClock(drift=0.01, boot=0.0, skew=timedelta(minutes=-5))
        before = plain.monotonic()
        await asyncio.sleep(1000)
        assert plain.monotonic() - before == pytest.approx(1000)
        assert fast.monotonic() == pytest.approx(1010)
        assert plain.now() - fast.now() == timedelta(minutes=5)

    run_virtual(main)


def test_the_wall_clock_starts_where_it_is_told() -> None:
    """`start` is the date at virtual second 0."""
    start = datetime(2024, 2, 29, tzinfo=UTC)

    async def main() -> datetime:
        return VirtualClock().now()

    assert run_virtual(main, start=start) == start


def test_the_same_seed_is_the_same_chance() -> None:
    """Everything random repeats with its seed; forks are independent of each other."""

    async def main() -> tuple[str, float, str]:
        chance = SeededChance()
        return chance.token(), chance.fraction(), chance.fork("worker-2").token()

    assert run_virtual(main, seed=5) == run_virtual(main, seed=5)
    assert run_virtual(main, seed=5) != run_virtual(main, seed=6)
    one = SeededChance(1)
    assert len({one.token(), one.token(), one.fork("a").token(), one.fork("b").token()}) == 4
    assert len(one.token()) == 32


def test_a_virtual_clock_needs_a_virtual_loop() -> None:
    """Made on a real loop it says what is missing."""

    async def main() -> None:
        with pytest.raises(TypeError, match="expected to run on a VirtualLoop"):
            VirtualClock()

    asyncio.run(main())
