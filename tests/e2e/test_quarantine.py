"""A record that kills whoever handles it, and real processes (rule 22)."""

import json
import subprocess
import sys
from collections.abc import Mapping
from math import log2
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from streamkit.clock import SystemChance
from streamkit.core.letters import Letter
from tests.e2e.load import Load, Pace
from tests.e2e.process import Process
from tests.e2e.stage import CONSUMER, Stage
from tests.e2e.verdict import Place
from tests.e2e.waiting import eventually

pytestmark = pytest.mark.e2e
RECORDS = 1000
SOON = """
from streamkit.runtimes import setup, watchdog
setup.GRACE_SECONDS = watchdog.GRACE_SECONDS = 1.0  # half a minute in truth, and half a dozen of them to wait for
"""
STUCK = "killed, for an attempt neither ended nor could be stopped"


class Killer(NamedTuple):
    """What a handler does, and how it ends a ward."""

    does: str
    how: str
    threaded: bool = False
    """Whether it is a plain `def`."""

    @property
    def source(self) -> str:
        """The consumer's module."""
        source = CONSUMER.replace('raise Poison("bad from the start")', self.does.replace("\n", "\n" + 8 * " "))
        if self.threaded:
            source = source.replace("async def", "def").replace("await asyncio.sleep", "time.sleep")
        return f"import ctypes, re, signal\n{SOON}{source}"


EXIT = Killer("os._exit(9)", "exit status 9")
KILLERS = {
    "what the kernel kills for want of memory": Killer("os.kill(os.getpid(), signal.SIGKILL)", "signal 9 (SIGKILL)"),
    "a segfault": Killer("ctypes.string_at(0)", "signal 11 (SIGSEGV)"),
    "an endless loop in async def": Killer("while True: pass", STUCK),
    "an endless loop in a thread": Killer("while True: pass", STUCK, threaded=True),
    "an endless regular expression in a thread": Killer("re.match('(a+)+$', 64 * 'a' + 'b')", STUCK, threaded=True),
    "a handler that ignores its cancellation": Killer(
        "while True:\n    try: await asyncio.sleep(60)\n    except asyncio.CancelledError: pass", STUCK
    ),
}


class DeadlyStage(Stage):
    """A stage where poison kills, or never ends: no exception, no `finally`, no tombstone."""

    deadly = True

    def __init__(self, killer: Killer, *, folder: Path, variables: Mapping[str, str]) -> None:
        self.source = killer.source
        patience = {"STREAMKIT_HANDLER_TIMEOUT": "2s", "STREAMKIT_GRACE": "100ms"}
        name = f"test-{SystemChance().token()[:12]}"
        super().__init__(name, folder=folder, variables={**variables, **patience}, shards=3)

    def supervised(self) -> Process:
        """Start two processes, each started again when it dies."""
        return self.worker(2.0, 0.2, "--processes", "2")

    def handled(self) -> set[Place]:
        """Return where the records are that took effect."""
        return {effect.place for effect in self.effects()}

    def kill(self, turn: int) -> Place:
        """Put a killer."""
        [place] = self.put([("killer", payload(turn, deadly=True))])
        return place

    def between(self, first: float, last: float) -> set[str]:
        """Return the shards of which records took effect between two moments."""
        return {effect.place.shard for effect in self.effects() if first < effect.ended < last}


def payload(turn: int, *, deadly: bool) -> bytes:
    """Return what the handler reads."""
    return json.dumps({"turn": turn, "poison": deadly, "seconds": 0}).encode()


def deaths(supervisor: Process, *, among: int) -> list[float]:
    """Return when processes for suspects died; workers died few times, and all of them together within the bound."""
    workers, wards = supervisor.events("process.crashed"), supervisor.events("ward.died")
    print(f"{len(workers)} workers and {len(wards)} wards died for one of {among} records")  # noqa: T201 - to be seen
    assert 2 <= len(workers) <= 4  # fewer than it takes without a process for suspects
    assert len(workers) + len(wards) <= 2 * log2(among) + 4
    return [event.at for event in wards]


def expect_history(letter: Letter, killer: Killer) -> None:
    """The reason tells how processes ended that had nothing else to do."""
    assert letter.verdict.condition == "ProcessDied"
    assert letter.reason.startswith("it ended its process 2 times, alone: ")
    assert letter.reason.count(killer.how) == 2


def test_a_killer_among_a_thousand_is_dead_lettered_alone(embedded: Mapping[str, str], tmp_path: Path) -> None:
    """Two workers die; then only processes for suspects do, and few of them. 999 records are handled, on all shards."""
    with DeadlyStage(EXIT, folder=tmp_path, variables=embedded) as stage:
        payloads = [(f"key-{turn % 100}", payload(turn, deadly=turn == RECORDS // 3)) for turn in range(RECORDS)]
        places = [place for first in range(0, RECORDS, 500) for place in stage.put(payloads[first : first + 500])]
        supervisor = stage.supervised()
        others = {*places} - {places[RECORDS // 3]}
        eventually(lambda: stage.handled() >= others, "all others are handled")
        eventually(lambda: bool(supervisor.events("quarantine.ended")), "the killer is found")
        supervisor.stop()
        [letter] = stage.letters()
        assert Place(letter.record.shard, letter.record.sequence) == places[RECORDS // 3]
        assert stage.handled() == others
    deaths(supervisor, among=RECORDS)
    expect_history(letter, EXIT)


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels know nothing of it")
def test_the_kernel_takes_a_process_for_suspects_before_its_worker() -> None:
    """When memory runs out it kills whoever has the highest score (proc(5)), and a worker's is at most as high."""
    look = (
        "from streamkit.runtimes.apart.child import prepare; prepare(); print(open('/proc/self/oom_score_adj').read())"
    )
    ward = subprocess.run(
        [sys.executable, "-c", look], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, timeout=60
    )
    assert int(ward.stderr) == 1000  # standard output is not theirs


@pytest.mark.long
@pytest.mark.parametrize("killer", KILLERS.values(), ids=KILLERS)
def test_whatever_a_record_kills_with_other_shards_go_on(
    killer: Killer, embedded: Mapping[str, str], tmp_path: Path
) -> None:
    """Its letter has the history of the deaths; while its own shard is tried, nobody else's waits for that."""
    with DeadlyStage(killer, folder=tmp_path, variables=embedded) as stage:
        supervisor = stage.supervised()
        with stage.load(Random(), Pace(keys_each=1, beats=5.0, poison=0.0)) as load:
            load.goes_on(1.0)
            place = stage.kill(turn=0)
            eventually(lambda: found(supervisor, place.shard), "the killer is found")
        eventually(lambda: stage.handled() >= load.places(), "all others are handled")
        supervisor.stop()
        [letter] = stage.letters()
        assert Place(letter.record.shard, letter.record.sequence) == place
        assert stage.handled() == load.places()
        first, *_, last = deaths(supervisor, among=len(load.put) + 1)
        assert stage.between(first, last) >= {*stage.open_shards()} - {place.shard}
        tell_waits(stage, load, place.shard, first)
    expect_history(letter, killer)
    [tried, *_] = [event.at for event in supervisor.events("shard.quarantined") if event.about["shard"] == place.shard]
    assert all(event.at < tried for event in supervisor.events("process.crashed")), "a worker died of a suspect"


@pytest.mark.long
def test_a_worker_that_is_told_to_stop_while_suspects_are_tried_does(
    embedded: Mapping[str, str], tmp_path: Path
) -> None:
    """Whatever they do in their process: it is let go of, and nobody waits for what runs there."""
    stubborn = KILLERS["a handler that ignores its cancellation"]
    with DeadlyStage(stubborn, folder=tmp_path, variables=embedded) as stage:
        supervisor = stage.supervised()
        stage.kill(turn=0)
        eventually(lambda: is_tried(supervisor), "a suspect is tried")
        supervisor.stop()
        assert len(supervisor.events("worker.stopped")) >= 2


def is_tried(supervisor: Process) -> bool:
    """Whether a handler in a process for suspects has come to its time-out."""
    quarantined = [event.at for event in supervisor.events("shard.quarantined")]
    late = [event.at for event in supervisor.events("handler.timed_out")]
    return bool(quarantined) and any(at > quarantined[0] for at in late)


def found(supervisor: Process, shard: str) -> bool:
    """Whether no suspect of the shard is left."""
    return any(event.about["shard"] == shard for event in supervisor.events("quarantine.ended"))


def tell_waits(stage: Stage, load: Load, shard: str, since: float) -> None:
    """Print for how long other shards' records waited, of those put since then."""
    done = {effect.place: effect.ended for effect in reversed(stage.effects())}
    waits = [done[put.place] - put.at for put in load.put if put.place.shard != shard and put.at > since]
    print(f"meanwhile {len(waits)} records of other shards were handled, each within {max(waits):.1f} s")  # noqa: T201 - to be seen
