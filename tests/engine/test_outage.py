"""An outage is not poison: when everything fails the shard waits, and nothing is condemned (rule 20)."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamkit.events import RecordCondemned, ShardPaused, ShardResumed
from streamkit.testing import run_virtual
from tests.engine.bench import BAD, GOOD, KINDS, LIMIT, SINGLE, Bench, Fate, Interruption, Kind, fates, few, keyed

shapes = st.fixed_dictionaries({"concurrency": st.integers(1, 4), "batch_size": st.integers(1, 6)})


def shape_of(kind: Kind, shape: dict[str, int]) -> dict[str, int]:
    """Return the settings of the kind's own."""
    wanted = "concurrency" if kind in SINGLE else "batch_size"
    return {wanted: shape[wanted]}


@pytest.mark.parametrize("kind", KINDS)
@few
@given(fates=fates("good", "bad"), attempts=st.integers(1, 3), shape=shapes)
def test_when_everything_fails_nothing_is_condemned_before_the_outage_limit(
    kind: Kind, fates: list[Fate], attempts: int, shape: dict[str, int]
) -> None:
    """With two keys or more the breaker opens, and probes come until the limit, however few the attempts."""
    planted = keyed([*fates, BAD, BAD], "abc")

    async def main() -> None:
        bench = Bench(planted, kind, attempts=attempts, settings=shape_of(kind, shape), outage=True)
        bench.until = lambda: bench.loop.time() >= LIMIT.total_seconds()
        await bench.live(Interruption("stop", LIMIT.total_seconds()))
        assert bench.report.named("shard.paused")
        assert bench.report.named("record.condemned") == []
        assert bench.dead == []
        assert bench.effects == []

    run_virtual(main)


@pytest.mark.parametrize("kind", KINDS)
@few
@given(fates=fates("good"), attempts=st.integers(2, 3), shape=shapes, minutes=st.sampled_from([0.05, 1.0, 9.0]))
def test_an_outage_that_ends_lets_everything_be_handled(
    kind: Kind, fates: list[Fate], attempts: int, shape: dict[str, int], minutes: float
) -> None:
    """Within a pause after its end the shard goes on, and not one record is condemned."""
    planted = keyed([*fates, GOOD, GOOD], "abc")

    async def main() -> None:
        bench = Bench(planted, kind, attempts=attempts, settings=shape_of(kind, shape), outage=True)
        bench.loop.call_later(minutes * 60, lambda: setattr(bench, "outage", False))
        await bench.live()
        assert bench.dead == []
        assert sorted(bench.effects) == list(range(len(planted)))
        assert bench.out_of_order() == []
        assert bench.loop.time() <= minutes * 60 + 60 + 10 * len(planted)

    run_virtual(main)


def test_an_outage_shorter_than_a_slow_handler_condemns_nobody() -> None:
    """Its last attempt waits for another record's success: two seconds down must not cost a dead letter."""

    async def main() -> None:
        bench = Bench([Fate(key="a"), Fate(key="b", seconds=4.0)], attempts=3, outage=True)
        bench.loop.call_later(3.9, lambda: setattr(bench, "outage", False))
        await bench.live()
        assert bench.dead == []
        assert sorted(bench.effects) == [0, 1]
        assert bench.runs[0] == 3

    run_virtual(main)


@pytest.mark.parametrize("kind", KINDS)
def test_after_the_limit_attempts_count_again(kind: Kind) -> None:
    """A producer whose every record is bad looks like an outage too: waiting for ever would turn into trimming."""

    async def main() -> None:
        bench = Bench(keyed([BAD] * 12, "abcd"), kind, attempts=2)
        await bench.live()
        assert sorted(bench.dead) == list(range(12))
        assert LIMIT.total_seconds() <= bench.loop.time() <= 2 * LIMIT.total_seconds()

    run_virtual(main)


@pytest.mark.parametrize("kind", KINDS)
@few
@given(fates=fates("good", "poison", "bad", "good", most=24), shape=shapes)
def test_poison_among_good_records_never_pauses_for_longer_than_it_takes_to_see_a_success(
    kind: Kind, fates: list[Fate], shape: dict[str, int]
) -> None:
    """While something can succeed the breaker closes at its next probe: pauses stay at their first length."""
    planted = [*fates, *[Fate(key=f"good-{n}") for n in range(30)]]

    async def main() -> None:
        bench = Bench(planted, kind, attempts=2, settings=shape_of(kind, shape), late=30)
        bench.until = lambda: bench.settling.clear and bench.settling.passed == len(planted)
        await bench.live()
        assert set(bench.dead) >= {
            index for index, fate in enumerate(planted) if fate.kind != "good" and fate.failures < 0
        }
        assert set(bench.dead) <= {index for index, fate in enumerate(planted) if fate.deadly(2)}
        for event in bench.report.events:
            if isinstance(event, ShardResumed):
                assert event.paused_seconds <= 4.0

    run_virtual(main)


@pytest.mark.parametrize("kind", KINDS)
def test_a_lone_bad_record_on_a_quiet_shard_reaches_the_queue_after_its_attempts(kind: Kind) -> None:
    """There is nothing else to ask; it must not wait for the outage limit."""

    async def main() -> None:
        bench = Bench([BAD], kind, attempts=3)
        await bench.live()
        assert bench.dead == [0]
        assert bench.runs == {0: 3}
        assert bench.loop.time() < 60
        assert bench.report.named("shard.paused") == []

    run_virtual(main)


@pytest.mark.parametrize("kind", KINDS)
@few
@given(fates=fates("poison", "corrupt", most=20), shape=shapes)
def test_poison_and_defects_are_no_evidence_of_an_outage(kind: Kind, fates: list[Fate], shape: dict[str, int]) -> None:
    """However many there are, a payload that is wrong says nothing about the world: no pause, one attempt each."""

    async def main() -> None:
        bench = Bench([Fate(each.kind, key=each.key) for each in fates], kind, settings=shape_of(kind, shape))
        await bench.live()
        assert sorted(bench.dead) == list(range(len(fates)))
        assert bench.report.named("shard.paused") == []
        assert bench.loop.time() == 0.0
        conditions = [e.condition for e in bench.report.events if isinstance(e, RecordCondemned)]
        assert sorted(conditions) == sorted("Undecodable" if f.kind == "corrupt" else "Poison" for f in fates)

    run_virtual(main)


@pytest.mark.parametrize("kind", KINDS)
def test_unavailable_pauses_the_shard_and_costs_no_attempt(kind: Kind) -> None:
    """Nothing, right now: with a single attempt allowed, the record is still handled when the world is back."""

    async def main() -> None:
        bench = Bench([Fate("down", failures=4)], kind, attempts=1)
        await bench.live()
        assert bench.effects == [0]
        assert bench.runs == {0: 5}
        assert bench.settling.attempts(0) == 0
        pauses = [event for event in bench.report.events if isinstance(event, ShardPaused)]
        assert all(event.probe_after_seconds >= 3 for event in pauses), "retry_after is the shortest pause"
        assert bench.loop.time() >= 12

    run_virtual(main)


def test_poison_nobody_is_named_for_is_halved_in_an_outage_too() -> None:
    """A batch that says poison speaks of a record, not of the world: asked again as a whole it would never end."""

    async def main() -> None:
        planted = [Fate("down", failures=1), Fate("poison", key="b"), Fate(key="c")]
        bench = Bench(planted, "bisect")
        turns = bench.count_turns()
        await bench.live()
        assert bench.dead == [1]
        assert sorted(bench.effects) == [0, 2]
        assert turns() < 500

    run_virtual(main)


def test_unavailable_named_for_one_record_of_a_batch_costs_no_attempt_either() -> None:
    """Whoever names it: `Partial` and `Failed` carry an `Unavailable` as what it is."""

    async def main() -> None:
        bench = Bench([Fate("down", failures=4), GOOD], "partial", attempts=1)
        bench.unavailable_inside = True
        await bench.live()
        assert sorted(bench.effects) == [0, 1]
        assert bench.dead == []

    run_virtual(main)


def test_probes_are_single_rotate_over_lanes_and_come_ever_slower() -> None:
    """One bad record must not hold the shard down for ever: each probe asks another key."""

    async def main() -> None:
        bench = Bench(keyed([GOOD] * 8, "abcdefgh"), outage=True, settings={"concurrency": 4})
        starts: list[tuple[float, str]] = []
        bench.on_run = lambda record: starts.append((bench.loop.time(), record.key))
        bench.until = lambda: False
        await bench.live(Interruption("stop", 120))
        opened = next(event for event in bench.report.events if isinstance(event, ShardPaused))
        assert opened.failing >= 5
        probes = [(at, key) for at, key in starts if at > starts[0][0]]
        assert len({key for _, key in probes}) >= 4
        gaps = [b - a for (a, _), (b, _) in pairwise(probes)]
        assert all(gap > 0 for gap in gaps), "two probes at once"
        assert gaps[-1] > gaps[0]

    run_virtual(main)


def test_a_lone_bad_key_does_not_starve_the_others_while_the_world_is_up() -> None:
    """Its retries wait in its own lane."""

    async def main() -> None:
        bench = Bench(
            [BAD, *[Fate(key=f"k{n}", seconds=0.1) for n in range(50)]], attempts=5, settings={"concurrency": 2}
        )
        await bench.live()
        assert bench.dead == [0]
        assert len(bench.effects) == 50
        assert bench.report.named("shard.paused") == []

    run_virtual(main)


def test_a_record_over_its_age_is_not_tried_again() -> None:
    """`max_age` counts from its arrival; what succeeds at the first attempt is welcome at any age."""

    async def main() -> None:
        from streamkit import Retry

        retry = Retry(attempts=50, initial=timedelta(seconds=1), max_age=timedelta(seconds=60))
        bench = Bench([BAD, *[Fate(key="b", seconds=2) for _ in range(60)]], settings={"retry": retry})
        await bench.live()
        assert bench.dead == [0]
        (condemned,) = (event for event in bench.report.events if isinstance(event, RecordCondemned))
        assert condemned.condition == "RecordAgeExceeded"
        assert condemned.attempts < 50
        assert len(bench.effects) == 60

    run_virtual(main)


def test_old_records_in_an_outage_wait_like_others() -> None:
    """Age alone must not turn an outage into dead letters."""

    async def main() -> None:
        from streamkit import Retry

        retry = Retry(attempts=5, initial=timedelta(seconds=1), max_age=timedelta(seconds=1))
        bench = Bench(keyed([GOOD] * 6, "abc"), settings={"retry": retry}, outage=True)
        bench.loop.call_later(300, lambda: setattr(bench, "outage", False))
        await bench.live()
        assert bench.dead == []
        assert len(bench.effects) == 6

    run_virtual(main)


def test_a_paused_shard_with_nothing_to_probe_sleeps() -> None:
    """Everything held is condemned and the queue is down: the engine must wait for the queue, not spin."""

    async def main() -> None:
        bench = Bench([Fate("down", failures=1, key="a"), Fate("poison", key="a"), Fate("poison", key="b")])
        bench.letters.outage = True
        turns = bench.count_turns()
        bench.loop.call_later(600, lambda: setattr(bench.letters, "outage", False))
        await bench.live()
        assert sorted(bench.dead) == [1, 2]
        assert turns() < 500

    run_virtual(main)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_filter_rejects_leaves_a_paused_shard_asleep(kind: Kind) -> None:
    """A probe that is filtered out proves nothing and leaves nothing to probe: no spinning until records come."""

    async def main() -> None:
        bench = Bench([Fate("down", failures=1)], kind)
        bench.rejected = lambda record: bench.runs.get(0, 0) > 0
        turns = bench.count_turns()
        bench.until = lambda: False
        await bench.live(Interruption("stop", 600))
        assert bench.settling.clear
        assert turns() < 500

    run_virtual(main)


@pytest.mark.parametrize("linger", [0, 120])
def test_a_lingering_batch_in_a_pause_does_not_spin(linger: int) -> None:
    """A probe does not wait for a batch to fill, and the engine does not turn until there is something to do."""

    async def main() -> None:
        bench = Bench([Fate("down", failures=1)], "bisect", settings={"linger": timedelta(seconds=linger)})
        turns = bench.count_turns()
        await bench.live()
        assert bench.effects == [0]
        assert turns() < 500

    run_virtual(main)


@few
@given(first=st.integers(0, 3), second=st.integers(0, 3))
def test_two_failing_records_of_one_key_in_a_batch_do_not_spin(first: int, second: int) -> None:
    """The later one is held behind the earlier, even where its own delay is over."""

    async def main() -> None:
        planted = [Fate("bad", failures=first), Fate("bad", failures=second), Fate(key="b", seconds=0.2)]
        bench = Bench(planted, "partial", attempts=4)
        bench.skips = False
        turns = bench.count_turns()
        await bench.live()
        assert sorted(bench.effects) == [0, 1, 2]
        assert turns() < 500

    run_virtual(main)
