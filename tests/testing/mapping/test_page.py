"""The page on testing consumers shows tests that pass."""

from __future__ import annotations

import asyncio
import inspect
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[3] / "docs" / "testing-consumers.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=["twice", "a consumer", "any handler"])
def test_an_example_of_the_page_passes(example: str) -> None:
    """Whoever copies it has a test that works."""
    scope: dict[str, object] = {"__name__": "example"}
    exec(compile(example, PAGE.name, "exec"), scope)  # noqa: S102 - our own documentation
    tests = [value for name, value in scope.items() if name.startswith("test_")]
    assert tests
    for test in tests:
        assert callable(test)
        if inspect.iscoroutinefunction(test):
            asyncio.run(test())
        else:
            test()
