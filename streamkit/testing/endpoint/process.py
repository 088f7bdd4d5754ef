"""The endpoint as a child process, for those who have no event loop or want one they can kill."""

from __future__ import annotations

import contextlib
import os
import selectors
import shlex
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from typing import Final

_START: Final = ("-c", "from streamkit.cli import main; main()", "local", "--while-stdin-open")
_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 10.0
_CHUNK_BYTES: Final = 4096


@contextlib.contextmanager
def endpoint_process(*options: str) -> Generator[Mapping[str, str]]:
    """Run `streamkit local --port 0 *options` and yield the variables that lead an AWS SDK to it.

    It ends with the `with`, or with this process, however that ends. Raises RuntimeError if it does not come up
    within 30 seconds.
    """
    command = [sys.executable, *_START, "--port", "0", *options]
    child = subprocess.Popen(  # noqa: S603 - our own interpreter and arguments
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_environment()
    )
    try:
        yield _exports(child, command)
    finally:
        child.terminate()
        try:
            child.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()


def _environment() -> dict[str, str]:
    """Keep what the child needs, without the settings that would lead its own clients elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}


def _exports(child: subprocess.Popen[bytes], command: Sequence[str]) -> dict[str, str]:
    """Read `export NAME=value` lines up to the empty line that ends them."""
    assert child.stdout is not None  # noqa: S101 - it is a pipe
    lines = _until_empty_line(child.stdout.fileno()).decode().splitlines()
    found = dict(shlex.split(line)[-1].split("=", 1) for line in lines if line.startswith("export "))
    if "AWS_ENDPOINT_URL" not in found:
        raise RuntimeError(f"expected the endpoint's address from {shlex.join(command)}, got {lines!r}")
    return found


def _until_empty_line(pipe: int) -> bytes:
    """Read up to an empty line, the end, or half a minute of silence."""
    text = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while b"\n\n" not in text and selector.select(_START_SECONDS):
            more = os.read(pipe, _CHUNK_BYTES)
            if not more:
                break
            text += more
    return text
