"""docs/tutorial.md, played: its files are written, its commands run, and what they print is what it shows."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial.md"
NOT_HERE = re.compile(r"(pip|streamkit local)\b")
"""What the test has done already: installed, and a world of its own."""
Call = Callable[..., Any]


def steps() -> Iterator[tuple[str, str]]:
    """The files of the page by name, and its commands with the output they have, in order."""
    for kind, text in re.findall(r"```(python|console)\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL):
        if kind == "python":
            yield text.partition("\n")[0].removeprefix("# "), text
        else:
            for command in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                line, _, output = command.partition("\n")
                yield f"$ {line}", output


def looks_like(shown: str) -> re.Pattern[str]:
    """What the page shows: `...` is anything, and blanks are as wide as they have to be."""
    parts = (r"\s+".join(map(re.escape, part.split())) for part in shown.split("..."))
    return re.compile(r"\s*" + r"\s*.*?\s*".join(parts) + r"\s*", flags=re.DOTALL)


@pytest.mark.slow
def test_the_tutorial_goes_as_it_says(
    operate: Call, run: Call, project: Path, world: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the empty folder to the letter that was made good."""
    monkeypatch.syspath_prepend(project)
    for name, value in world.items():
        monkeypatch.setenv(name, value)
    shown = list(steps())
    assert len(shown) > 15
    for step, text in shown:
        play(step, text, lambda *words: (run if words[0] == "run" else operate)(*words), project)
    totals = sorted((project / "totals.txt").read_text().splitlines(), key=lambda line: int(line.split()[0]))
    assert totals == [f"{number} {10 if number == 13 else 20}" for number in range(20)]


def play(step: str, text: str, streamkit: Call, project: Path) -> None:
    """Do what one step says, and compare."""
    if not step.startswith("$ "):
        (project / step).write_text(text, encoding="utf-8")
        sys.modules.pop("shop", None)  # each command of the page is a process of its own
        if step.startswith("test_"):
            tests = runpy.run_path(str(project / step))
            tests["test_an_order_is_settled"]()
            (project / "totals.txt").unlink()
        return
    program, *words = step.removeprefix("$ ").split()
    if NOT_HERE.match(step.removeprefix("$ ")):
        return
    if program == "python":
        runpy.run_path(str(project / words[0]))
        return
    outcome = streamkit(*words)
    if text:
        assert looks_like(text).fullmatch(outcome.out), f"{step}\n{outcome.out}"
    assert outcome.status in {0, 1}, outcome.err
