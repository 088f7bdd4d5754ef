"""The catalogue of mutants fits the product as it is; `make mutants` runs them all."""

from __future__ import annotations

from pathlib import Path

import pytest

import streamkit
from tests.mutants.__main__ import survivors
from tests.mutants.catalogue import MUTANTS, Mutant

PACKAGE = Path(streamkit.__file__).parent
TESTS = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_names_one_place_and_tests_that_exist(mutant: Mutant) -> None:
    """A change that moves the place, or renames a test, must take the mutant along."""
    for patch in mutant.patches:
        assert (PACKAGE / patch.file).read_text().count(patch.old) == 1, patch.file
        assert patch.old != patch.new
    for test in mutant.tests:
        file, name = test.split("::", 1)
        assert f" {name.partition('[')[0]}(" in (TESTS / file).read_text(), test


def test_a_mutant_is_caught() -> None:
    """One of them all the way: the machinery works."""
    (mutant,) = (each for each in MUTANTS if each.name == "take without raising the epoch")
    assert survivors(mutant) == []
