"""LocalStack's own environment: Python 3.13, LocalStack's runtime with its pins, and kinesis-local from npm.

It lives in `.cache/localstack`, apart from the project's environment, whose SDK it must not change.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import IO

from localstack.processes import Exit, Stopped, await_that, output, say, tail

CACHE = Path(__file__).resolve().parents[1] / ".cache" / "localstack"
PYTHON = CACHE / "venv" / "bin" / "python"
LIBRARIES = CACHE / "lib"  # belongs at usr/lib/localstack under LocalStack's file system root
LOGS = CACHE / "logs"  # of the last run
STAMP = CACHE / "stamp"
CONSTRAINTS = Path(__file__).with_name("constraints.txt")

LOCALSTACK = "4.14.0"
KINESIS_LOCAL = "0.5.2"  # what LocalStack 4.14.0 would fetch by itself
# [base-runtime] serves Kinesis, SQS and S3 at a third of [runtime]'s size; the rest is for other services.
REQUIREMENTS = (f"localstack-core[base-runtime]=={LOCALSTACK}", "service-identity", "cryptography")
# Built once, as LocalStack's image does; otherwise each start takes seconds longer.
INDEX = """
import pathlib, sys
from localstack.aws import spec
spec.build_service_index_cache(str(pathlib.Path(sys.argv[1]) / spec._get_catalog_filename()))
"""
STEP_SECONDS = 300


def install() -> None:
    """Make the environment, unless the one that is there came from the same recipe and still runs.

    Raises `Stopped` when Python 3.13 or Node.js is missing, or a step of the installation fails.
    """
    LOGS.mkdir(parents=True, exist_ok=True)
    npm = shutil.which("npm")
    if not (npm and shutil.which("node")):
        raise Stopped("expected Node.js and npm on PATH (Kinesis needs them), got none", Exit.NO_NODE)
    with (CACHE / "lock").open("w") as file, locked(file):
        if not (STAMP.is_file() and STAMP.read_text() == recipe() and output(str(PYTHON), "--version")):
            build(python_3_13(), npm)
            STAMP.write_text(recipe())


def build(python: str, npm: str) -> None:
    """Replace the environment by a new one."""
    STAMP.unlink(missing_ok=True)
    shutil.rmtree(LIBRARIES, ignore_errors=True)
    kinesis_local = LIBRARIES / "kinesis-local" / KINESIS_LOCAL
    kinesis_local.mkdir(parents=True)
    pip_install = (str(PYTHON), "-I", "-m", "pip", "install", "--constraint", str(CONSTRAINTS))
    npm_install = (npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix")
    step("an environment with Python 3.13", python, "-m", "venv", "--clear", str(CACHE / "venv"))
    step(f"LocalStack {LOCALSTACK}, once, about half a minute", *pip_install, *REQUIREMENTS)
    step(f"kinesis-local {KINESIS_LOCAL}", *npm_install, str(kinesis_local), f"kinesis-local@{KINESIS_LOCAL}")
    step("LocalStack's index of services", str(PYTHON), "-I", "-c", INDEX, str(LIBRARIES))


def recipe() -> str:
    """Name everything the environment is made from: this file and the pins."""
    return hashlib.sha256(Path(__file__).read_bytes() + CONSTRAINTS.read_bytes()).hexdigest()


def python_3_13() -> str:
    """Find a Python 3.13: this one, the one on PATH, or one of pyenv's."""
    pyenv = output("pyenv", "root")
    theirs = sorted(Path(pyenv).glob("versions/3.13*/bin/python")) if pyenv else []
    for candidate in (sys.executable, "python3.13", *map(str, theirs)):
        if output(candidate, "--version").startswith("Python 3.13."):
            return candidate
    raise Stopped("expected Python 3.13 on PATH or in pyenv (LocalStack needs it), got none", Exit.NO_PYTHON)


def step(what: str, *command: str) -> None:
    """Run one step of the installation; its output goes to the log."""
    say(f"installing {what}")
    log = LOGS / "install.log"
    others = {name: value for name, value in os.environ.items() if name != "PIP_CONSTRAINT"}
    with log.open("wb") as sink:
        try:
            subprocess.run(command, check=True, env=others, stdout=sink, stderr=sink, timeout=STEP_SECONDS)
        except (subprocess.SubprocessError, OSError) as error:
            message = f"expected to install {what}, got: {error}\n{tail(log)}"
            raise Stopped(message, Exit.NOT_INSTALLED) from error


@contextlib.contextmanager
def locked(file: IO[str]) -> Generator[None]:
    """Hold a lock among processes, so that two launchers do not install into one folder."""

    def taken() -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    message = f"expected another launcher to release {file.name} within {STEP_SECONDS} s"
    await_that(taken, lambda: Stopped(message, Exit.NOT_INSTALLED), seconds=STEP_SECONDS)
    yield
