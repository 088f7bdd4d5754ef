"""What a seed draws: the size of its fleet, how its consumer is set up, and what befalls it, how often."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

from streamkit.core.settlement import OnDeadLetter
from streamkit.testing.simulation import keys, wards
from streamkit.testing.simulation.keys import keyed
from streamkit.testing.simulation.modes import moded
from streamkit.testing.simulation.wards import warded


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Shares of requests between 0 and 1, and how many happenings over the whole run."""

    throttled: float = 0.0
    lost: float = 0.0
    late: float = 0.0
    slow: float = 0.0
    """Requests whose way takes up to a lease."""
    reads_fail: float = 0.0
    expired: float = 0.0
    repeated: float = 0.0
    """Reads answered with records of an earlier answer once more."""
    refused_letters: float = 0.0
    lost_effects: float = 0.0
    """Effects whose answer is lost: the handler fails although it worked."""
    stop_at_request: float = 0.0
    """The process is stopped between its decision and its request."""
    kill_at_request: float = 0.0
    kills: int = 0
    stops: int = 0
    table_outages: int = 0
    queue_outages: int = 0
    sink_outages: int = 0
    reshards: int = 0
    joins: int = 0
    leaves: int = 0
    deploys: int = 0
    blackouts: int = 0
    """All workers down for longer than the retention."""
    remakes: int = 0
    """The stream is deleted, and another created under its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """One seed's draw. Times in seconds."""

    seed: int
    workers: int
    shards: int
    keys: int
    records: int
    duration: float
    latency: float
    lease: float
    interval: float
    checkpoint_records: int
    window: int
    concurrency: int
    kind: Literal["async", "thread", "batch", "transactional", "at_most_once"]
    batch_size: int
    timeout: float
    attempts: int
    poll: float
    page: int
    on_dead_letter: OnDeadLetter
    start: Literal["TRIM_HORIZON", "LATEST"]
    retention: float | None
    """None: nothing is trimmed."""
    outage_signal: bool
    """Whether handlers know an outage when they meet one (`Unavailable`)."""
    drift: float
    skew: float
    bad: float
    """Share of records whose handler misbehaves."""
    rates: Rates
    keyed: bool = False
    """Whether records have business keys, each of two of them."""
    uneven: bool = False
    """Whether a few keys bring most of the records, for long enough that it is measured."""
    stuck: float = 0.0
    """Share of threads that take longer than anybody waits, besides those of records whose handler misbehaves."""
    source: Literal["polled", "pushed", "changed"] = "polled"
    """A stream that is polled or pushed, or the changes of a table."""
    aftermath: float = 0.0
    """Seconds the fleet stands idle after all is settled: rows of the gone are removed only after an hour."""
    killers: int = 0
    """Records that no process survives the handling of."""
    wards: bool = False
    """Whether suspects are tried in processes of their own."""

    @property
    def interval_delta(self) -> timedelta:
        """The checkpoint interval."""
        return timedelta(seconds=self.interval)


def draw(seed: int) -> Mix:
    """Draw the mix of a seed: some faults only, each at its own rate, so that each is also met alone."""
    if seed >= wards.FROM:
        return warded(_drawn(seed))
    return keyed(_drawn(seed)) if seed >= keys.FROM else _deadly(moded(sourced(_drawn(seed))))


def _drawn(seed: int) -> Mix:
    rng = random.Random(f"mix {seed}")
    lease = rng.choice((2.0, 3.0, 5.0, 10.0))

    def happens(odds: float) -> bool:
        return rng.random() < odds

    calm = happens(0.1)

    def share(odds: float, most: float) -> float:
        return rng.uniform(0.0, most) if happens(odds) and not calm else 0.0

    def some(odds: float, most: int) -> int:
        return rng.randint(1, most) if happens(odds) and not calm else 0

    retention = rng.uniform(40.0, 90.0) if happens(0.12) else None
    rates = Rates(
        throttled=share(0.3, 0.2),
        lost=share(0.4, 0.2),
        late=share(0.4, 0.15),
        slow=share(0.3, 0.03),
        reads_fail=share(0.3, 0.3),
        expired=share(0.2, 0.1),
        repeated=share(0.2, 0.1),
        refused_letters=share(0.4, 0.6),
        lost_effects=share(0.25, 0.05),
        stop_at_request=share(0.3, 0.01),
        kill_at_request=share(0.3, 0.01),
        kills=some(0.5, 4),
        stops=some(0.5, 4),
        table_outages=some(0.2, 2),
        queue_outages=some(0.2, 2),
        sink_outages=some(0.2, 2),
        reshards=some(0.6, 6),
        joins=some(0.4, 2),
        leaves=some(0.3, 2),
        deploys=some(0.3, 1),
        blackouts=1 if retention is not None and happens(0.7) else 0,
        remakes=random.Random(f"remakes {seed}").random() < 0.1,  # noqa: PLR2004 - few: it ends a history early
    )
    batch_size = rng.choice((1, 3, 10))
    mix = Mix(
        seed=seed,
        workers=rng.choice((1, 2, 2, 3, 3, 4)),
        shards=rng.choice((1, 1, 2, 2, 3, 4)),
        keys=rng.choice((1, 3, 6, 12)),
        records=rng.choice((30, 60, 120, 200)),
        duration=rng.uniform(15.0, 45.0),
        latency=rng.choice((0.002, 0.01, 0.05)),
        lease=lease,
        interval=rng.choice((0.0, 0.2, 1.0, 2.0)),
        checkpoint_records=rng.choice((1, 5, 10_000, 10_000)),
        window=max(batch_size, rng.choice((1, 4, 20, 6000, 6000))),
        concurrency=rng.choice((1, 2, 8, 64)),
        kind=rng.choice(("async", "async", "async", "thread", "batch")),
        batch_size=batch_size,
        timeout=rng.choice((2.0, 4.0, 8.0)),
        attempts=rng.choice((2, 3, 5)),
        poll=rng.choice((0.2, 0.5, 1.0)),
        page=rng.choice((1, 3, 10, 1000)),
        on_dead_letter=rng.choice(("continue", "continue", "park")),
        start=rng.choice(("TRIM_HORIZON", "TRIM_HORIZON", "LATEST")),
        retention=retention,
        outage_signal=happens(0.7),
        drift=rng.choice((0.0, 0.01, 0.05)),
        skew=rng.choice((0.0, 0.5, 30.0)) if retention is None else 0.0,
        bad=share(0.7, 0.3),
        rates=rates,
    )
    if happens(0.1):
        workers, shards = rng.choice((2, 3)), rng.choice((4, 6))
        duration, records = rng.uniform(90.0, 150.0), rng.choice((400, 800))
        mix = replace(mix, uneven=True, workers=workers, shards=shards, keys=12, duration=duration, records=records)
    elif happens(0.005):
        mix = replace(mix, aftermath=1.7 * 3600.0)
    return _lopsided(mix if calm else _stuck(mix))


CHANGED, PUSHED = 2_000_000, 3_000_000
"""Seeds from here on read the changes of a table, or have records pushed; those below keep their histories."""


def sourced(mix: Mix) -> Mix:
    """Return the mix with the source that its seed says."""
    if mix.seed < CHANGED:
        return mix
    return replace(mix, source="changed" if mix.seed < PUSHED else "pushed", aftermath=0.0)


# What few seeds meet is drawn last, each from a generator of its own: the other seeds stay as they are.


def _stuck(mix: Mix) -> Mix:
    """Draw whether some threads take longer than anybody waits: every process that meets one dies."""
    rng = random.Random(f"stuck {mix.seed}")
    if mix.kind != "thread" or rng.random() >= 0.3:  # noqa: PLR2004 - so that a fiftieth of all seeds shows it
        return mix
    return replace(mix, stuck=rng.uniform(1.0, 4.0) / mix.records)


def _lopsided(mix: Mix) -> Mix:
    """Draw a fleet whose shards bring very different loads, in which nobody comes or goes: some move for it."""
    rng = random.Random(f"skewed {mix.seed}")
    if rng.random() >= 0.045:  # noqa: PLR2004 - so that a fiftieth of all seeds shows it; they take longest
        return mix
    still = replace(mix.rates, kills=0, stops=0, reshards=0, joins=0, leaves=0, deploys=0, blackouts=0, remakes=0)
    workers, shards, duration = rng.choice((2, 3)), rng.choice((4, 6, 8)), rng.uniform(120.0, 150.0)
    return replace(
        mix,
        uneven=True,
        workers=workers,
        shards=shards,
        keys=24,
        records=900,
        duration=duration,
        retention=None,
        rates=still,
        aftermath=0.0,
    )


def _deadly(mix: Mix) -> Mix:
    """Draw whether some records kill whoever handles them, and workers are started again each time."""
    rng = random.Random(f"deadly {mix.seed}")
    odd = mix.uneven or mix.aftermath or mix.stuck or mix.retention is not None or mix.rates.remakes
    if odd or mix.kind in ("thread", "at_most_once") or rng.random() >= 0.05:  # noqa: PLR2004 - a few seeds in a hundred
        return mix
    return replace(mix, killers=rng.choice((1, 1, 2)))
