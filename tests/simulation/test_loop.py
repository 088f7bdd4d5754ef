"""The loop of a fleet: asyncio's order inside a process, chance between processes, death without a last word."""

from __future__ import annotations

import asyncio
import random

import pytest

from streamkit.testing.simulation.home import Home
from streamkit.testing.simulation.loop import FleetLoop, Stuck


def loop(seed: int = 0) -> FleetLoop:
    """Make a loop."""
    return FleetLoop(random.Random(seed))


async def say(log: list[str], name: str, times: int) -> None:
    """Say one's name, with a turn of the loop between."""
    for index in range(times):
        log.append(f"{name}{index}")
        await asyncio.sleep(0)


def run(fleet: FleetLoop, seconds: float = 100.0) -> None:
    """Run until so many seconds have passed."""
    fleet.run_until_complete(fleet.world.start(asyncio.sleep(seconds), name="end"))


def order(seed: int, *homes: str) -> list[str]:
    """Return in which order processes of these names got to speak, two tasks each."""
    fleet, log = loop(seed), list[str]()
    for name in homes:
        home = fleet.home(name)
        home.start(say(log, f"{name}a", 3), name="a")
        home.start(say(log, f"{name}b", 3), name="b")
    run(fleet)
    return log


def test_inside_a_process_the_order_is_asyncios() -> None:
    """Nothing is reported that cannot happen: callbacks of one process run first in, first out (rule 33)."""
    for seed in range(20):
        alone = [each for each in order(seed, "x", "y") if each.startswith("x")]
        assert alone == ["xa0", "xb0", "xa1", "xb1", "xa2", "xb2"]


def test_between_processes_the_order_is_drawn() -> None:
    """Another seed, another order; the same seed, the same."""
    orders = {tuple(order(seed, "x", "y")) for seed in range(20)}
    assert len(orders) > 1
    assert order(7, "x", "y") == order(7, "x", "y")


def test_a_kill_runs_no_finally() -> None:
    """A dead process says nothing more, until the end of the run tidies up."""
    fleet, log = loop(), list[str]()

    async def work() -> None:
        try:
            await asyncio.sleep(10.0)
            log.append("went on")
        finally:
            log.append("cleaned up")

    home = fleet.home("x")
    home.start(work(), name="work")
    fleet.call_later(1.0, home.kill, context=fleet.world.context)
    run(fleet)
    assert log == []
    fleet.bury()
    assert log == ["cleaned up"]


def test_a_stopped_process_runs_nothing_while_time_goes_on() -> None:
    """SIGSTOP: what came due meanwhile runs at SIGCONT, in its order, and late."""
    fleet, log = loop(), list[tuple[str, float]]()

    async def tick(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        log.append((name, fleet.time()))

    home = fleet.home("x")
    for name, seconds in (("third", 7.0), ("first", 2.0), ("second", 5.0)):
        home.start(tick(name, seconds), name=name)
    fleet.call_later(3.0, home.stop, context=fleet.world.context)
    fleet.call_later(20.0, home.resume, context=fleet.world.context)
    run(fleet)
    assert log == [("first", 2.0), ("second", 20.0), ("third", 20.0)]


def test_a_process_stopped_in_its_own_turn_stops_there() -> None:
    """A stop takes effect at the next await, and holds what was already ready."""
    fleet, log = loop(), list[str]()

    async def stop(home: Home) -> None:
        log.append("stopping")
        home.stop()
        await asyncio.sleep(0)
        log.append("resumed")

    home = fleet.home("x")
    home.start(stop(home), name="stop")
    home.start(say(log, "other", 1), name="other")
    fleet.call_later(1.0, lambda: log.append("SIGCONT"), context=fleet.world.context)
    fleet.call_later(1.0, home.resume, context=fleet.world.context)
    run(fleet)
    assert log == ["stopping", "SIGCONT", "other0", "resumed"]


def test_a_busy_loop_is_found_out() -> None:
    """Turns without time passing are bounded: a spinning process is a finding, not a hang."""
    fleet = loop()

    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    fleet.home("x").start(spin(), name="spin")
    with pytest.raises(Stuck, match="x runs on and on"):
        run(fleet)
    fleet.bury()


def test_standing_still_is_found_out() -> None:
    """Nothing ready and no timer: nothing can ever happen again."""
    fleet = loop()
    with pytest.raises(Stuck):
        fleet.run_until_complete(fleet.world.start(asyncio.Event().wait(), name="never"))
    fleet.bury()
