"""What happens to a fleet on a working day, each as a function over a stage.

Tests play a scenario once, `benchmarks.fleet` measures it often. Records flow at a steady pace throughout; the moments
are drawn from `chance`.
"""

import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from random import Random
from typing import NamedTuple

from streamkit.core.leasing import SUSPICION, Member
from tests.e2e.load import Load, Pace
from tests.e2e.process import Process
from tests.e2e.stage import Stage
from tests.e2e.verdict import Evidence, generations, objections, stall_seconds
from tests.e2e.waiting import eventually

HANDOVER_BOUND = 2.0
"""Seconds from SIGTERM until a successor has handled a record of each shard."""
INCARNATIONS = 2
"""Of a worker that slept through its lease once."""


class Terms(NamedTuple):
    """What the workers are told; by default what streamkit's own defaults say."""

    lease: float = 10.0
    interval: float = 2.0
    """Seconds between checkpoints."""

    @property
    def takeover_bound(self) -> float:
        """The seconds within which a killed worker's shards are read again: silence, two ticks, and one more."""
        return SUSPICION * self.lease + 2 * min(1.0, max(0.1, self.lease / 10)) + 1.0


class Outcome(NamedTuple):
    """What came of a scenario."""

    put: int
    repeats: int
    """Effects beyond the first of each record."""
    oldest_repeat_seconds: float
    """How long before the signal the oldest of the repeated effects had happened."""
    stall_seconds: float
    """The longest time for which a shard stood still although a record waited in it."""
    moves: int
    """Takes of shards from the moment it happened on."""
    generations: int
    """The length of the longest line of descent among the shards."""
    handover_seconds: float | None
    """From the signal until a successor began a record of the last of the shards that were held."""
    objections: Sequence[str]
    """Promises broken."""


def deploy(stage: Stage, chance: Random, *, beside: bool, terms: Terms) -> Outcome:
    """SIGTERM one of two workers: the other one, or also one started beside it, goes on."""
    with stage.load(chance) as load:
        _, leaving = _shared_by(stage, 2, terms)
        if beside:
            fresh = stage.worker(*terms)
            eventually(lambda: bool(fresh.names()), "the successor has joined")
        load.goes_on(chance.uniform(0.0, 1.0))
        shards, at = leaving.shards(), time.time()
        leaving.signal(signal.SIGTERM)
        handover = _taken_over(stage, shards, leaving, since=at)
        leaving.end()
    return _outcome(stage, load, since=at, handover=handover)


def crash(stage: Stage, chance: Random, *, terms: Terms) -> Outcome:
    """SIGKILL one of two workers, while slow records hold the frontier up."""
    with stage.load(chance, Pace(slow=0.004)) as load:
        _, victim = _shared_by(stage, 2, terms)
        load.goes_on(chance.uniform(0.5, 0.5 + terms.lease / 4 + terms.interval))
        shards, at = victim.shards(), time.time()
        victim.kill()
        handover = _taken_over(stage, shards, victim, since=at)
    return _outcome(stage, load, since=at, handover=handover, also=lambda evidence: _older_repeats(evidence, victim))


def pause(stage: Stage, chance: Random, *, terms: Terms) -> Outcome:
    """SIGSTOP one of two workers for three leases, then SIGCONT: it has to find out before it touches anything."""
    with stage.load(chance) as load:
        awake, sleeper = _shared_by(stage, 2, terms)
        load.goes_on(chance.uniform(0.0, terms.lease / 4 + terms.interval))
        shards, at = sleeper.shards(), time.time()
        sleeper.signal(signal.SIGSTOP)
        handover = _taken_over(stage, shards, sleeper, since=at)
        eventually(lambda: time.time() - at >= 3 * terms.lease, "three leases are over")
        buried = stage.member(sleeper.names()[0])
        woken = time.time()
        sleeper.signal(signal.SIGCONT)
        eventually(lambda: bool(sleeper.shards()) and _works(stage, sleeper, since=woken), "the sleeper works again")
    return _outcome(
        stage, load, since=at, handover=handover, also=lambda _: _writes_of_the_dead(stage, buried, awake, sleeper)
    )


def rolling_restart(stage: Stage, chance: Random, *, workers: int, terms: Terms) -> Outcome:
    """SIGTERM one worker after the other, each replaced before the next is stopped."""
    with stage.load(chance) as load:
        old = _shared_by(stage, workers, terms)
        at = time.time()
        for worker in old:
            load.goes_on(chance.uniform(0.0, 1.0))
            _replace(stage, worker, terms)
    return _outcome(stage, load, since=at)


def _replace(stage: Stage, worker: Process, terms: Terms) -> None:
    worker.stop()
    fresh = stage.worker(*terms)
    eventually(lambda: bool(fresh.shards()), "the replacement holds a shard")


def reshard(stage: Stage, chance: Random, *, counts: Sequence[int], terms: Terms) -> Outcome:
    """Split the widest shards, or merge any neighbours, until there are so many; and on to the next count."""
    with stage.load(chance) as load:
        _shared_by(stage, 2, terms)
        at = time.time()
        for count in counts:
            while (now := len(stage.open_shards())) != count:
                _reshape(stage, chance, more=now < count)
                load.goes_on(chance.uniform(0.0, 1.0))
        eventually(lambda: _reached(stage, load), "the youngest shards are read")
    return _outcome(stage, load, since=at)


def _reshape(stage: Stage, chance: Random, *, more: bool) -> None:
    shards = stage.open_shards()
    if more:
        stage.split(max(shards, key=lambda shard: shards[shard][1] - shards[shard][0]))
    else:
        at = chance.randrange(len(shards) - 1)
        stage.merge(*[*shards][at : at + 2])


def _reached(stage: Stage, load: Load) -> bool:
    filled = {each.place.shard for each in load.put} & stage.open_shards().keys()
    return bool(filled) and filled <= {effect.place.shard for effect in stage.effects()}


# Waiting


def _shared_by(stage: Stage, workers: int, terms: Terms) -> list[Process]:
    """Start workers; return them once each holds as many shards as any other, and works."""
    fleet = [stage.worker(*terms) for _ in range(workers)]
    share = len(stage.open_shards()) // workers
    eventually(lambda: all(len(worker.shards()) == share for worker in fleet), "each worker holds its share")
    eventually(lambda: all(_works(stage, worker, since=0.0) for worker in fleet), "each worker has handled a record")
    return fleet


def _works(stage: Stage, worker: Process, *, since: float) -> bool:
    return any(effect.process == worker.id and effect.began > since for effect in reversed(stage.effects()))


def _taken_over(stage: Stage, shards: Sequence[str], from_: Process, *, since: float) -> float:
    """Wait until others have begun a record of each shard; return how many seconds after `since` the last one did."""

    def began() -> dict[str, float]:
        others = [effect for effect in stage.effects() if effect.process != from_.id and effect.began > since]
        return {effect.place.shard: effect.began for effect in reversed(others)}

    eventually(lambda: began().keys() >= set(shards), f"others have gone on with {shards}")
    return max(began()[shard] for shard in shards) - since


# Judging


def _outcome(
    stage: Stage,
    load: Load,
    *,
    since: float,
    handover: float | None = None,
    also: Callable[[Evidence], Iterable[str]] = lambda _: (),
) -> Outcome:
    """Wait until all is done, and until every worker has ended in good order; then look at what is left."""
    eventually(lambda: load.places() <= {each.place for each in stage.effects()}, "every good record is handled")
    running = [worker for worker in stage.processes if worker.running]
    for worker in running:
        worker.signal(signal.SIGTERM)
    for worker in running:
        worker.end()
    evidence = stage.evidence(load)
    return Outcome(
        put=len(load.put),
        repeats=evidence.repeats(),
        oldest_repeat_seconds=_oldest_repeat(evidence, since),
        stall_seconds=stall_seconds(evidence, since=since),
        moves=sum(take.at >= since for take in evidence.takes),
        generations=generations(evidence),
        handover_seconds=handover,
        objections=[*objections(evidence), *also(evidence)],
    )


def _oldest_repeat(evidence: Evidence, since: float) -> float:
    first = evidence.first_effects()
    return max((since - first[place].ended for place in evidence.repeated()), default=0.0)


def _older_repeats(evidence: Evidence, victim: Process) -> Iterator[str]:
    """A crash repeats what its victim did since the last checkpoint but one was durable, and nothing else."""
    written = defaultdict[str, list[float]](list)
    for event in victim.events("checkpoint.written"):
        written[event.about["shard"]].append(event.at)
    first = evidence.first_effects()
    for place in sorted(evidence.repeated()):
        durable = [0.0, 0.0, *written[place.shard]][-2]
        if first[place].process != victim.id or first[place].ended < durable:
            yield f"repeated, and not by the crash: {place}"


def _writes_of_the_dead(stage: Stage, buried: Member, awake: Process, sleeper: Process) -> Iterator[str]:
    """The sleeper wrote neither its old heartbeat row, though it tried to at once, nor a row of a shard."""
    if buried.state != "dead" or stage.member(buried.worker) != buried:
        yield f"expected {buried} as it was when the sleeper woke, got {stage.member(buried.worker)}"
    if awake.events("shard.lost"):
        yield "a write of the sleeper got through: the other worker's was refused"
    if not sleeper.events("worker.fenced") or len(sleeper.names()) != INCARNATIONS:
        yield f"expected the sleeper fenced, and one more incarnation, got {sleeper.names()}"
