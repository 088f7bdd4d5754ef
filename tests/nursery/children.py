"""What a test holds of a nursery, and of each program that it made."""

from __future__ import annotations

import os
import select
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Self

import msgspec

ROOT = Path(__file__).resolve().parents[2]
_NUMBER_BYTES = 4


class Child:
    """A program: what tests use of `subprocess.Popen`. Leaving its context closes its streams and waits for its end."""

    def __init__(self, pid: int, told: int, streams: Mapping[str, IO[str]]) -> None:
        self.pid = pid
        self.args = "streamkit"
        self.returncode: int | None = None
        self.stdout = streams.get("stdout")
        self.stderr = streams.get("stderr")
        self._told = told

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self.stdout, self.stderr):
            if each is not None:
                each.close()
        self.wait()

    def poll(self) -> int | None:
        """Return its status if it has ended."""
        return self._ended(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; return its status. Raises `subprocess.TimeoutExpired` after so many seconds."""
        status = self._ended(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return status

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Return the rest of what it writes, once it has ended."""
        with ThreadPoolExecutor(2) as readers:
            rest = [readers.submit(each.read) if each is not None else None for each in (self.stdout, self.stderr)]
        self.wait(timeout)
        out, err = (each.result() if each is not None else "" for each in rest)
        return out, err

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended. From any thread."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._told], [], [], timeout)[0]:
            self.returncode = _number(self._told)
            os.close(self._told)
        return self.returncode


class Nursery:
    """Starts programs. Its own process starts with the first of them, and ends with the context."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._wire: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(
        self,
        *arguments: str,
        folder: Path,
        environment: Mapping[str, str],
        log: Path | None = None,
        stdin: int | None = None,
    ) -> Child:
        """Run `streamkit ARGUMENTS` in a folder, with this environment.

        What it writes can be read from the child. With a `log`, its standard error goes there, the rest nowhere.
        """
        with ExitStack() as theirs:
            if log is None:
                (stdout, out), (stderr, err) = _pipe(theirs), _pipe(theirs)
                streams = {"stdout": os.fdopen(stdout), "stderr": os.fdopen(stderr)}
            else:
                out, err = _opened(theirs, Path(os.devnull)), _opened(theirs, log)
                streams = {}
            if stdin is None:
                stdin = _opened(theirs, Path(os.devnull))
            told, tell = _pipe(theirs)
            request = {"arguments": arguments, "folder": str(folder), "environment": dict(environment)}
            socket.send_fds(self._open(), [msgspec.json.encode(request)], [stdin, out, err, tell])
        return Child(_number(told), told, streams)

    @contextmanager
    def endpoint(self, *options: str) -> Generator[Mapping[str, str]]:
        """Run `streamkit local`, as `streamkit.testing.endpoint.endpoint_process` does; yield its variables."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        with ExitStack() as stack:
            stdin, write = os.pipe()
            stack.callback(os.close, write)
            with ExitStack() as theirs:
                theirs.callback(os.close, stdin)
                options = ("local", "--while-stdin-open", "--port", "0", *options)
                child = stack.enter_context(self.start(*options, folder=ROOT, environment=environment, stdin=stdin))
            stack.callback(child.terminate)
            assert child.stdout is not None
            lines = list(iter(child.stdout.readline, "\n"))
            yield dict(shlex.split(line)[-1].split("=", 1) for line in lines if line.startswith("export "))

    def _open(self) -> socket.socket:
        """Return the way to the process that forks; start it, if it is not running yet."""
        if self._wire is None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                command = [sys.executable, "-m", "tests.nursery", str(theirs.fileno())]
                self._stack.enter_context(subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()]))
            self._wire = self._stack.enter_context(ours)
        return self._wire


def _pipe(theirs: ExitStack) -> tuple[int, int]:
    """Make a pipe that one end of is theirs: the one to write to."""
    read, write = os.pipe()
    theirs.callback(os.close, write)
    return read, write


def _opened(theirs: ExitStack, place: Path) -> int:
    """Open a file for them, to read and to append."""
    number = os.open(place, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    theirs.callback(os.close, number)
    return number


def _number(told: int) -> int:
    """Return the next number that is told of a child: its process's, then its status."""
    number = os.read(told, _NUMBER_BYTES)
    if not number:
        raise RuntimeError("expected a number from the process that forks, got its end")
    return int.from_bytes(number, signed=True)
