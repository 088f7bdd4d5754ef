"""What was measured, as the page docs/fleet.md."""

import os
import statistics
from collections.abc import Mapping, Sequence

from benchmarks.fleet.catalogue import CALM, CATALOGUE, Run
from tests.e2e.load import Pace, even_keys

HEAD = """# A fleet on a working day

Made by `make fleet`; do not edit. Worker processes (`python -m streamkit run`) on the embedded endpoint, all on one
machine of {cores} cores; {rate:.0f} records a second over {keys} keys throughout, some of them poison. Defaults but for
what is said: lease {lease:.0f} s, a checkpoint every {interval:.0f} s. The moments are drawn from seed {seed}. Load
average {before:.1f} at the start, {after:.1f} at the end, {minutes:.1f} minutes later.

Every handler leaves a line: key, count within the key, place in the stream, process, begin and end. From these lines,
the answers of PutRecords, the dead-letter queue and the workers' takes, a checker that shares no code with streamkit
says of each run: every good record has its effect, every poison its one letter; the effects of a key are in order,
going back only to begin again; none is before the last of a parent shard; and no handler began for an owner whose shard
another had taken.
"""
FOOT = """
Seconds and counts are the median of the runs, and in brackets the worst.

- **successor**: from the signal until another process had begun a record of every shard that the worker held. The bound
  is 2 s for a deploy, and 1.05 leases, two ticks and a second where nobody says goodbye.
- **stall**: the longest time, from the signal or the first restart or split on, for which no record of a shard was done
  although one waited. In crashes, some handlers take a second, so that others run ahead of the frontier.
- **repeats**: effects beyond each record's first; **oldest**: seconds before the signal. A crash or a pause may repeat
  one interval of checkpoints, everything else nothing.
- **moves**: takes of shards. **generations**: shards in the longest line of descent.
- **broken**: promises broken in all runs together. After SIGCONT, that includes: the sleeper's heartbeat row stays as
  it was, though it tries to write it at once; the other worker loses no shard; the sleeper comes back under a new name.
"""
COLUMNS = (
    "scenario",
    "runs",
    "records",
    "successor, s",
    "bound, s",
    "stall, s",
    "repeats",
    "oldest, s",
    "moves",
    "generations",
    "broken",
)


def page(results: Mapping[str, Sequence[Run]], *, seed: int, load: tuple[float, float], minutes: float) -> str:
    """Return the page."""
    pace, keys = Pace(), len(even_keys(Pace().keys_each))
    head = HEAD.format(
        cores=os.cpu_count(),
        rate=pace.beats * keys,
        keys=keys,
        lease=CALM.lease,
        interval=CALM.interval,
        seed=seed,
        before=load[0],
        after=load[1],
        minutes=minutes,
    )
    rows = [COLUMNS, ("--", *["--:"] * (len(COLUMNS) - 1)), *(_row(name, results[name]) for name in results)]
    return "\n".join([head, *("| " + " | ".join(row) + " |" for row in rows), FOOT])


def _row(name: str, runs: Sequence[Run]) -> Sequence[str]:
    scenario, outcomes = CATALOGUE[name], [run.outcome for run in runs if run.outcome is not None]
    took = [each.handover_seconds for each in outcomes if each.handover_seconds is not None]
    bound = scenario.bound_seconds
    return (
        scenario.title,
        str(len(runs)),
        f"{sum(each.put for each in outcomes):,}",
        _seconds(took),
        f"{bound:.2f}" if bound is not None else "",
        _seconds([each.stall_seconds for each in outcomes]),
        _counts([each.repeats for each in outcomes]),
        _seconds([each.oldest_repeat_seconds for each in outcomes if each.repeats]),
        _counts([each.moves for each in outcomes]),
        _counts([each.generations for each in outcomes]),
        str(sum(len(run.broken) for run in runs)),
    )


def _seconds(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({max(values):.2f})" if values else ""


def _counts(values: Sequence[int]) -> str:
    return f"{statistics.median(values):g} ({max(values)})" if any(values) else "0"
