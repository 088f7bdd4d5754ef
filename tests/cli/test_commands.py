"""The command as a whole: what it loads, how it refuses, what its status means."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import streamkit
from streamkit.cli import COMMANDS
from streamkit.cli.failing import failed
from streamkit.errors import ConfigurationError, Missing, Unanswered

HEAVY = {"aioboto3", "aiobotocore", "aiohttp", "boto3", "botocore", "flask", "moto", "structlog"}

Call = Callable[..., Any]


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_load_no_sdk(option: str) -> None:
    """They answer at once."""
    program = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('loaded', *{name.partition('.')[0] for name in sys.modules}))\n"
        "from streamkit.cli import main\n"
        f"main(['{option}'])"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(answer.stdout.splitlines()[-1].split())
    assert "streamkit" in loaded
    assert loaded & HEAVY == set()


def test_the_version_is_the_packages(call: Call) -> None:
    """One line."""
    assert call("--version").out == f"streamkit {streamkit.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("rum",), "rum"),
        (("run",), "MODULE:CONSUMER"),
        (("run", "--untilidle", "3", "shop:orders"), "--untilidle"),
        (("--loud",), "--loud"),
        (("run", "shop:orders", "--grace"), "--grace"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(call: Call, arguments: tuple[str, ...], expected: str) -> None:
    """It names what was not understood and where help is."""
    outcome = call(*arguments)
    assert outcome.status == 2
    assert expected in outcome.complaint
    assert "--help`" in outcome.complaint


def test_a_configuration_error_inside_of_groups_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    """Wherever it is, whatever stands beside it, however many lines it has."""
    group = ExceptionGroup("a", [OSError("secret"), ExceptionGroup("b", [Missing("expected a\n  stream, got none")])])
    assert failed(group) == 2
    assert capsys.readouterr().err == "streamkit: error: expected a stream, got none\n"


def test_an_error_of_the_world_is_one_line_and_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing the user wrote is wrong."""
    assert failed(Unanswered("kinesis:ListShards got no answer")) == 1
    assert capsys.readouterr().err == "streamkit: error: kinesis:ListShards got no answer\n"


def test_an_unexpected_error_is_named_without_its_message(capsys: pytest.CaptureFixture[str]) -> None:
    """Messages of other people's errors may hold data; the traceback comes on demand."""

    def fail() -> None:
        raise KeyError("secret")

    with pytest.raises(KeyError) as raised:
        fail()
    assert failed(raised.value) == 1
    line = capsys.readouterr().err
    assert line.startswith("streamkit: error: unexpected KeyError at ")
    assert "test_commands.py:" in line
    assert "secret" not in line
    assert line.count("\n") == 1
    assert failed(raised.value, debug=True) == 1
    assert "Traceback" in capsys.readouterr().err


def test_debug_shows_how_a_configuration_error_came_about(call: Call) -> None:
    """Before its one line."""
    outcome = call("--debug", "run", "nowhere:nothing")
    assert outcome.status == 2
    assert "Traceback" in outcome.err
    assert outcome.err.splitlines()[-1].startswith("streamkit: error: expected the module nowhere")


def test_a_bare_command_shows_what_there_is(call: Call) -> None:
    """Every subcommand, with a word about it."""
    shown = call("--help").out
    assert all(f"  {name} " in shown for name in COMMANDS)
    bare = call()
    assert bare.status == 2
    assert bare.err == shown


def test_the_signal_of_a_configuration_error_is_public() -> None:
    """What ends a worker with status 2 can be raised by a lifespan too."""
    assert streamkit.ConfigurationError is ConfigurationError
