"""`streamkit run --health` as whoever watches a worker sees it: over HTTP, from outside."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.waiting import eventually
from tests.nursery import Child

pytestmark = pytest.mark.e2e

Program = Callable[..., Child]

QUICK = (
    "handler_timeout=__import__('datetime').timedelta(seconds=1), "
    "checkpoint=Checkpoint(lease=__import__('datetime').timedelta(seconds=2))"
)
HANDLER = "__import__('time').sleep(4) if record.text() == 'spin' else await asyncio.sleep(0)"

LINGERING = """
import asyncio, contextlib, os

@contextlib.asynccontextmanager
async def until_told():
    yield
    while not os.path.exists("leave"):
        await asyncio.sleep(0.05)
"""
"""A lifespan that keeps a worker draining for as long as a test looks at it."""


@pytest.fixture
def ready(run: Callable[..., Any], stage: Callable[..., str]) -> Callable[..., str]:
    """Make stream, queue and table; return the path of the consumer."""

    def make(word: str, settings: str = "") -> str:
        path = stage(word, handler=HANDLER, settings=QUICK + settings)
        assert run("init", path, "--queue").status == 0
        return path

    return make


def address(child: Child) -> str:
    """Wait until it says where its health is served."""
    assert child.stderr is not None
    for line in child.stderr:
        event = json.loads(line)
        if event["event"] == "health.opened" and not event["address"].startswith("unix:"):
            return str(event["address"])
    raise AssertionError("it ended")


def asked(place: str, path: str) -> tuple[int, str]:
    """Ask for a page; return its status and its text."""
    try:
        with urllib.request.urlopen(f"http://{place}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


def until(condition: Callable[[], bool]) -> None:
    """Poll, with a limit."""
    eventually(condition, "the page says so")


def samples(place: str) -> dict[str, float]:
    """The page of metrics, as a scraper reads it."""
    status, text = asked(place, "/metrics")
    assert status == 200
    return {name: float(value) for name, value in re.findall(r"^(streamkit_\S+) (\S+)$", text, flags=re.MULTILINE)}


def test_a_worker_says_that_it_lives_is_ready_and_what_it_did(
    program: Program, ready: Any, client: Any, project: Path
) -> None:
    """Alive from the start, ready once it holds what it should; a stuck handler ends both, and a drain readiness."""
    (project / "lingering.py").write_text(LINGERING, encoding="utf-8")
    path = ready("healthy", ", lifespan=__import__('lingering').until_told")
    with program("run", path, "--health", "0", "--log-format", "json", "--grace", "3") as child:
        place = address(child)
        assert place.startswith("127.0.0.1:")
        assert asked(place, "/livez") == (200, "ok\n")
        until(lambda: asked(place, "/readyz") == (200, "ok\n"))
        entries = [{"Data": b"x", "PartitionKey": str(n)} for n in range(50)]
        client("kinesis").put_records(StreamName="healthy", Records=entries)
        until(lambda: samples(place)['streamkit_records_handled_total{consumer="healthy"}'] == 50)
        until(lambda: samples(place)['streamkit_checkpoint_seconds_count{consumer="healthy"}'] >= 1)
        found = samples(place)
        assert found['streamkit_handler_seconds_count{consumer="healthy"}'] == 50
        assert found['streamkit_received_bytes_total{consumer="healthy"}'] == 50
        assert found['streamkit_shards_held{consumer="healthy"}'] == 1

        client("kinesis").put_record(StreamName="healthy", Data=b"spin", PartitionKey="x")
        until(lambda: asked(place, "/livez")[0] == 503)
        assert "the worker's loop has not turned for" in asked(place, "/livez")[1]
        assert samples(place)['streamkit_live{consumer="healthy"}'] == 0
        until(lambda: asked(place, "/readyz")[0] == 200)
        assert asked(place, "/livez")[0] == 200

        child.send_signal(signal.SIGTERM)
        until(lambda: asked(place, "/readyz") == (503, "healthy: it drains\n"))
        (project / "leave").touch()
        child.communicate(timeout=60)
    assert child.returncode == 0


def test_several_processes_are_watched_at_one_address(program: Program, ready: Any, client: Any) -> None:
    """Each sample says of which process it is; one that is gone leaves the others' health as it is."""
    path = ready("many")
    with program("run", path, "--health", "0", "--processes", "2", "--log-format", "json") as child:
        place = address(child)
        until(lambda: asked(place, "/readyz") == (200, "ok\n"))
        client("kinesis").put_record(StreamName="many", Data=b"x", PartitionKey="x")
        counted = [f'streamkit_records_handled_total{{consumer="many",process="{slot}"}}' for slot in (0, 1)]
        until(lambda: sum(samples(place)[name] for name in counted) == 1)
        assert asked(place, "/samples")[0] == 404
        child.terminate()
        child.communicate(timeout=60)
    assert child.returncode == 0


def test_an_address_that_is_taken_is_one_line_and_status_2(program: Program, ready: Any, run: Any) -> None:
    """It names the address."""
    path = ready("first")
    with program("run", path, "--health", "0", "--log-format", "json") as child:
        place = address(child)
        outcome = run("run", path, "--health", place)
        child.terminate()
        child.communicate(timeout=60)
    assert outcome.status == 2
    assert f"expected an address to serve on, got {place}: Address already in use" in outcome.complaint


@pytest.mark.parametrize("given", ["here", "70000", "127.0.0.1", "http://localhost:80"])
def test_what_is_no_address_is_refused(call: Any, given: str) -> None:
    """With what would be one."""
    outcome = call("run", "shop:orders", "--health", given)
    assert outcome.status == 2
    assert "--health: expected a port such as 8080 (of 127.0.0.1), HOST:PORT" in outcome.complaint


def test_metrics_without_their_extra_say_which_one(project: Path) -> None:
    """The two other pages do without."""
    program = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "from streamkit.runtimes.health.pages import exposition, verdict\n"
        "print(exposition(()).status, exposition(()).body.decode(), verdict(()).body.decode())"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=project, stdout=subprocess.PIPE, text=True, check=True)
    assert "501" in done.stdout
    assert "pip install 'streamkit[metrics]'" in done.stdout
    assert "ok" in done.stdout
