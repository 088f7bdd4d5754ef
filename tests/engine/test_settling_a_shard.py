"""Whatever records do to their handlers and however owners end, a shard settles as it should (rules 16, 17, 20, 23)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamkit.testing import run_virtual
from tests.engine.bench import KINDS, SINGLE, Bench, Fate, Interruption, Kind, fates, interruptions

anything = fates("good", "good", "good", "poison", "bad", "slow", "down", "corrupt")
settings = st.fixed_dictionaries({}, optional={"concurrency": st.integers(1, 4), "on_dead_letter": st.just("continue")})


@pytest.mark.parametrize("kind", KINDS)
@given(
    fates=anything,
    attempts=st.integers(1, 3),
    width=st.integers(1, 6),
    tells=st.booleans(),
    ends=st.lists(interruptions, max_size=3),
)
def test_every_record_is_handled_or_dead_lettered_in_order_and_only_poison_is_condemned(
    kind: Kind, fates: list[Fate], attempts: int, width: int, ends: list[Interruption], *, tells: bool
) -> None:
    """Nothing lost, nothing run that a checkpoint covers, first effects in order per key, at every interruption.

    Frontier and done set are compared with the truth at the end of every owner's life (`Bench.check`).
    """
    shape = {"concurrency": width} if kind in SINGLE else {"batch_size": width}
    repeats = {"crash", "cancel", "fence"} if tells else {"crash"}
    """Ends after which something handled may not have been told of, and is handled again."""

    async def main() -> None:
        bench = Bench(fates, kind, attempts=attempts, settings=shape, tells=tells)
        for end in ends:
            await bench.live(end)
        await bench.live()
        everything = set(range(len(fates)))
        assert set(bench.effects) | set(bench.dead) == everything
        assert bench.settling.clear
        deadly = {index for index, fate in enumerate(fates) if fate.deadly(attempts)}
        assert set(bench.dead) <= deadly
        assert everything - set(bench.effects) <= deadly
        assert bench.out_of_order() == []
        if not any(end.how in repeats for end in ends):
            assert len(bench.effects) + len(bench.dead) == len(fates), "an effect or a letter was repeated"

    run_virtual(main)
