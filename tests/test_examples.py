"""What the pages show works: their Python runs, their settings are settings, their commands are understood."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import sys
import tomllib
from pathlib import Path

import pytest

import streamkit
from consumers.flights import flights
from streamkit import Consumer, Kinesis, Record, consumer
from streamkit.config import configure
from tests.shown import ROOT, complaint

PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), ROOT / "localstack" / "README.md"])
BLOCK = re.compile(r"^( *)```([a-z]+)\n(.*?)^\1```$", flags=re.DOTALL | re.MULTILINE)
ELSEWHERE = {"README.md", "consumers.md", "testing-consumers.md", "tutorial.md"}
"""Pages whose Python is run by a test of their own."""


def blocks(language: str) -> list[tuple[str, int, str]]:
    """All blocks of a language: page, line, text without its indentation."""
    found: list[tuple[str, int, str]] = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in BLOCK.finditer(text):
            if block[2] == language:
                lines = [line.removeprefix(block[1]) for line in block[3].splitlines()]
                found.append((page.name, text.count("\n", 0, block.start()) + 1, "\n".join(lines) + "\n"))
    return found


def shown(language: str) -> pytest.MarkDecorator:
    """Parametrize by the blocks of a language."""
    found = [pytest.param(page, text, id=f"{page}:{line}") for page, line, text in blocks(language)]
    return pytest.mark.parametrize(("page", "text"), found)


def test_every_block_is_of_a_language_that_is_checked() -> None:
    """Python runs, JSON and TOML are read, commands are parsed; what has no language is a drawing, or output."""
    languages = {block[2] for page in PAGES for block in BLOCK.finditer(page.read_text(encoding="utf-8"))}
    assert languages == {"python", "console", "json", "toml"}


@pytest.fixture(scope="module")
def scopes() -> dict[str, dict[str, object]]:
    """What the blocks of a page so far have defined: each goes on where the last one ended."""
    return {}


@shown("python")
def test_python_runs(page: str, text: str, scopes: dict[str, dict[str, object]]) -> None:
    """Consumers are made, so that every setting shown is one; tests pass."""
    if page in ELSEWHERE:
        return
    public = {name: getattr(streamkit, name) for name in streamkit.__all__}
    scope = scopes.setdefault(page, {"__name__": "example", "flights": flights, **public})
    before = dict(scope)
    module = type(sys)("example")
    module.__dict__.update(scope)
    exec(compile(text, page, "exec"), scope)  # noqa: S102 - our own documentation
    for name, value in scope.items():
        if name.startswith("test_") and callable(value) and before.get(name) is not value:
            if inspect.iscoroutinefunction(value):
                asyncio.run(value())
            else:
                value()


@shown("json")
def test_json_is_json(page: str, text: str) -> None:
    """As it stands there."""
    assert json.loads(text), page


@shown("toml")
def test_settings_are_settings(page: str, text: str, tmp_path: Path) -> None:
    """Each is one that streamkit takes."""
    file = tmp_path / "streamkit.toml"
    file.write_text(text, encoding="utf-8")
    named = [made(name) for name in tomllib.loads(text).get("consumers", {})]
    assert configure(named or [made("any")], file=file, environment={}).consumers, page


def made(name: str) -> Consumer:
    """A consumer of this name."""

    @consumer(name, source=Kinesis("stream"))
    async def handle(record: Record) -> None:
        del record

    return handle


@shown("console")
def test_commands_are_understood(page: str, text: str) -> None:
    """Each names a program, a command and options that there are."""
    if page == "tutorial.md":
        return  # played, with the files it makes: tests/cli/test_tutorial.py
    commands = re.findall(r"^\$ (.*)", re.sub(r"\\\n\s*", " ", text), flags=re.MULTILINE)
    assert commands, page
    assert [found for line in commands if (found := complaint(line))] == []
