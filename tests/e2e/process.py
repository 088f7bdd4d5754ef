"""A `streamkit` process, the signals it is sent, and what it says."""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tests.e2e.waiting import LIMIT_SECONDS
from tests.nursery import Child

PROGRAM = (sys.executable, "-m", "streamkit")
Started = subprocess.Popen[bytes] | Child


class Start(Protocol):
    """Starts `streamkit ARGUMENTS`: anew, or as a nursery does."""

    def __call__(self, *arguments: str, folder: Path, environment: Mapping[str, str], log: Path) -> Started:
        """Start it in a folder, with this environment; its events go to the log."""
        ...


def anew(*arguments: str, folder: Path, environment: Mapping[str, str], log: Path) -> Started:
    """Start a program as a shell does; what it logs goes to a file."""
    with log.open("wb") as sink:
        return subprocess.Popen(
            [*PROGRAM, *arguments], cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=sink
        )


class Event(NamedTuple):
    """Something that a process said about itself."""

    name: str
    at: float
    """Seconds since the epoch, to the millisecond below."""
    about: Mapping[str, Any]


class Tail:
    """The lines of a file that grows, each read once and kept; a torn last line waits for its end."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._offset = 0
        self._lines: list[str] = []

    def lines(self) -> Sequence[str]:
        """Return all lines so far."""
        if self._file.exists():
            with self._file.open("rb") as file:
                file.seek(self._offset)
                whole, newline, _torn = file.read().rpartition(b"\n")
            self._offset += len(whole + newline)
            self._lines += whole.decode().splitlines()
        return self._lines


class Process:
    """A `streamkit` process and its events."""

    def __init__(self, process: Started, log: Path, *, dying: bool = False) -> None:
        """`dying`: what Python says of a process that is killed stands between its events."""
        self.id = process.pid
        self._process = process
        self._log = log
        self._tail = Tail(log)
        self._dying = dying
        self._read = 0
        self._events: list[Event] = []

    # What happens to it

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """Send SIGKILL; returning means that nothing of it runs any more."""
        self._process.kill()
        self._process.wait(LIMIT_SECONDS)

    def stop(self) -> None:
        """Send SIGTERM, and wait until it ends in good order."""
        self.signal(signal.SIGTERM)
        self.end()

    def end(self) -> None:
        """Wait until it ends by itself, in good order."""
        status = self._process.wait(LIMIT_SECONDS)
        assert status == 0, self._log.read_text(encoding="utf-8")

    # What is to be seen

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def events(self, *names: str) -> list[Event]:
        """Return what it reported so far: all of it, or what is of these names."""
        lines = self._tail.lines()[self._read :]
        self._read += len(lines)
        self._events += [_event(line) for line in lines if line.startswith("{") or not self._dying]
        return [event for event in self._events if not names or event.name in names]

    def names(self) -> list[str]:
        """Return what it is and was called in the checkpoint table: a name for each incarnation."""
        return [str(event.about["worker"]) for event in self.events("worker.started")]

    def shards(self) -> list[str]:
        """Return the shards it holds."""
        held: dict[str, bool] = {}
        for event in self.events("shard.taken", "shard.released", "shard.lost", "shard.ended"):
            held[event.about["shard"]] = event.name == "shard.taken"
        return [shard for shard, holds in held.items() if holds]


def _event(line: str) -> Event:
    assert line.startswith("{"), line
    found: dict[str, Any] = json.loads(line)
    return Event(found["event"], datetime.fromisoformat(found["timestamp"]).timestamp(), found)
