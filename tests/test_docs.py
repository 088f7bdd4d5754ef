"""The documentation speaks of what is there: tests by name, files by path, examples that run."""

import ast
import asyncio
import re
import sys
from pathlib import Path

import pytest

from streamkit.cli.loading import load
from streamkit.consumer import Consumer, Settings
from tests.mutants.catalogue import MUTANTS

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("localstack/*.md")])
GUARANTEES = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
CONSUMERS = (ROOT / "docs" / "consumers.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("reference", sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", GUARANTEES))))
def test_a_guarantee_names_a_test_that_is_there(reference: tuple[str, str]) -> None:
    """Who follows a reference finds the proof."""
    path, name = reference
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert not name or name in functions


def test_a_guarantee_names_mutants_that_are_there() -> None:
    """What is said to be broken on purpose is."""
    named = {" ".join(name.split()) for name in re.findall(r"(?<![*\w])\*([a-zL][^*]{8,})\*(?!\*)", GUARANTEES)}
    assert named - {"italics"} <= {mutant.name for mutant in MUTANTS}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """A relative link names a file of the repository."""
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/*.md")), ids=lambda page: page.name)
def test_every_page_can_be_found(page: Path) -> None:
    """The README leads to it."""
    assert f"(docs/{page.name})" in README


def anchors(page: Path) -> set[str]:
    """The headings of a page, as links name them."""
    headings = re.findall(r"^#+ (.*)", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_into_a_page_lead_to_a_heading(page: Path) -> None:
    """Of the page that is named, or of the same one."""
    links = re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text(encoding="utf-8"))
    lost = [(file, name) for file, name in links if name not in anchors(page.parent / file if file else page)]
    assert lost == []


@pytest.mark.parametrize("example", re.findall(r"```python\n(.*?)```", CONSUMERS, flags=re.DOTALL))
def test_the_examples_of_consumers_are_consumers(example: str) -> None:
    """Each makes one, which says that streamkit takes every setting it shows."""
    scope: dict[str, object] = {"__name__": "example"}
    exec(compile(example, "docs/consumers.md", "exec"), scope)  # noqa: S102 - our own documentation
    assert sum(isinstance(value, Consumer) for value in scope.values()) == 1


def test_consumers_lists_every_setting() -> None:
    """With its default; those of the runtimes to come aside."""
    listed = set(re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in CONSUMERS.splitlines() if "|" in line)))
    assert Settings.__annotations__.keys() - listed <= {"mode", "parallelization_factor", "code_version"}


def test_the_examples_of_the_readme_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The consumer loads as `streamkit run` would load it, and its test passes."""
    consumer, test = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    (tmp_path / "delays.py").write_text(consumer, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert load("delays:delays").name == "delays"
    scope: dict[str, object] = {}
    exec(compile(test, "README.md", "exec"), scope)  # noqa: S102 - the README's own code
    asyncio.run(scope["test_a_flight_without_delay_is_dead_lettered"]())  # type: ignore[operator]
    sys.modules.pop("delays")
