"""The catalogue of events is a contract: names, meanings, and what no event may ever carry."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from streamkit import events
from streamkit.cli.events import entries, markdown
from streamkit.events import Event, catalogue

ROOT = Path(__file__).resolve().parent.parent
EVENTS = {event.__name__: event for event in catalogue().values()}

NAME = re.compile(r"[a-z]+\.[a-z]+(?:_[a-z]+)?")
NOT_BY_ED = {"held_up", "lost", "overridden", "stuck", "taken", "written", "draining"}
"""Participles that do not end in -ed, and the one state that lasts."""

SECRET = {
    "body", "content", "data", "exception", "item", "key", "keys", "message", "new", "old", "partition_key", "payload",
    "reason", "record", "repr", "secret", "text", "token", "traceback", "value", "values",
}  # fmt: skip
"""What a field that could carry payloads, keys or messages would be called."""
PLAIN = {
    "str", "str | None", "int", "int | None", "float", "float | None", "bool", "tuple[str, ...]",
}  # fmt: skip


@pytest.mark.parametrize("event", EVENTS.values(), ids=list(EVENTS))
def test_the_name_is_a_noun_and_a_participle(event: type[Event]) -> None:
    """The same as its class, so that one is found by the other."""
    assert NAME.fullmatch(event.name)
    noun, _, participle = event.name.partition(".")
    assert event.__name__ == noun.title() + participle.title().replace("_", "")
    assert participle.partition("_")[0].endswith("ed") or participle in NOT_BY_ED


def test_names_are_unique_and_every_event_is_in_the_catalogue() -> None:
    """No event stands behind another of its name."""
    classes = [each for each in vars(events).values() if isinstance(each, type) and issubclass(each, Event)]
    assert len(catalogue()) == len(classes) - 1  # Event itself


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: str(entry.event))
def test_every_event_says_what_it_means(entry: object) -> None:
    """In a sentence."""
    said = msgspec.to_builtins(entry)["meaning"]
    assert said[0].isupper()
    assert said.endswith(".")


@pytest.mark.parametrize("event", EVENTS.values(), ids=list(EVENTS))
def test_no_event_can_carry_payloads_keys_or_messages(event: type[Event]) -> None:
    """Fields are plain values with none of the names such things would have (rule 31)."""
    fields = {field.name: field.encode_name for field in msgspec.structs.fields(event)}
    assert set(fields) & SECRET == set()
    assert not [name for name in fields if any(part in SECRET for part in name.split("_"))]
    kinds = {field.type for entry in entries() if entry.event == event.name for field in entry.fields}
    assert kinds <= PLAIN


@pytest.mark.parametrize("event", EVENTS.values(), ids=list(EVENTS))
def test_durations_and_sizes_have_their_unit_in_the_name(event: type[Event]) -> None:
    """Nobody has to guess."""
    vague = {"age", "delay", "duration", "elapsed", "lag", "limit", "pause", "size", "timeout", "wait"}
    assert set(event.__struct_fields__) & vague == set()


def test_the_page_is_up_to_date() -> None:
    """Otherwise: `streamkit events --markdown > docs/events.md`."""
    assert (ROOT / "docs" / "events.md").read_text(encoding="utf-8") == markdown()


def reports(source: str) -> Iterator[tuple[int, ast.expr]]:
    """The line and the argument of everything that is reported in `source`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            match node.func:
                case ast.Attribute(attr="report" | "_report") | ast.Name(id="report" | "_report"):
                    yield from ((node.lineno, argument) for argument in node.args)
                case _:
                    pass


def constructed(argument: ast.expr) -> str | None:
    """The name of the event that is made on the spot, or None."""
    match argument:
        case ast.Call(func=ast.Name(id=name)) if name in EVENTS:
            return name
        case _:
            return None


def sources() -> Iterator[tuple[str, str]]:
    """Every file that works, with its text."""
    for room in ("aws", "core", "engine", "runtimes"):
        for path in sorted((ROOT / "streamkit" / room).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def test_whatever_is_reported_is_made_of_the_catalogue() -> None:
    """Every `report(...)` constructs its event there and then, so that this test can see it."""
    foreign = [
        f"{place}:{line}: {ast.unparse(argument)}"
        for place, source in sources()
        for line, argument in reports(source)
        if constructed(argument) is None
    ]
    assert foreign == []


def test_every_event_of_the_catalogue_is_reported_somewhere() -> None:
    """Documentation of what never happens misleads."""
    text = "\n".join(source for _, source in sources())
    assert [name for name in EVENTS if not re.search(rf"\b{name}\(", text)] == []


@pytest.mark.parametrize("line", ["self._report(event)", "report({'name': 'x'})", "around.report(Foo(record.data))"])
def test_a_foreign_report_would_be_found(line: str) -> None:
    """The check above can fail."""
    assert [constructed(argument) for _, argument in reports(line)] == [None]
