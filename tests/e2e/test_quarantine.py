"""A record that kills whoever handles it, and real processes (rule 22)."""

import json
from collections.abc import Mapping
from math import log2
from pathlib import Path

import pytest

from streamkit.clock import SystemChance
from tests.e2e.stage import CONSUMER, Stage
from tests.e2e.waiting import eventually

pytestmark = pytest.mark.e2e
RECORDS = 1000


class DeadlyStage(Stage):
    """A stage where poison ends the process at once: no exception, no `finally`, no tombstone."""

    source = CONSUMER.replace('raise Poison("bad from the start")', "os._exit(9)")


def test_a_killer_among_a_thousand_is_dead_lettered_alone(embedded: Mapping[str, str], tmp_path: Path) -> None:
    """Two workers die; then only processes for suspects do, and few of them. 999 records are handled, on all shards."""
    name = f"test-{SystemChance().token()[:12]}"
    with DeadlyStage(name, folder=tmp_path, variables=embedded, shards=3) as stage:
        payloads = [
            (f"key-{turn % 100}", json.dumps({"turn": turn, "poison": turn == RECORDS // 3, "seconds": 0}).encode())
            for turn in range(RECORDS)
        ]
        places = [place for first in range(0, RECORDS, 500) for place in stage.put(payloads[first : first + 500])]
        supervisor = stage.worker(2.0, 0.2, "--processes", "2")
        handled = places[: RECORDS // 3] + places[RECORDS // 3 + 1 :]
        eventually(lambda: {effect.place for effect in stage.effects()} >= {*handled}, "all others are handled")
        eventually(lambda: bool(supervisor.events("quarantine.ended")), "the killer is found")
        supervisor.stop()
        workers, wards = supervisor.events("process.crashed"), supervisor.events("ward.died")
        assert stage.dead_letters() == [places[RECORDS // 3]]
        assert {effect.place for effect in stage.effects()} == {*handled}
    assert 2 <= len(workers) <= 4  # fewer than it takes without a process for suspects
    assert len(workers) + len(wards) <= 2 * log2(RECORDS) + 4
    assert {event.about["how"] for event in wards} == {"exit status 9"}
