"""The other modes under everything that goes wrong: exactly once into a table, and never twice (rule 25)."""

from __future__ import annotations

import pytest

from streamkit.testing.simulation import draw, simulate
from streamkit.testing.simulation.modes import FROM

CHUNKS, SEEDS_A_CHUNK = 6, 8
FOUND = {
    FROM + 248: "a letter whose owner died before a checkpoint passed its record: the successor may handle it",
    FROM + 258: "a drain left waves unmarked and took its shard for ended",
    FROM + 278: "a letter on its way while its sender's shard was taken",
    FROM + 341: "as 258",
}
"""Every seed that broke a promise of a mode, and what it was."""


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_effects_are_exact_and_nothing_runs_twice(chunk: int) -> None:
    """`python -m tests.simulation --seeds 1000000-1000999` is the campaign; `--seed N` tells one history."""
    for seed in range(FROM + chunk * SEEDS_A_CHUNK, FROM + (chunk + 1) * SEEDS_A_CHUNK):
        assert (found := simulate(seed)).violation is None, f"seed {seed}: {found.violation}"


@pytest.mark.parametrize("seed", FOUND, ids=str)
def test_what_was_found_once_stays_fixed(seed: int) -> None:
    """Every such seed is run for ever."""
    assert simulate(seed).violation is None, FOUND[seed]


def test_both_modes_are_drawn_and_none_below() -> None:
    """Older seeds keep their histories."""
    assert {draw(seed).kind for seed in range(FROM, FROM + 20)} == {"transactional", "at_most_once"}
    assert not {draw(seed).kind for seed in range(200)} & {"transactional", "at_most_once"}


def test_what_makes_them_hard_is_seen() -> None:
    """Commits whose answers are lost or come late, and are sent again; records that were interrupted."""
    wanted = {
        "answer lost: commit", "late: commit", "sent a transaction again that was applied", "letter Interrupted",
    }  # fmt: skip
    for seed in range(FROM, FROM + 30):
        wanted -= simulate(seed).seen.keys()
        if not wanted:
            break
    assert wanted == set()
