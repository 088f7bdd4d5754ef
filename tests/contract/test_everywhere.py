"""Every contract is held against every world: memory, the embedded endpoint, LocalStack."""

from __future__ import annotations

import inspect
from types import ModuleType

import pytest

from streamkit.testing import contracts
from tests.aws import test_contracts as embedded
from tests.contract import test_memory as memory
from tests.localstack import test_contracts as localstack

CONTRACTS = [suite for name, suite in vars(contracts).items() if name.endswith("Contract")]


@pytest.mark.parametrize("suite", CONTRACTS, ids=lambda suite: suite.__name__)
@pytest.mark.parametrize("world", [memory, embedded, localstack], ids=["memory", "embedded", "localstack"])
def test_every_contract_runs_in_every_world(suite: type, world: ModuleType) -> None:
    """A suite that is written and not run certifies nothing; a promise overridden neither."""
    runs = [
        each
        for name, each in vars(world).items()
        if name.startswith("Test") and inspect.isclass(each) and issubclass(each, suite)
    ]
    assert runs
    promises = {name for name in vars(suite) if name.startswith("test_")}
    assert not [each for each in runs if promises & vars(each).keys()]
