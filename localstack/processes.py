"""Child processes with a time limit, a log and a certain end."""

import contextlib
import enum
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

START_SECONDS = 60
STOP_SECONDS = 20
TAIL_BYTES = 4000
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Exit(enum.IntEnum):
    """Exit statuses of the launcher itself, away from those of pytest (0 to 5)."""

    USAGE = 2
    NO_PYTHON = 91
    NO_NODE = 92
    NO_MOTO = 93
    NOT_INSTALLED = 94
    NOT_SERVING = 95
    OVER_TIME = 124


class Stopped(Exception):
    """Ends the launcher: a line for a person, a status for a script."""

    def __init__(self, message: str, status: Exit) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Server:
    """A server to start: its command, its own environment, where it answers, and whether it is ready."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    url: str
    ready: Callable[[], bool]


@contextlib.contextmanager
def serving(server: Server, *, folder: Path, logs: Path) -> Generator[str]:
    """Run a server until the block ends; gives its URL once it is ready.

    It works in `folder` and sees nothing of the user's settings. Raises `Stopped` with the end of its log
    when it exits, or is not ready in time.
    """
    began, log = time.monotonic(), logs / f"{server.name}.log"
    what = f"{server.name} to serve {server.url}"
    process = start(server, folder, log)
    try:
        await_that(
            lambda: process.poll() is not None or server.ready(),
            lambda: Stopped(f"expected {what} within {START_SECONDS} s\n{tail(log)}", Exit.NOT_SERVING),
            seconds=START_SECONDS,
        )
        if process.returncode is not None:
            message = f"expected {what}, got exit status {process.returncode}\n{tail(log)}"
            raise Stopped(message, Exit.NOT_SERVING)
        say(f"{server.name} serves {server.url} after {time.monotonic() - began:.1f} s")
        yield server.url
    finally:
        stop(process)


def start(server: Server, folder: Path, log: Path) -> "subprocess.Popen[bytes]":
    """Start a server in a session of its own, so that Ctrl-C reaches only the launcher."""
    inherited = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    with log.open("wb") as sink:
        return subprocess.Popen(
            server.command,
            cwd=folder,
            env={**inherited, "HOME": str(folder), **server.environment},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a process this launcher started: politely, then surely."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def run(command: Sequence[str], environment: Mapping[str, str], *, limit_seconds: float) -> int:
    """Run a command in the foreground; answers its exit status, or 128 + number for a signal.

    Raises `Stopped` when there is no such command, or when it had to be ended at the limit.
    """
    try:
        process = subprocess.Popen(command, env=environment)
    except OSError as error:
        raise Stopped(f"expected a command, got {command[0]!r}: {error.strerror}", Exit.USAGE) from error
    try:
        status = process.wait(limit_seconds)
    except subprocess.TimeoutExpired as error:
        raise Stopped(f"expected {command[0]} to end within {limit_seconds:g} s", Exit.OVER_TIME) from error
    finally:
        stop(process)
    return status if status >= 0 else 128 - status


def output(*command: str) -> str:
    """Answer what a short command prints; empty if it cannot run."""
    try:
        done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=20)
    except (subprocess.SubprocessError, OSError):
        return ""
    return done.stdout.strip()


def await_that(condition: Callable[[], bool], otherwise: Callable[[], Exception], *, seconds: float) -> None:
    """Poll until a condition holds; raises what `otherwise` gives once the time is over."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise otherwise()
        time.sleep(0.1)


def free_port() -> int:
    """Choose a loopback port that nobody uses now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def tail(log: Path) -> str:
    """Quote the end of a log and say where the whole is."""
    return f"{log.read_bytes()[-TAIL_BYTES:].decode(errors='replace')}\n(the whole log: {log})"


def say(line: str) -> None:
    """Tell the person at the terminal what goes on."""
    print(f"localstack: {line}", file=sys.stderr, flush=True)


def leave_on_signals() -> None:
    """Make a signal leave through every `finally`; further signals then wait for that."""

    def leave(number: int, _frame: FrameType | None) -> NoReturn:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        sys.exit(128 + number)

    for each in SIGNALS:
        signal.signal(each, leave)
