"""A campaign may be run in parts: the seeds of one commit add up."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.simulation.campaign import Outcome
from tests.simulation.ledger import Ledger, commit, ranges


def outcome(seed: int, violation: str | None = None) -> Outcome:
    """Return one that saw a split."""
    return Outcome(seed, violation, "digest", Counter(split=1), virtual_seconds=1.0, drained_after=1.0)


def test_seeds_of_one_commit_add_up_and_count_once(tmp_path: Path) -> None:
    """Over runs that know only the file; another commit begins anew and takes nothing away."""
    path = tmp_path / "ledger.json"
    for seeds in (range(3), range(2, 5), [9]):
        ledger = Ledger.open(path, "a")
        for seed in seeds:
            ledger.add(outcome(seed, "lost: one" if seed == 4 else None))
        ledger.save()
    other = Ledger.open(path, "b")
    assert not other.seeds
    other.save()
    found = Ledger.open(path, "a")
    assert found.seeds == {0, 1, 2, 3, 4, 9}
    assert found.violations == {4: "lost: one"}
    assert found.seen == Counter(split=6)
    assert str(found) == "a: 6 seeds so far, 1 broken promises"


def test_ranges_are_short() -> None:
    """Ten thousand seeds are a few numbers."""
    assert ranges([5, 1, 2, 3, 9, 10]) == [[1, 3], [5, 5], [9, 10]]
    assert ranges([]) == []


def test_the_code_has_a_name() -> None:
    """The same for the same code."""
    assert commit() == commit()
    assert len(commit()) >= 40
