"""What a nursery makes is as a program that was started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.nursery import Child, Nursery

CONSUMER = """
import json, os, sys
from streamkit import Kinesis, consumer

print(json.dumps([sys.argv, os.getcwd(), dict(os.environ), sys.path[0], os.getpid()]))

@consumer("told", source=Kinesis("told"), dead_letters=None)
async def told(record): ...
"""
ARGUMENTS = ("iam", "telling:told", "--region", "eu-west-1", "--account", "123456789012")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose consumer tells, when it is loaded, what it sees of its process."""
    (tmp_path / "telling.py").write_text(CONSUMER, encoding="utf-8")
    return tmp_path


def started(nursery: Nursery, folder: Path, *arguments: str) -> Child:
    """Start a program with little of an environment."""
    return nursery.start(*arguments, folder=folder, environment={"PATH": os.environ["PATH"], "MARK": "7"})


def test_a_program_has_its_own_arguments_folder_environment_and_process(nursery: Nursery, folder: Path) -> None:
    """As one that is started anew, which prints the same but for its process."""
    with started(nursery, folder, *ARGUMENTS) as child:
        out, err = child.communicate()
    assert (child.returncode, err) == (0, "")
    arguments, place, environment, path, process = json.loads(out.splitlines()[0])
    assert arguments == ["streamkit", *ARGUMENTS]
    assert (place, path) == (str(folder), str(folder))
    assert environment == {"PATH": os.environ["PATH"], "MARK": "7"}
    assert process == child.pid != os.getpid()
    anew = subprocess.run(
        [sys.executable, "-m", "streamkit", *ARGUMENTS], cwd=folder, stdout=subprocess.PIPE, check=True
    )
    assert anew.stdout.decode().splitlines()[1:] == out.splitlines()[1:]


def test_its_status_and_its_error_are_its_own(nursery: Nursery, folder: Path) -> None:
    """Wrong use, and a signal that nothing handles."""
    with started(nursery, folder, "iam", "nothing:here") as child:
        _, err = child.communicate()
    assert (child.returncode, err.startswith("streamkit: error: ")) == (2, True)
    with started(nursery, folder, "local", "--port", "0") as child:
        assert child.stdout is not None
        assert child.stdout.readline().startswith("export ")
        assert child.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.0)
        child.kill()
    assert child.returncode == -signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_heeds_signals_in_its_own_way(nursery: Nursery, folder: Path, number: signal.Signals) -> None:
    """The process that forks ignores interrupts; its children do not."""
    with started(nursery, folder, "local", "--port", "0") as child:
        assert child.stdout is not None
        assert child.stdout.readline().startswith("export ")
        child.send_signal(number)
    assert child.returncode == 0


def test_all_can_be_read_but_a_log(nursery: Nursery, folder: Path) -> None:
    """With a log, standard error is a file, and nobody reads the rest."""
    log = folder / "log"
    with nursery.start("iam", "nothing:here", folder=folder, environment=os.environ, log=log) as child:
        assert (child.stdout, child.stderr) == (None, None)
    assert child.returncode == 2
    assert log.read_text(encoding="utf-8").startswith("streamkit: error: ")


def test_programs_do_not_meet(nursery: Nursery, folder: Path) -> None:
    """One that was told nothing ends though another runs on: it holds none of its streams."""
    with started(nursery, folder, "local", "--port", "0") as long, started(nursery, folder, "events") as short:
        out, _ = short.communicate()
        assert "worker.started" in out
        assert long.poll() is None
        long.terminate()
