"""Whole worker processes, end to end, on whatever endpoint the fixture `variables` of a subclass leads to."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from streamkit.clock import SystemChance
from tests.e2e.stage import Effect, Place, Put, Stage, eventually

KEYS = [f"N{number}" for number in range(12)]
Make = Callable[[str], Stage]


@pytest.mark.e2e
class WorkerSuite:
    """Fixture `variables`: what leads an AWS SDK to the endpoint."""

    @pytest.fixture
    def stage(self, variables: Mapping[str, str], tmp_path: Path) -> Iterator[Make]:
        """Make a stage whose queue has a name that ends so."""
        with ExitStack() as stack:

            def make(queue: str) -> Stage:
                name = f"test-{SystemChance().token()[:12]}"
                return stack.enter_context(Stage(name, queue=f"{name}-{queue}", folder=tmp_path, variables=variables))

            yield make

    def test_a_killed_workers_shards_are_finished_by_another(self, stage: Make) -> None:
        """Nothing is lost, each key keeps its order, each poison is one letter; what repeats, the dead had done."""
        on = stage("dlq.fifo")  # a FIFO queue drops the letter that a successor sends again
        oldest = on.put([(f"slow-{key}", b"gated") for key in KEYS])  # all else runs ahead of the frontier
        # Until the dead one's heartbeat is stale, its shard seems to be in good hands: idle has to last longer.
        survivor = on.worker("--until-idle", "3s", lease="3s")
        eventually(lambda: bool(survivor.shards()), "the first worker is not idle")
        killed = on.worker(lease="3s")
        eventually(lambda: len(killed.shards()) == len(survivor.shards()) == 1, "each worker holds a shard")
        before, behind = on.put(payloads(b"")), on.put(payloads(b"gated"))
        put = oldest + before + behind
        eventually(lambda: good(before) <= done(on.effects()), "all is done that may be")
        [orphan] = killed.shards()
        killed.kill()
        on.open_gate()
        survivor.end()

        effects = on.effects()
        assert done(effects) == good(put)
        assert_order_by_key(effects, put)
        assert sorted(on.dead_letters()) == poisons(put)
        assert repeated(effects) <= done(effects, by=killed.id)
        assert done(effects, by=killed.id) == {place for place in good(before) if place.shard == orphan}
        assert done(effects, by=survivor.id) >= {place for place in good(oldest + behind) if place.shard == orphan}
        [taken] = [event for event in survivor.events("shard.taken") if event["previous_owner"] == killed.name]
        assert taken["shard"] == orphan

    def test_a_split_under_load_keeps_the_order_of_every_key(self, stage: Make) -> None:
        """Children begin when their parent is settled, also for a worker that knew them from its start; all once."""
        on = stage("dlq")
        before, behind = on.put(payloads(b"")), on.put(payloads(b"gated"))
        first = on.worker("--until-idle", "1s")
        eventually(lambda: good(before) <= done(on.effects()), "all is done that may be")
        parent = on.split()
        put = before + behind + on.put(payloads(b""))
        second = on.worker()
        eventually(lambda: len(second.shards()) == 1, "the second worker holds a shard")
        on.open_gate()
        first.end()
        eventually(lambda: good(put) <= done(on.effects()), "all is done")
        second.stop()

        effects = on.effects()
        assert done(effects) == good(put)
        assert repeated(effects) == set()
        assert_order_by_key(effects, put)
        assert_parent_first(effects, parent, old={each.place.shard for each in before})
        assert sorted(on.dead_letters()) == poisons(put)
        stopped = [event for worker in (first, second) for event in worker.events("worker.stopped")]
        assert sum(event["handled"] for event in stopped) == len(good(put))
        assert sum(event["dead"] for event in stopped) == len(poisons(put))


def payloads(what: bytes) -> list[tuple[str, bytes]]:
    """Return ten payloads a key, one of them poison, at another place for each key."""
    return [(key, what + b" poison" if turn == at % 10 else what) for turn in range(10) for at, key in enumerate(KEYS)]


def good(put: Iterable[Put]) -> set[Place]:
    """Return the places of what can be handled."""
    return {each.place for each in put if not each.poison}


def poisons(put: Iterable[Put]) -> list[Place]:
    """Return the places of what cannot, sorted."""
    return sorted(each.place for each in put if each.poison)


def done(effects: Iterable[Effect], *, by: int | None = None) -> set[Place]:
    """Return the places of what was done, by one process or by any."""
    return {effect.place for effect in effects if by in (None, effect.process)}


def repeated(effects: Iterable[Effect]) -> set[Place]:
    """Return the places of what was done more than once."""
    return {place for place, times in Counter(effect.place for effect in effects).items() if times > 1}


def assert_order_by_key(effects: Iterable[Effect], put: Iterable[Put]) -> None:
    """See that no effect of a key skips one: it follows its predecessor, or goes back to begin again from there."""
    wanted, got = defaultdict[str, list[Place]](list), defaultdict[str, list[Place]](list)
    for each in put:
        if not each.poison:
            wanted[each.key].append(each.place)
    for effect in effects:
        got[effect.key].append(effect.place)
    for key, places in got.items():
        turns = [-1, *map(wanted[key].index, places)]
        assert all(turn <= last + 1 for last, turn in pairwise(turns)), (key, turns)


def assert_parent_first(effects: Iterable[Effect], parent: str, *, old: set[str]) -> None:
    """See that the last effect of a parent is before the first of its children, who all have some."""
    shards = [effect.place.shard for effect in effects]
    children = {shard for shard in shards if shard not in old}
    assert len(children) == 2
    last = len(shards) - shards[::-1].index(parent)
    assert children.isdisjoint(shards[:last])
