"""The promises hold, whatever happens: a share of the campaign of `make simulate`, and every seed that ever failed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from streamkit.testing.simulation import keys, modes, simulate, wards
from streamkit.testing.simulation.mix import CHANGED, PUSHED
from tests.simulation.campaign import look
from tests.simulation.regressions import REGRESSIONS

ROOT = Path(__file__).resolve().parents[2]
CHUNKS, SEEDS_A_CHUNK = 15, 10
"""About half a minute of one core; a chunk is short enough for the workers of pytest to end together."""


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_whatever_happens_the_promises_are_kept(chunk: int) -> None:
    """Nothing lost, order per key, no stale epoch at work, all drains: `docs/simulation.md` lists them.

    A failure names its seed: `python -m tests.simulation --seed N` tells the history.
    """
    for seed in range(chunk * SEEDS_A_CHUNK, (chunk + 1) * SEEDS_A_CHUNK):
        outcome = look(seed)
        assert outcome.violation is None, f"seed {seed}: {outcome.violation}"


@pytest.mark.parametrize("seed", REGRESSIONS, ids=str)
def test_what_was_found_once_stays_fixed(seed: int) -> None:
    """Every seed that broke a promise is run for ever."""
    assert look(seed).violation is None, REGRESSIONS[seed]


def test_a_seed_has_one_history() -> None:
    """The same seed, the same digest, under any hash seed (three, and this process's): a failure can be replayed."""
    seeds = (6, modes.FROM + 2, CHANGED + 6, PUSHED + 6, keys.FROM, wards.FROM)
    code = f"from tests.simulation.campaign import look; print(*[look(seed).digest for seed in {seeds}])"
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "1", "4242")
    }
    assert found == {" ".join(look(seed).digest for seed in seeds) + "\n"}


def test_different_seeds_have_different_histories() -> None:
    """The digest tells histories apart."""
    assert len({simulate(seed).digest for seed in range(3)}) == 3
