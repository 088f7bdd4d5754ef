"""Deterministic simulation of a fleet: the real worker, many of it, on one virtual time, with everything going wrong.

    verdict = simulate(1234)
    assert verdict.violation is None, verdict

Processes are killed, stopped, deployed and started; clocks drift; requests are throttled, delayed, lost after they took
effect, or land late; the stream is split, merged and trimmed; the queue, the table and what handlers write to are down.
Then comes a quiet in which everything has to drain. One seed, one history. `docs/simulation.md` says what is promised,
what is checked, and what this cannot show.
"""

from streamkit.testing.simulation.fleet import Fleet, Verdict
from streamkit.testing.simulation.mix import Mix, Rates, draw
from streamkit.testing.simulation.run import simulate

__all__ = ["Fleet", "Mix", "Rates", "Verdict", "draw", "simulate"]
