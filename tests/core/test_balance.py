"""Balance: by throughput, then by count; it comes to rest, and noise does not wake it (rule 6)."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamkit.core.balance import (
    AT_ONCE,
    SMOOTHING_SECONDS,
    STICKY,
    WARM_UP_SECONDS,
    Cause,
    Meter,
    deal,
    level_of,
    shares,
    transfers,
    weights,
)

Owners = dict[str, str]
Levels = dict[str, int | None]


@st.composite
def fleets(draw: st.DrawFn) -> tuple[list[str], Owners, Levels]:
    """Up to six workers, up to thirty shards of any weight, held anyhow."""
    workers = [f"w{number}" for number in range(draw(st.integers(1, 6)))]
    most = draw(st.sampled_from([0, 4, 40, 100]))
    owners, levels = Owners(), Levels()
    for number in range(draw(st.integers(0, 30))):
        owners[f"s{number:02d}"] = draw(st.sampled_from(workers))
        levels[f"s{number:02d}"] = draw(st.none() | st.integers(0, most))
    return workers, owners, levels


def moved(workers: list[str], owners: Owners, levels: Mapping[str, int | None]) -> tuple[Owners, dict[str, Cause]]:
    """Carry out what the plan says; return the owners after it, and why which shard moved."""
    found = transfers(shares(workers, owners, weights(levels)))
    for each in found:
        assert owners[each.shard] == each.giver != each.taker
    assert len({each.shard for each in found}) == len(found)
    return owners | {each.shard: each.taker for each in found}, {each.shard: each.cause for each in found}


def loads(workers: list[str], owners: Owners, levels: Mapping[str, int | None]) -> list[int]:
    """Return what the shards of each worker weigh together."""
    return [share.load for share in shares(workers, owners, weights(levels)).values()]


@given(fleets())
def test_plans_come_to_rest_and_never_make_it_worse(fleet: tuple[list[str], Owners, Levels]) -> None:
    """The sum of squared loads never grows, the peak neither; one plan does nearly all, and soon nothing moves."""
    workers, owners, levels = fleet
    for _ in range(12):
        before = loads(workers, owners, levels)
        owners, causes = moved(workers, owners, levels)
        after = loads(workers, owners, levels)
        assert sum(load**2 for load in after) <= sum(load**2 for load in before)
        assert max(after) <= max(before)
        if "throughput" in causes.values():
            assert sum(load**2 for load in after) < sum(load**2 for load in before)
        if not causes:
            return
    pytest.fail("moves without end")


@given(fleets(), st.randoms(use_true_random=False))
def test_balance_does_not_depend_on_the_order_of_anything(
    fleet: tuple[list[str], Owners, Levels], order: random.Random
) -> None:
    """Everybody computes the same from the same rows, in whatever order they came."""
    workers, owners, levels = fleet
    shuffled = sorted(owners, key=lambda _: order.random())
    again = shares(
        sorted(workers, key=lambda _: order.random()),
        {shard: owners[shard] for shard in shuffled},
        weights({shard: levels[shard] for shard in shuffled}),
    )
    assert transfers(again) == transfers(shares(workers, owners, weights(levels)))


@given(st.integers(1, 6), st.integers(0, 40), st.randoms(use_true_random=False), st.none() | st.integers(0, 50))
def test_equal_shards_are_counted(workers: int, count: int, chance: random.Random, level: int | None) -> None:
    """Equal or unknown rates: counts differ by one at most, with the fewest moves there are, in one plan."""
    names = [f"w{number}" for number in range(workers)]
    owners = {f"s{number:02d}": chance.choice(names) for number in range(count)}
    levels = dict.fromkeys(owners, level)
    held = sorted((sum(owner == name for owner in owners.values()) for name in names), reverse=True)
    fair, more = divmod(count, workers)
    needed = sum(max(0, load - fair - (index < more)) for index, load in enumerate(held))
    after, causes = moved(names, owners, levels)
    counts = [sum(owner == name for owner in after.values()) for name in names]
    assert max(counts) - min(counts) <= 1
    assert len(causes) == needed


def test_a_skewed_fleet_becomes_even_by_what_its_shards_bring() -> None:
    """Six each by count, and one worker has all the work: three moves for it, and it is shared."""
    owners = {f"s{number:02d}": "ab"[number % 2] for number in range(12)}
    levels: Levels = {shard: 20 if owner == "a" else 0 for shard, owner in owners.items()}
    after, causes = moved(["a", "b"], owners, levels)
    assert sum(load for load in loads(["a", "b"], after, levels)) == 6 * weights({"x": 20})["x"]
    assert max(loads(["a", "b"], after, levels)) == 3 * weights({"x": 20})["x"]
    assert list(causes.values()).count("throughput") == 3
    assert sorted(after.values()).count("a") == 6, "the count is as even, by shards that bring nothing"


def test_a_hot_shard_stays_where_it_is_and_drives_nobody_out() -> None:
    """Nothing can lower the peak: no move at all, tick after tick."""
    owners = {"hot": "a", **{f"s{number}": "abc"[number % 3] for number in range(9)}}
    levels: Levels = {"hot": 60, **{f"s{number}": 4 for number in range(9)}}
    assert moved(["a", "b", "c"], owners, levels)[1] == {}


def test_a_hot_shard_does_not_keep_the_others_from_their_balance() -> None:
    """The light ones that lie together are spread over the others."""
    owners = {"hot": "a", **{f"s{number}": "b" for number in range(8)}}
    levels: Levels = {"hot": 40, **{f"s{number}": 20 for number in range(8)}}
    after, _ = moved(["a", "b", "c"], owners, levels)
    assert after["hot"] == "a"
    assert sorted(owner for shard, owner in after.items() if shard != "hot") == ["b"] * 4 + ["c"] * 4


def test_a_newcomer_is_given_its_share_at_once() -> None:
    """A hundred workers with a hundred shards each: every one of them gives one, in one plan."""
    workers = [f"w{number:03d}" for number in range(101)]
    owners = {f"s{number:05d}": workers[number % 100] for number in range(10_000)}
    for levels in (dict.fromkeys(owners), dict.fromkeys(owners, 30)):
        found = transfers(shares(workers, owners, weights(levels)))
        assert len(found) == AT_ONCE
        assert {each.taker for each in found} == {"w100"}
        assert len({each.giver for each in found}) == AT_ONCE


def test_no_worker_gives_or_gets_more_than_it_can_at_once() -> None:
    """Each shard stands still from its drain to its take: so a large surplus goes in several plans."""
    owners = {f"s{number:04d}": "a" for number in range(1_000)}
    rounds = 0
    while len(set(owners.values())) < 2 or max(map([*owners.values()].count, "ab")) > 500:
        owners, causes = moved(["a", "b"], owners, dict.fromkeys(owners))
        assert 0 < len(causes) <= AT_ONCE
        rounds += 1
    assert rounds == 500 / AT_ONCE
    assert moved(["a", "b"], owners, dict.fromkeys(owners))[1] == {}


@pytest.mark.parametrize("seed", range(12))
def test_noise_moves_nothing(seed: int) -> None:
    """Each second brings each shard between nothing and twice its mean: once it is even, it stays as it is."""
    chance = random.Random(seed)
    workers = [f"w{number}" for number in range(chance.randint(2, 8))]
    mean = {f"s{number:02d}": 2 ** chance.uniform(0, 10) for number in range(chance.randint(8, 60))}
    owners = dict.fromkeys(mean, workers[0])
    meters = {shard: Meter(None, now=0.0) for shard in mean}
    counts = dict.fromkeys(mean, 0)
    early = late = 0
    for second in range(1, 3_600):
        for shard, meter in meters.items():
            counts[shard] += round(mean[shard] * chance.uniform(0, 2))
            meter.note(counts[shard], float(second))
        if second % 10 == 0:
            owners, causes = moved(workers, owners, {shard: meter.level for shard, meter in meters.items()})
            early, late = (early + len(causes), late) if second < 600 else (early, late + len(causes))
    assert early
    assert late <= len(mean) / 5


def test_a_shard_that_nobody_measured_weighs_as_much_as_the_others_do() -> None:
    """On average; where nobody measured anything, only counts count."""
    weight = weights({"new": None} | {f"s{number}": number for number in range(10)})
    assert weight["new"] == sum(weight[f"s{number}"] for number in range(10)) // 10
    assert set(weights({"a": 1, "b": 9, "c": None}).values()) == {0}, "half the truth leads to moves and back"
    assert weights({"a": None, "b": None}) == {"a": 0, "b": 0}


def test_what_is_free_is_dealt_to_the_least_loaded_the_heaviest_first() -> None:
    """So that the light ones fill what the heavy ones leave uneven."""
    levels: Levels = {"a": 20, "b": 16, "c": 12, "d": 4}
    weight = weights(levels)
    takers = deal(levels, shares(["x", "y"], {}, weight), weight)
    assert takers == {"a": "x", "b": "y", "c": "y", "d": "y"}


# Measuring


def test_a_rate_is_told_once_it_was_measured_long_enough() -> None:
    """Until then the level is that of the owner before, if there was one."""
    for before in (None, 7):
        meter = Meter(before, now=100.0)
        for second in range(1, int(WARM_UP_SECONDS)):
            meter.note(50 * second, 100.0 + second)
        assert meter.level == before
        meter.note(50 * int(WARM_UP_SECONDS), 100.0 + WARM_UP_SECONDS)
        assert meter.level == level_of(50.0)


def test_a_rate_follows_what_comes_slowly() -> None:
    """A burst of a few seconds hardly shows; what lasts does, within a few time constants."""
    meter, count, now = Meter(None, now=0.0), 0, 0.0
    for _ in range(600):
        now, count = now + 1, count + 100
        meter.note(count, now)
    assert meter.level == level_of(100.0)
    meter.note(count + 300, now + 1)
    assert meter.level == level_of(100.0)
    for _ in range(int(5 * SMOOTHING_SECONDS)):
        now, count = now + 1, count + 1_000
        meter.note(count, now)
    assert meter.level is not None
    assert abs(meter.level - level_of(1_000.0)) <= 1


def test_a_clock_that_stands_still_is_no_measurement() -> None:
    """Two looks at the same moment say nothing."""
    meter = Meter(5, now=1.0)
    meter.note(1_000_000, 1.0)
    assert meter.level == 5


@given(st.floats(0, 1e9), st.integers(0, 100))
def test_a_level_is_kept_until_the_rate_has_clearly_left_it(rate: float, was: int) -> None:
    """A fifth more each; what swings around the border between two levels does not swing between them."""
    level = level_of(rate, was=was)
    assert level in (was, level_of(rate))
    assert 2 ** ((level - STICKY) / 4) - 1 <= rate + 1e-6 or level == 0
    assert rate <= 2 ** ((level + STICKY) / 4) - 1 + 1e-6 * rate or level == 100


def test_a_rate_that_swings_around_a_border_keeps_its_level() -> None:
    """3 % to either side of it: nobody is told anything, so nobody moves a shard for it."""
    border = 2 ** (20.5 / 4) - 1
    level = 20
    for swing in (1.03, 0.97) * 5:
        level = level_of(border * swing, was=level)
        assert level == 20
