"""`streamkit run --processes N`: a supervisor and its worker processes, in the embedded world."""

import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from streamkit.clock import SystemChance
from tests.e2e.process import Event, Process
from tests.e2e.stage import Stage
from tests.e2e.waiting import eventually
from tests.nursery import Nursery

pytestmark = pytest.mark.e2e


@pytest.fixture
def supervisor(embedded: Mapping[str, str], tmp_path: Path, nursery: Nursery) -> Iterator[Process]:
    """Start two processes under a supervisor, and wait until both have joined."""
    name = f"test-{SystemChance().token()[:12]}"
    with Stage(name, folder=tmp_path, variables=embedded, shards=2, start=nursery.start) as stage:
        supervisor = stage.worker(3.0, 0.2, "--processes", "2")
        eventually(lambda: len(supervisor.names()) == 2, "both processes have joined")
        yield supervisor


def started(supervisor: Process, slot: int) -> list[Event]:
    """The starts of one of the processes."""
    return [event for event in supervisor.events("process.started") if event.about["process"] == slot]


def crash(supervisor: Process, *, slot: int) -> None:
    """Send SIGKILL to one of the processes, and wait until there is another in its place."""
    before = started(supervisor, slot)
    os.kill(before[-1].about["pid"], signal.SIGKILL)
    eventually(lambda: len(started(supervisor, slot)) > len(before), "it is started again")


def test_a_crashed_process_is_started_again_after_longer_and_longer_pauses(supervisor: Process) -> None:
    """The first pause has up to a second, the next up to two, half of it jitter; SIGTERM then reaches all of them."""
    crash(supervisor, slot=1)
    crash(supervisor, slot=1)
    youngest = started(supervisor, 1)[-1].about["pid"]
    eventually(lambda: any(f"-{youngest}-" in name for name in supervisor.names()), "it has joined")
    supervisor.stop()

    crashed = supervisor.events("process.crashed")
    assert [(event.about["process"], event.about["status"]) for event in crashed] == [(1, -signal.SIGKILL)] * 2
    first, second = (event.about["restart_after_seconds"] for event in crashed)
    assert 0.5 <= first <= 1.0 <= second <= 2.0
    for event, start in zip(crashed, started(supervisor, 1)[1:], strict=True):
        assert start.at - event.at >= event.about["restart_after_seconds"] - 0.01
    assert len({event.about["pid"] for event in supervisor.events("process.started")}) == 4
    assert [event.about["cause"] for event in supervisor.events("worker.draining")] == ["SIGTERM"] * 2
    assert len(supervisor.events("worker.stopped")) == 2


def test_processes_drain_when_their_supervisor_is_killed(supervisor: Process) -> None:
    """Nobody is left to stop them, and nobody would start them again."""
    supervisor.kill()
    eventually(lambda: len(supervisor.events("worker.stopped")) == 2, "both processes have stopped")
    causes = [event.about["cause"] for event in supervisor.events("worker.draining")]
    assert causes == ["the supervisor ended"] * 2
