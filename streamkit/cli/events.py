"""`streamkit events`: the catalogue of what streamkit says about itself, and the page made from it."""

from __future__ import annotations

import ast
import inspect
from typing import TYPE_CHECKING

import click
import msgspec

from streamkit import events as source
from streamkit.events import Level, catalogue

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD = """\
# Events

Made from `streamkit/events.py` by `streamkit events --markdown`; a test compares.

A worker writes each event as one line to standard error: JSON with `timestamp` (ISO 8601, UTC), `level`, `event` and
the fields below, or aligned text on a terminal (`--log-format`). `--log-level` leaves out what is below it.
Names and fields are a contract: they change with a new major version only. No event carries payloads, keys, tokens or
messages of exceptions: an exception appears as the name of its class.
"""


class Field(msgspec.Struct, frozen=True):
    """One field of an event."""

    name: str
    type: str
    meaning: str


class Entry(msgspec.Struct, frozen=True):
    """One event of the catalogue."""

    event: str
    level: Level
    meaning: str
    fields: tuple[Field, ...]


@click.command()
@click.option("--json", "form", flag_value="json", help="As one JSON array.")
@click.option("--markdown", "form", flag_value="markdown", help="As the page docs/events.md.")
def events(*, form: str | None) -> None:
    """List every event a worker may write.

    \b
    streamkit events
    streamkit events --json | jq '.[] | select(.level == "error").event'
    """
    if form == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(entries())))
    elif form == "markdown":
        click.echo(markdown(), nl=False)
    else:
        for entry in entries():
            click.echo(f"{entry.level:8} {entry.event:22} {entry.meaning}")


def entries() -> list[Entry]:
    """Return the catalogue with what its source says about each event."""
    tree = ast.parse(inspect.getsource(source))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    return [
        Entry(name, event.level, inspect.getdoc(event) or "", tuple(_fields(classes[event.__name__])))
        for name, event in catalogue().items()
    ]


def _fields(node: ast.ClassDef) -> Iterator[Field]:
    """Read the fields of an event; the string below a field is its meaning."""
    for statement, following in zip(node.body, [*node.body[1:], None], strict=True):
        match statement, following:
            case ast.AnnAssign(ast.Name(name), kind), ast.Expr(ast.Constant(str(meaning))):
                yield Field(name, ast.unparse(kind), " ".join(meaning.split()))
            case ast.AnnAssign(ast.Name(name), kind), _:
                yield Field(name, ast.unparse(kind), "")
            case _:
                pass


def markdown() -> str:
    """Return the page docs/events.md."""
    return "\n".join([_HEAD, *(_section(entry) for entry in entries())])


def _section(entry: Entry) -> str:
    rows = [f"| `{field.name}` | `{_cell(field.type)}` | {_cell(field.meaning)} |" for field in entry.fields]
    table = ["| Field | Type | Meaning |", "|---|---|---|", *rows, ""] if rows else []
    return "\n".join([f"## {entry.event}", "", f"*{entry.level}.* {entry.meaning}", "", *table])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
