"""The checker of runs can fail: whatever a run breaks, it says so."""

import pytest

from tests.e2e.load import PARTS, even_keys
from tests.e2e.verdict import Effect, Evidence, Place, Put, Take, generations, objections, stall_seconds

ONE, OTHER = 11, 22
PUT = [Put("N0", turn, turn == 2, Place("s1" if turn < 4 else "s2", turn), float(turn)) for turn in range(6)]
EFFECTS = [Effect("N0", put.turn, put.place, ONE, put.at + 0.1, put.at + 0.2) for put in PUT if not put.poison]
TAKES = [Take("s1", 1, ONE, -1.0), Take("s2", 1, ONE, 3.5)]
EARLY = [Take(take.shard, take.epoch, take.process, take.at - 9.0) for take in TAKES]
GOOD = Evidence(PUT, EFFECTS, [Place("s1", 2)], TAKES, {"s1": [], "s2": ["s1"]})


def moved(effect: Effect, *, later: float) -> Effect:
    """The same effect, later."""
    return effect._replace(began=effect.began + later, ended=effect.ended + later)


def test_a_good_run_is_not_objected_to() -> None:
    """Nor is going back: after a crash, a key begins again where its successor has to."""
    assert objections(GOOD) == []
    again = [*(moved(effect, later=-1.0) for effect in EFFECTS[:2]), *EFFECTS]
    assert objections(GOOD._replace(effects=again, takes=EARLY)) == []
    assert GOOD._replace(effects=again).repeats() == 2


@pytest.mark.parametrize(
    ("evidence", "objection"),
    [
        (GOOD._replace(effects=EFFECTS[:-1]), "lost"),
        (GOOD._replace(letters=[]), "expected a letter for each of 1 poisons, got 0"),
        (GOOD._replace(letters=[Place("s1", 2)] * 2), "got 2 letters"),
        (GOOD._replace(put=PUT[:-1]), "not put"),
        (GOOD._replace(effects=[EFFECTS[1], moved(EFFECTS[0], later=1.5), *EFFECTS[2:]]), "out of order"),
        (GOOD._replace(effects=[*EFFECTS, EFFECTS[0]]), "child before parent"),
        (GOOD._replace(takes=TAKES[:1]), "never took its shard"),
        (GOOD._replace(takes=[*TAKES, Take("s1", 2, OTHER, 2.5)]), "stale"),
    ],
)
def test_what_a_run_breaks_is_said(evidence: Evidence, objection: str) -> None:
    """Loss, repeated letters, order, lineage, owners."""
    assert any(objection in each for each in objections(evidence))


def test_what_began_before_the_take_may_end_after_it() -> None:
    """An attempt under way when its process is stopped ends when it goes on; only starting is forbidden."""
    taker = [effect._replace(process=OTHER, began=effect.began + 3.0) for effect in EFFECTS[3:]]
    late = [*EFFECTS[:3], *taker, EFFECTS[3]._replace(ended=9.0)]
    assert objections(GOOD._replace(effects=late, takes=[*TAKES, Take("s2", 2, OTHER, 5.5)])) == []


def test_a_stall_is_counted_only_while_a_record_waits() -> None:
    """A shard without records is not stalled, however long; nor is one that has none yet."""
    assert stall_seconds(GOOD, since=0.0) == pytest.approx(0.2)
    stalled = [*EFFECTS[:2], moved(EFFECTS[2], later=1.5), *EFFECTS[3:]]
    assert stall_seconds(GOOD._replace(effects=stalled), since=0.0) == pytest.approx(1.7)
    assert stall_seconds(GOOD._replace(effects=stalled), since=5.0) == pytest.approx(0.2)


def test_generations_are_counted_along_the_longest_line() -> None:
    """A merge is one deeper than the deeper of its parents."""
    assert generations(GOOD) == 2
    assert generations(GOOD._replace(parents={"a": [], "b": ["a"], "c": ["a"], "d": ["a", "c"]})) == 3


def test_keys_are_spread_evenly() -> None:
    """Each eighth of the hash keys has as many."""
    assert len(set(even_keys(3))) == 3 * PARTS
