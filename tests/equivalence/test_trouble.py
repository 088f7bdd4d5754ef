"""Lambda alone, with throttles, lost answers, twins, crashes, time-outs, zombies, hasty operators, a slow table."""

from __future__ import annotations

from collections import Counter

from tests.equivalence.campaign import never_seen, trouble
from tests.equivalence.runtimes import by_lambda
from tests.equivalence.scenario import draw

SEEDS = range(60)
RARE = ("invocation timed out", "letters.delayed")
"""Not in every sixty seeds."""


def test_in_trouble_nothing_is_lost_and_little_is_repeated() -> None:
    """Order holds, letters are for what is condemned, repeats for what was cut off, and all faults were seen.

    Nothing is reported settled that has no effect and no letter.
    """
    seen = Counter[str]()
    for seed in SEEDS:
        seen += trouble(seed)
    assert set(never_seen(seen)) <= set(RARE)


def test_a_seed_names_one_history() -> None:
    """What is found once is found again."""

    def history() -> list[tuple[float, str]]:
        _, mapping = by_lambda(draw(3, troubled=True))
        return [(each.ended, each.outcome.kind) for each in mapping.invocations]

    assert history() == history()


def test_in_trouble_no_change_of_a_table_is_lost() -> None:
    """The same faults, where the events do not tell the shard."""
    seen = Counter[str]()
    for seed in range(20):
        seen += trouble(seed, changes=True)
    assert not {"twin", "invocation lost", "invocation crashed", "batch cut", "delivery.deferred"} - {*seen}
