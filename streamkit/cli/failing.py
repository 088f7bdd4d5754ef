"""What a person sees of an error: one line that says what to do, and a status that says who has to act."""

from __future__ import annotations

import traceback
from pathlib import Path

import click

from streamkit.errors import ConfigurationError, StreamkitError, leaves

FAULT = 1
WRONG_USE = 2


def failed(error: BaseException, *, debug: bool = False) -> int:
    """Tell of an error and return the exit status: 2 if a `ConfigurationError` is anywhere inside, else 1.

    An error that is not streamkit's own is named by its class and place: its message may hold data (rule 31).
    With `debug`, its traceback comes before.
    """
    wrong = next((each for each in leaves(error) if isinstance(each, ConfigurationError)), None)
    if debug:
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    if wrong is not None:
        return complain(str(wrong), WRONG_USE)
    first = next(leaves(error))
    if isinstance(first, StreamkitError):
        return complain(str(first), FAULT)
    hint = "" if debug else "; `streamkit --debug ...` shows how it came about"
    return complain(f"unexpected {type(first).__name__}{_place(first)}{hint}", FAULT)


def complain(text: str, status: int) -> int:
    """Write one line to standard error and return the status."""
    click.echo(f"streamkit: error: {' '.join(text.split())}", err=True)
    return status


def _place(error: BaseException) -> str:
    """Return where it was raised: " at file:line"."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" at {shown(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""


def shown(path: str) -> str:
    """Return a path as a person here would write it."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path
