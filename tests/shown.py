"""Commands as pages and help texts show them, held against what would understand them."""

from __future__ import annotations

import importlib.util
import re
import shlex
from functools import cache
from itertools import dropwhile, groupby, takewhile
from pathlib import Path
from typing import Any

import botocore.session
import click
from botocore import xform_name

from streamkit.cli import commands

ROOT = Path(__file__).resolve().parent.parent
_JOINT = re.compile(r"[|&;]+")
_ASSIGNMENT = re.compile(r"[A-Z_][A-Z0-9_]*=.*")
PLAIN = frozenset({"cd", "curl", "docker", "export", "git", "jq", "page-somebody", "pip", "pytest"})
"""Programs of others, whose use here is too plain to go wrong unnoticed."""


def complaint(line: str) -> str | None:
    """Return what is wrong with a line of a shell, or None."""
    tokens = shlex.shlex(line, posix=True, punctuation_chars="|&;>")
    tokens.whitespace_split = True
    for joined, words in groupby(tokens, lambda token: bool(_JOINT.fullmatch(token))):
        if joined:
            continue
        command = list(dropwhile(_ASSIGNMENT.fullmatch, words))
        if command and (wrong := _complaint(command)):
            return f"{' '.join(command)}: {wrong}"
    return None


def _complaint(words: list[str]) -> str | None:
    match words:
        case ["streamkit", *rest]:
            return misunderstood(rest)
        case ["make", *targets]:
            return _no_targets(targets)
        case ["python" | ".venv/bin/python", *rest]:
            return _no_python(rest)
        case ["aws", service, operation, *rest]:
            return _no_request(service, operation, rest)
        case _ if words[0] in PLAIN:
            return None
        case _:
            return "a program that tests/shown.py does not know"


def misunderstood(words: list[str]) -> str | None:
    """Parse what follows `streamkit`, and run nothing; return what was not understood."""
    words = ["1" if word == "N" else word.removesuffix("...") for word in takewhile(lambda each: each != ">", words)]
    words = [word for word in words if word]
    context = click.Context(commands, info_name="streamkit")
    command: click.Command | None = commands
    try:
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            name, words = words[0], words[1:]
            command = command.get_command(context, name)
            if command is None:
                return f"no command {name}"
            context = click.Context(command, info_name=name, parent=context)
        assert command is not None
        if {"--help", "--version"} & {*words}:
            return None
        command.make_context(command.name, words, parent=context.parent)
    except click.ClickException as wrong:
        return wrong.format_message()
    return None


def _no_targets(targets: list[str]) -> str | None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    known = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    wanted = {target for target in targets if not _ASSIGNMENT.fullmatch(target)}
    return f"no targets {sorted(wanted - known)}" if wanted - known else None


def _no_python(rest: list[str]) -> str | None:
    match rest:
        case ["-m", module, *_]:
            return None if importlib.util.find_spec(module) else f"no module {module}"
        case ["-c", program, *_]:
            compile(program, "example", "exec")
            return None
        case [file, *_]:
            return None if (ROOT / file).exists() else f"no file {file}"
        case _:
            return None


@cache
def _service(name: str) -> Any:
    return botocore.session.Session().get_service_model({"s3api": "s3"}.get(name, name))  # as the CLI names it


def _no_request(service: str, operation: str, rest: list[str]) -> str | None:
    """Hold a command of the AWS command line against the SDK's models: operations and parameters, dashed."""
    if (service, operation) in {("cloudformation", "deploy"), ("s3", "cp")}:
        return None  # of the command line alone
    model = _service(service)
    names = {xform_name(name).replace("_", "-"): name for name in model.operation_names}
    if operation not in names:
        return f"{service} has no {operation}"
    shape = model.operation_model(names[operation]).input_shape
    known = {f"--{xform_name(name).replace('_', '-')}" for name in (shape.members if shape else ())}
    given = {word.partition("=")[0] for word in rest if word.startswith("--")}
    unknown = given - known - {"--query", "--output", "--endpoint-url", "--region"}
    return f"{service} {operation} has no {sorted(unknown)}" if unknown else None
