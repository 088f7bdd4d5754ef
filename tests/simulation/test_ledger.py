"""A campaign may be run in parts: the seeds of one commit add up."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from streamkit.testing.simulation.mix import CHANGED
from tests.simulation.__main__ import until
from tests.simulation.campaign import Outcome, looks
from tests.simulation.ledger import Ledger, commit, ranges, spans
from tests.simulation.sometimes import FAULTS, RARE, RECOVERIES, never_seen


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
    assert (
        str(found)
        == f"a: 5 seeds green, 1 broken promises; seeds 0-4, 9; other commits in {path}, which do not count: 1"
    )


def test_seeds_of_a_changed_tree_are_evidence_for_no_commit(tmp_path: Path) -> None:
    """Who changed a line after the commit reads so, whatever the seeds showed."""
    told = str(Ledger.open(tmp_path / "ledger.json", "a1b2+c3d4"))
    assert told.startswith("a1b2 with changes that are not committed, evidence for no commit: 0 seeds green, ")


def test_ranges_are_short() -> None:
    """Ten thousand seeds are a few numbers."""
    assert ranges([5, 1, 2, 3, 9, 10]) == [[1, 3], [5, 5], [9, 10]]
    assert ranges([]) == []
    assert spans([*range(10), 20, *range(30, 33)]) == "0-9, 20, 30-32"
    assert spans([*range(0, 20, 2), 100, 101]) == "0, 2, 4, 6, 8, 100-101 and 5 shorter runs"


def test_every_seed_is_run_once_and_none_after_its_time() -> None:
    """By several processes in any order; what was started is counted."""
    assert sorted(each.seed for each in looks(range(5), jobs=2)) == [*range(5)]
    assert list(until(range(6), end=float("-inf"))) == []


def test_what_was_never_seen_is_asked_of_seeds_enough_to_show_it() -> None:
    """Every fault and every recovery, of each kind of seeds by itself; what is rare, of ten times as many."""
    assert never_seen((), range(999)) == []
    assert never_seen(FAULTS, range(1_000)) == [*RECOVERIES]
    assert never_seen((*FAULTS, *RECOVERIES), range(10_000)) == [*RARE]
    assert "stream.renewed" in never_seen((), range(CHANGED, CHANGED + 200))


def test_the_code_has_a_name() -> None:
    """The same for the same code."""
    assert commit() == commit()
    assert len(commit()) >= 40
