"""Every contract is held against every world: memory, the embedded endpoint, LocalStack."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from streamkit.testing import contracts
from tests.aws import test_changes as embedded_changes
from tests.aws import test_contracts as embedded
from tests.contract import test_changes as memory_changes
from tests.contract import test_memory as memory
from tests.localstack import test_changes as localstack_changes
from tests.localstack import test_contracts as localstack

WORLDS = {
    "memory": (memory, memory_changes),
    "embedded": (embedded, embedded_changes),
    "localstack": (localstack, localstack_changes),
}
MEMORY_ONLY = {contracts.RollingContract}
"""Nobody makes the shards of a service roll at will."""
CONTRACTS = [suite for name, suite in vars(contracts).items() if name.endswith("Contract")]


@pytest.mark.parametrize("suite", CONTRACTS, ids=lambda suite: suite.__name__)
@pytest.mark.parametrize("world", WORLDS)
def test_every_contract_runs_in_every_world(suite: type, world: str) -> None:
    """A suite that is written and not run certifies nothing; a promise overridden neither."""
    if suite in MEMORY_ONLY and world != "memory":
        return
    runs = [
        each
        for module in WORLDS[world]
        for name, each in vars(module).items()
        if name.startswith("Test") and inspect.isclass(each) and issubclass(each, suite)
    ]
    assert runs
    promises = {name for name in vars(suite) if name.startswith("test_")}
    assert not [each for each in runs if promises & vars(each).keys()]


@pytest.mark.parametrize("suite", CONTRACTS, ids=lambda suite: suite.__name__)
def test_the_page_names_every_contract(suite: type) -> None:
    """And says where each is held, and what that cannot show."""
    page = Path(__file__).resolve().parents[2] / "docs" / "testing.md"
    assert f"`{suite.__name__}`" in page.read_text(encoding="utf-8")
