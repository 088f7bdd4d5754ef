"""Dependencies point inward, and third parties stay in their rooms (docs/design.md).

Read from the source itself, so that imports inside functions and those for typing count too:

    core and its words  <-  ports  <-  engine  <-  public face  <-  runtimes  <-  cli
                                   <-  aws, testing: two implementations of the ports
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "streamkit"

PURE = {"core", "errors", "events", "metrics", "signals"}
VOCABULARY = PURE | {"ports"}
MAY_IMPORT = {
    **dict.fromkeys(PURE, PURE),
    "ports": VOCABULARY,
    "clock": VOCABULARY,
    "logs": VOCABULARY,
    "engine": VOCABULARY,
    "aws": VOCABULARY | {"consumer"},
}
"""The rooms each inner room may import besides itself. A module that is no room here is public face.

aws knows the consumer, whose settings say what to open."""

FROM_THE_FACE_OUT = {
    "testing": {"cli"},
    "runtimes": {"cli", "testing"},
    "cli": set[str](),
    "__main__": set[str](),
}
"""The rooms that each outer room must not import; the public face must not import the command line either."""

ROOMS_OF = {
    "aioboto3": ("aws", "testing/endpoint"),
    "aiobotocore": ("aws", "testing/endpoint"),
    "aiohttp": ("aws", "runtimes", "testing"),
    "backports": ("core",),
    "compression": ("core",),
    "boto3": ("aws", "testing/endpoint"),
    "botocore": ("aws", "testing/endpoint"),
    "click": ("cli",),
    "flask": ("testing",),
    "hypothesis": ("testing",),
    "moto": ("testing",),
    "msgspec": ("",),
    "prometheus_client": ("runtimes/health",),
    "pytest": ("testing",),
    "random": ("clock.py", "testing"),
    "rich": ("cli",),
    "structlog": ("logs.py",),
    "tenacity": ("engine/retry.py", "aws"),
    "time": ("clock.py",),
    "werkzeug": ("testing",),
}
"""Where each third party may be imported, below streamkit/; and time and chance, which enter in one file."""

NOT_PURE = {
    "asyncio",
    "concurrent",
    "logging",
    "multiprocessing",
    "os",
    "random",
    "secrets",
    "select",
    "socket",
    "subprocess",
    "tempfile",
    "threading",
    "time",
}
"""What the standard library has for acting: core and the ports do without, they decide and describe."""

LATE = {
    "aioboto3",
    "aiobotocore",
    "aiohttp",
    "boto3",
    "botocore",
    "click",
    "moto",
    "prometheus_client",
    "rich",
    "structlog",
    "tenacity",
}
"""What `import streamkit` must not load: a Lambda cold start would pay up to 290 ms for each."""


def imported(source: str) -> Iterator[str]:
    """The dotted name of everything that `source` imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), level=0, names=names):
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.ImportFrom():
                yield "a relative import"
            case _:
                pass


def objection(place: PurePosixPath, name: str) -> str | None:
    """Why the file at `place` below streamkit/ may not import `name`, or None if it may."""
    room = place.parts[0].removesuffix(".py")
    top = name.partition(".")[0]
    if top == "streamkit":
        return _objection_to_room(room, [*name.split("."), "__init__"][1])
    if room in VOCABULARY and top in NOT_PURE:
        return f"{room} is pure"
    if top not in ROOMS_OF:
        return None if top in sys.stdlib_module_names else "it is no known dependency"
    homes = ROOMS_OF[top]
    at_home = any(place.is_relative_to(home) for home in homes)
    return None if at_home else f"its rooms are {', '.join(homes)}"


def _objection_to_room(room: str, other: str) -> str | None:
    if other == room:
        return None
    if room in MAY_IMPORT:
        return None if other in MAY_IMPORT[room] else f"{room} may import {sorted(MAY_IMPORT[room])} only"
    outer = FROM_THE_FACE_OUT.get(room, {"cli"})
    return f"{room} must not import {sorted(outer)}" if other in outer else None


def test_every_import_points_inward_and_third_parties_stay_in_their_rooms() -> None:
    """No file of the package imports what its room must not know."""
    objections = [
        f"{path.relative_to(ROOT)} imports {name}: {reason}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for name in imported(path.read_text(encoding="utf-8"))
        if (reason := objection(PurePosixPath(path.relative_to(PACKAGE).as_posix()), name))
    ]
    assert objections == []


@pytest.mark.parametrize(
    ("place", "statement"),
    [
        ("core/settlement.py", "import asyncio"),
        ("core/settlement.py", "def f():\n    from time import monotonic"),
        ("core/settlement.py", "import tenacity"),
        ("core/settlement.py", "from streamkit.ports import Clock"),
        ("core/settlement.py", "from streamkit import Record"),
        ("ports.py", "if TYPE_CHECKING:\n    from streamkit.engine.loop import Engine"),
        ("engine/loop.py", "from streamkit import aws"),
        ("engine/loop.py", "from streamkit.clock import SystemClock"),
        ("engine/loop.py", "from tenacity import RetryCallState"),
        ("engine/loop.py", "from random import Random"),
        ("aws/kinesis.py", "import streamkit.engine"),
        ("aws/kinesis.py", "from ..engine import loop"),
        ("runtimes/worker.py", "from streamkit.testing.world import World"),
        ("runtimes/worker.py", "import boto3.session"),
        ("consumer.py", "from streamkit.cli import main"),
        ("logging.py", "import structlog"),
        ("cli/run.py", "import requests"),
    ],
)
def test_an_import_that_points_outward_is_found(place: str, statement: str) -> None:
    """The check above can fail: every kind of wrong import is seen, late and typing-only ones too."""
    reasons = [objection(PurePosixPath(place), name) for name in imported(statement)]
    assert all(reasons)
    assert reasons


def test_importing_streamkit_loads_nothing_a_cold_start_should_not_pay_for() -> None:
    """`import streamkit` in a fresh interpreter leaves the AWS SDK and its like unloaded."""
    program = "import sys, streamkit; print(*{name.partition('.')[0] for name in sys.modules})"
    answer = subprocess.run([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    loaded = set(answer.stdout.split())
    assert "streamkit" in loaded
    assert loaded & LATE == set()


def test_tests_use_fakes_named_after_their_situation() -> None:
    """Nothing is mocked: a test that needs a world takes one from streamkit.testing."""
    mocked = [
        path.relative_to(ROOT).as_posix()
        for folder in ("streamkit", "consumers", "tests")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for name in imported(path.read_text(encoding="utf-8"))
        if name.startswith("unittest")
    ]
    assert mocked == []
