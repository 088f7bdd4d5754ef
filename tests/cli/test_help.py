"""Every command says what it does, with an example that works."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest

from streamkit.cli import commands
from tests.shown import complaint


def every(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
    """A command, and all below it."""
    yield " ".join(path), command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from every(below, (*path, name))


EVERY = dict(every(commands, ("streamkit",)))


@pytest.mark.parametrize("path", EVERY)
def test_a_command_says_what_it_does_with_an_example(path: str) -> None:
    """A sentence first; then a line somebody can copy, of this very command."""
    text = EVERY[path].help or ""
    assert re.match(r"[A-Z][^\n]*[.:]\n?", text)
    examples = [
        re.split(r"\s{3,}", line.strip())[0] for line in text.splitlines() if line.strip().startswith("streamkit ")
    ]
    assert any(example.startswith(path) for example in examples)
    assert [found for example in examples if (found := complaint(example))] == []


@pytest.mark.parametrize("path", EVERY)
def test_every_option_is_explained(path: str) -> None:
    """Or has a name and a default that say it all."""
    options = [each for each in EVERY[path].params if isinstance(each, click.Option) and not each.hidden]
    assert [each.name for each in options if not each.help and not each.show_default] == []
