"""Every history of a small world keeps the laws; every break of the protocol is found (rules 1, 2, 4, 5, 11, 12, 16).

Larger worlds: python -m tests.exhaustive.search --shape merge --records 1 --workers 3 --troubles 2
"""

from __future__ import annotations

import pytest

from tests.exhaustive.model import Model, State, Step
from tests.exhaustive.mutants import MUTANTS, Mutant, found
from tests.exhaustive.search import LARGER, SMALL, search, size


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SMALL, *(pytest.param(name, marks=pytest.mark.long) for name in LARGER)])
def test_no_history_of_a_small_world_breaks_a_law(name: str) -> None:
    """Kills, pauses, late writes and lost answers in every order; from everywhere a way leads to the end."""
    seen = search((SMALL | LARGER)[name])
    print(f"{name}: {seen}")  # noqa: T201 - shown by pytest -s
    assert seen.broken is None, str(seen)
    assert seen.states > 100


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_search_finds_a_break_of_the_protocol(mutant: Mutant) -> None:
    """Applied to a copy of the package; what it prints is the shortest way to the broken law."""
    said = found(mutant)
    assert "BROKEN: " in said, said


class Story:
    """One history, step by step, chosen by what its steps are called."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.state: State = model.start()

    def goes(self, *wanted: str) -> None:
        """Take the step whose description has all these words in it."""
        for step, after, broken in self._model.steps(self.state):
            if all(word in self._model.told(step) for word in wanted):
                assert (broken or self._model.broken(after)) is None
                self.state = after
                return
        pytest.fail(f"expected a step with {wanted}, got {[self._model.told(step) for step in self._ahead()]}")

    def _ahead(self) -> list[Step]:
        return [step for step, _, _ in self._model.steps(self.state)]

    @property
    def row(self) -> str:
        """The first shard's row."""
        return repr(self._model.tables[self.state.table].shards[0])

    @property
    def sent(self) -> list[str]:
        """The writes somebody waits for."""
        locals_ = [self._model.locals[place] for place in self.state.workers if place >= 0]
        pending = [self._model.requests[number] for each in locals_ for _, number in each.pending]
        return [repr(request.args[1]) for request in pending if request.method == "write"]


def test_a_write_in_doubt_is_settled_before_anything_is_built_on_it() -> None:
    """Rule 5's trace: 1 times out, the worker goes on to 2, 1 lands late. Only 1 itself was sent again meanwhile."""
    story = Story(Model(size("one", records=2, joined=1, troubles=2)))
    story.goes("a ticks")
    story.goes("a's take", "answered")
    story.goes("a goes for the checkpoint")
    first = story.sent
    story.goes("a's write", "cancelled")
    story.goes("a goes for the checkpoint")
    assert story.sent == first, "the very same write, before anything newer"
    story.goes("write", "lands")
    assert "at 1" in story.row
    story.goes("a's write", "refused")
    assert "at 2" in story.sent[0], "it recognised its own, and only then sent the newer one"
    story.goes("a's write", "answered")
    assert "at 2" in story.row


def test_a_write_that_lands_after_the_take_changes_nothing() -> None:
    """Rule 4: the owner pauses with a write under way, is declared dead, and the write arrives: it is spent."""
    story = Story(Model(size("one", records=2, troubles=3)))
    story.goes("a ticks")
    story.goes("a's take", "answered")
    story.goes("b ticks")
    story.goes("a goes for the checkpoint")
    story.goes("a's write", "not answered")
    story.goes("b waits a lease")
    story.goes("b's bury", "answered")
    story.goes("b's rows", "answered")
    story.goes("b's take", "answered")
    assert "of b, open, epoch 2" in story.row
    assert story.state.late == frozenset(), "what is under way would change nothing any more"
    before = story.row
    story.goes("a's write", "refused")
    assert story.row == before
