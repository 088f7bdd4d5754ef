"""`streamkit demo`, as it is started by `make demo`."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import pytest

from tests.e2e.waiting import LIMIT_SECONDS, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SECONDS = 140
LAST = re.compile(r"conserved: (\d+) put = (\d+) handled \+ (\d+) duplicates \+ (\d+) dead-lettered, 0 lost")


@contextmanager
def demo(*options: str, directory: Path) -> Generator[tuple[subprocess.Popen[str], IO[str]]]:
    """Run the demo somewhere else than in its checkout; its output is read from a file."""
    output = directory / "output"
    heeding = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # a job in the background ignores it
    )
    command = [sys.executable, "-c", f"{heeding}; from streamkit.cli import main; main()", "demo", *options]
    (directory / "tmp").mkdir()
    environment = {**os.environ, "TMPDIR": str(directory / "tmp")}
    with output.open("w") as file:
        process = subprocess.Popen(
            command, cwd=directory, env=environment, stdout=file, stderr=subprocess.STDOUT, text=True
        )
    try:
        with output.open() as reader:
            yield process, reader
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(30)


def pids(text: str) -> list[int]:
    """The workers that the demo says it started."""
    found = re.search(r"processes\s+(\d+)\s+and\s+(\d+)", text)
    return [int(each) for each in found.groups()] if found else []


def is_running(pid: int) -> bool:
    """Whether there is such a process."""
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def test_the_demo_kills_a_worker_and_conserves_every_record(tmp_path: Path) -> None:
    """Exit status 0, and a last line whose figures add up."""
    with demo("--flights", "400", directory=tmp_path) as (process, reader):
        status = process.wait(SECONDS)
        output = reader.read()
    assert status == 0, output
    assert list((tmp_path / "tmp").iterdir()) == []
    last = LAST.fullmatch(output.splitlines()[-1])
    assert last, output
    put, handled, duplicates, dead = map(int, last.groups())
    assert put == handled + duplicates + dead
    assert handled + dead >= 400
    assert duplicates >= 60
    assert "SIGKILL" in output
    assert not any(map(is_running, pids(output)))


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_demo_leaves_no_process_behind(tmp_path: Path, number: int, expected: int) -> None:
    """Ctrl-C and SIGTERM end the workers too, by their process ids."""
    with demo("--flights", "400", directory=tmp_path) as (process, reader):
        said: list[str] = []

        def workers() -> list[int]:
            said.append(reader.read())
            return pids("".join(said))

        eventually(lambda: bool(workers()) or process.poll() is not None, "it says whom it started")
        started = workers()
        assert started, "".join(said)
        process.send_signal(number)
        assert process.wait(LIMIT_SECONDS) == expected
    assert not any(map(is_running, started))


@pytest.mark.long
def test_the_demo_of_changes_ends_with_a_view_that_equals_its_table(tmp_path: Path) -> None:
    """Four writers, three workers killed, and every minute of delay where it belongs.

    Its shorter twin is `tests/e2e/test_view.py`.
    """
    with demo("--changes", "--flights", "400", directory=tmp_path) as (process, reader):
        status = process.wait(2 * SECONDS)
        output = " ".join(reader.read().split())
    assert status == 0, output
    assert output.count("SIGKILL") == 3
    assert "the view and the table" in output
