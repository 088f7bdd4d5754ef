"""MODULE:CONSUMER: everything that can be wrong with it is one line that says what to do, and status 2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamkit.cli.loading import load

Call = Callable[..., Any]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("orders", "expected MODULE:CONSUMER, for example orders:orders, got 'orders'"),
        ("shop/shop.py:orders", "expected MODULE:CONSUMER, for example shop.shop:orders, got 'shop/shop.py:orders'"),
        ("./shop.py", "expected MODULE:CONSUMER, for example shop:shop, got './shop.py'"),
        ("", "expected MODULE:CONSUMER, for example consumers.flights:flights, got ''"),
        ("shop:", "expected MODULE:CONSUMER, for example shop:shop, got 'shop:'"),
        ("nowhere:orders", "got no module nowhere"),
        ("shop.deeper:orders", "got no module shop.deeper"),
        ("shop:oders", "module shop: expected one of its consumers (orders, returns), got 'oders'"),
        ("shop:handle", "shop:handle: expected a consumer made by @consumer(...), got a function; shop has one of"),
        ("shop:Record", "got the class Record"),
        ("json:loads", "got a function; json has a consumer, which it has none of"),
        ("json:orders", "module json: expected a consumer, which it has none of, got 'orders'"),
    ],
)
def test_a_path_that_leads_nowhere_is_explained(call: Call, path: str, expected: str) -> None:
    """It says what was expected, and what there is."""
    outcome = call("run", path)
    assert outcome.status == 2
    assert outcome.out == ""
    assert expected in outcome.complaint


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = 1\ny = missing\n", "NameError: name 'missing' is not defined (broken.py:2)"),
        ("def f(:\n", "SyntaxError: invalid syntax"),
        (
            "import json\nimport no_such_library\n",
            "ModuleNotFoundError: No module named 'no_such_library' (broken.py:2)",
        ),
        ("import broken.no_such_part\n", "ModuleNotFoundError: No module named 'broken.no_such_part'"),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3 (broken.py:2)"),
        ("import json\njson.loads('{')\n", "(broken.py:2)"),
        (
            "from streamkit import *\n@consumer('x', source=Kinesis('x'), concurrency=0)\nasync def x(r): ...\n",
            "consumer x: concurrency: expected 1 to 10000, got 0 (broken.py:",
        ),
        ("from streamkit import *\nRetry(attempts=0)\n", "retry.attempts: expected at least 1, got 0 (broken.py:2)"),
    ],
)
def test_a_module_that_fails_to_import_is_told_from_one_that_is_not_there(
    call: Call, project: Path, source: str, expected: str
) -> None:
    """It names the error, and the line of the user's where it came about."""
    (project / "broken.py").write_text(source, encoding="utf-8")
    outcome = call("run", "broken:x")
    assert outcome.status == 2
    assert outcome.complaint.startswith("module broken fails to import: ")
    assert expected in outcome.complaint


def test_a_consumer_is_found_in_the_current_directory(project: Path) -> None:
    """Whatever way the program was started."""
    assert project == Path.cwd()
    assert load("shop:orders").name == "orders"


@pytest.mark.parametrize("command", ["run", "init", "resume"])
def test_two_consumers_of_one_name_do_not_share_a_process(call: Call, command: str) -> None:
    """The name is the identity of positions."""
    outcome = call(command, "shop:orders", "shop:returns", "shop:orders")
    assert outcome.status == 2
    assert outcome.complaint == "expected consumers of different names, got 'orders' 2 times"


@pytest.mark.parametrize("command", ["run", "init", "resume"])
def test_every_command_reads_the_configuration(
    call: Call, command: str, monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    """A wrong value in a variable or a file stops each before anything happens."""
    monkeypatch.setenv("STREAMKIT_CONCURRENCY", "many")
    assert call(command, "shop:orders").complaint == (
        "STREAMKIT_CONCURRENCY: expected a whole number from 1 to 10000, got 'many'"
    )
    monkeypatch.delenv("STREAMKIT_CONCURRENCY")
    (project / "x.toml").write_text("[workers]", encoding="utf-8")
    outcome = call(command, "shop:orders", "--config", "x.toml")
    assert outcome.status == 2
    assert outcome.complaint == "x.toml: expected the name of a table, got 'workers'; did you mean worker?"
    monkeypatch.setenv("STREAMKIT_CONFIG", "nowhere.toml")
    outcome = call(command, "shop:orders")
    assert outcome.complaint == "expected a configuration file at nowhere.toml, got: No such file or directory"
