"""What may be said of a run by what it left behind: records put, effects, letters, takes. Knows nothing of streamkit.

All times are seconds since the epoch, of one machine.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

EVENT_RESOLUTION = 0.001
"""Seconds by which a take may have been later than its event says."""


class Place(NamedTuple):
    """Where a record is in its stream."""

    shard: str
    number: int


class Put(NamedTuple):
    """A record that was put."""

    key: str
    turn: int
    """Counts the records of its key from 0."""
    poison: bool
    place: Place
    at: float
    """When the stream had acknowledged it."""


class Effect(NamedTuple):
    """What a handler did, in the order of doing."""

    key: str
    turn: int
    place: Place
    process: int
    began: float
    ended: float


class Take(NamedTuple):
    """A process became the owner of a shard."""

    shard: str
    epoch: int
    process: int
    at: float


class Evidence(NamedTuple):
    """Everything that a run left behind."""

    put: Sequence[Put]
    effects: Sequence[Effect]
    letters: Sequence[Place]
    takes: Sequence[Take]
    parents: Mapping[str, Sequence[str]]
    """Of every shard."""

    def first_effects(self) -> dict[Place, Effect]:
        """Return the first effect of each record."""
        first: dict[Place, Effect] = {}
        for effect in self.effects:
            first.setdefault(effect.place, effect)
        return first

    def repeated(self) -> set[Place]:
        """Return the places of what was done more than once."""
        return {place for place, times in Counter(effect.place for effect in self.effects).items() if times > 1}

    def repeats(self) -> int:
        """Count the effects beyond each record's first."""
        return len(self.effects) - len(self.first_effects())


def objections(evidence: Evidence) -> list[str]:
    """Return what breaks a promise that holds whatever happens: nothing does if there are none."""
    return [*_fates(evidence), *_order(evidence), *_parents_first(evidence), *_stale(evidence)]


def _fates(evidence: Evidence) -> Iterator[str]:
    """Every good record has an effect, every poison one letter, and nothing else has any."""
    good = {each.place for each in evidence.put if not each.poison}
    poison = sorted(each.place for each in evidence.put if each.poison)
    done = {effect.place for effect in evidence.effects}
    yield from (f"lost: {place}" for place in sorted(good - done))
    yield from (f"an effect of what was not put, or is poison: {place}" for place in sorted(done - good))
    if sorted(evidence.letters) != poison:
        yield f"expected a letter for each of {len(poison)} poisons, got {len(evidence.letters)} letters"


def _order(evidence: Evidence) -> Iterator[str]:
    """No attempt at a key skips one: it follows its predecessor, or goes back to begin again from there.

    By their beginnings: an attempt that was under way when its process was stopped ends whenever that goes on.
    """
    wanted, got = defaultdict[str, list[int]](list), defaultdict[str, list[int]](list)
    for each in evidence.put:
        if not each.poison:
            wanted[each.key].append(each.turn)
    for effect in sorted(evidence.effects, key=lambda effect: effect.began):
        got[effect.key].append(effect.turn)
    for key, turns in got.items():
        ranks = {turn: rank for rank, turn in enumerate(sorted(wanted[key]))}
        for last, turn in pairwise([-1, *(ranks.get(turn, -1) for turn in turns)]):
            if turn > last + 1:
                yield f"out of order: key {key} went from its record {last} to {turn}"


def _parents_first(evidence: Evidence) -> Iterator[str]:
    """The last effect of a parent is before the first of its children."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for number, effect in enumerate(evidence.effects):
        first.setdefault(effect.place.shard, number)
        last[effect.place.shard] = number
    for child, parents in evidence.parents.items():
        for parent in parents:
            if child in first and last.get(parent, -1) > first[child]:
                yield f"child before parent: {child} began before {parent} had ended"


def _stale(evidence: Evidence) -> Iterator[str]:
    """No handler starts for an owner whose shard another has taken."""
    takes = defaultdict[str, list[Take]](list)
    for take in sorted(evidence.takes, key=lambda take: take.at):
        takes[take.shard].append(take)
    for effect in evidence.effects:
        before = [take for take in takes[effect.place.shard] if take.at + EVENT_RESOLUTION <= effect.began]
        own = [take.epoch for take in takes[effect.place.shard] if take.process == effect.process]
        if not own:
            yield f"process {effect.process} handled {effect.place} and never took its shard"
        elif before and before[-1].process != effect.process:
            yield f"stale: process {effect.process} began {effect.place} after {before[-1]}"


def stall_seconds(evidence: Evidence, *, since: float) -> float:
    """Return the longest time, ending after `since`, for which no record of a shard was done although one waited."""
    put_at = {each.place: each.at for each in evidence.put}
    by_shard = defaultdict[str, list[Effect]](list)
    for place, effect in evidence.first_effects().items():
        by_shard[place.shard].append(effect)
    return max(
        (stall for effects in by_shard.values() for at, stall in _stalls(effects, put_at) if at > since), default=0.0
    )


def _stalls(effects: Sequence[Effect], put_at: Mapping[Place, float]) -> Iterator[tuple[float, float]]:
    effects = sorted(effects, key=lambda effect: effect.ended)
    waiting_since = float("inf")
    for before, effect in reversed([*zip([None, *effects], effects, strict=False)]):
        waiting_since = min(waiting_since, put_at[effect.place])
        yield effect.ended, effect.ended - max(before.ended if before else 0.0, waiting_since)


def generations(evidence: Evidence) -> int:
    """Return the length of the longest line of descent among the shards."""

    def depth(shard: str) -> int:
        return 1 + max((depth(each) for each in evidence.parents.get(shard, ())), default=0)

    return max(map(depth, evidence.parents))
