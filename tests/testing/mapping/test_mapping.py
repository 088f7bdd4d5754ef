"""How a mapping polls and invokes: batches, windows, concurrency, throttles, twins, and an operator's hand."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from streamkit.testing import World
from streamkit.testing.mapping import (
    Context,
    EventSourceMapping,
    Faults,
    KinesisFeed,
    LambdaFunction,
    Terms,
    run_mapped,
)
from tests.testing.mapping.stage import Handled, delivered, mapped, numbers_of


def test_a_batch_has_at_most_batch_size_records() -> None:
    """In stream order, none left out."""
    handled = Handled()
    delivered(handled.plain, 25, terms=Terms(batch_size=10))
    assert handled.calls == [[*range(10)], [*range(10, 20)], [*range(20, 25)]]


def test_a_window_waits_for_more_records_and_ends_when_the_batch_is_full() -> None:
    """Ten records, one a second, and a window of three and a half; then ten at once."""
    handled = Handled()

    async def main(world: World, mapping: EventSourceMapping) -> None:
        for number in range(10):
            world.stream.put("key", number)
            await asyncio.sleep(1)
        await mapping.settled()
        for number in range(10, 20):
            world.stream.put("key", number)
        await mapping.settled()

    mapped(handled.plain, main, terms=Terms(batch_size=10, window=timedelta(seconds=3.5)))
    assert handled.effects == [*range(20)]
    assert len(handled.calls) <= 5
    assert handled.calls[-1] == [*range(10, 20)]


def test_an_event_has_at_most_six_megabytes() -> None:
    """Five records of 2 MiB, in base64: two fit."""
    sizes: list[int] = []

    def handler(event: dict[str, Any], _context: Context) -> None:
        sizes.append(len(event["Records"]))

    async def main(world: World, mapping: EventSourceMapping) -> None:
        world.kinesis.update_max_record_size(stream_arn=world.kinesis.arn("stream"), max_record_size_in_kib=10240)
        for _ in range(5):
            world.stream.put("key", b"x" * 2 * 1024 * 1024)
        await mapping.settled()

    mapped(handler, main)
    assert sizes == [2, 2, 1]


def test_a_record_too_large_for_any_event_blocks_its_shard_until_it_expires() -> None:
    """Lambda cannot invoke with it, and what it cannot invoke with it retries until the record expires."""
    handled = Handled()

    async def main(world: World, mapping: EventSourceMapping) -> None:
        world.kinesis.update_max_record_size(stream_arn=world.kinesis.arn("stream"), max_record_size_in_kib=10240)
        world.stream.put("key", b"x" * 5 * 1024 * 1024)
        world.stream.put("key", 1)
        await mapping.settled()

    terms = Terms(maximum_record_age=timedelta(seconds=300), maximum_retry_attempts=0)
    _, mapping = mapped(handled.plain, main, terms=terms)
    assert [discard.condition for discard in mapping.given_up] == ["RecordAgeExceeded", "RecordAgeExceeded"]
    assert handled.effects == []


@pytest.mark.parametrize("factor", [1, 2, 4, 10])
def test_records_of_a_key_stay_in_order_and_batches_of_a_shard_run_at_once(factor: int) -> None:
    """With a factor above 1 several invocations of one shard are under way at a time, never two of one key."""
    running: dict[str, int] = {}
    most = 0
    seen: list[tuple[str, int]] = []

    async def handler(event: dict[str, Any], _context: Context) -> None:
        nonlocal most
        keys = {entry["kinesis"]["partitionKey"] for entry in event["Records"]}
        assert not keys & running.keys()
        running.update(dict.fromkeys(keys, 1))
        most = max(most, len(mapping_keys(running, factor)))
        await asyncio.sleep(1)
        seen.extend(zip((e["kinesis"]["partitionKey"] for e in event["Records"]), numbers_of(event), strict=True))
        for key in keys:
            del running[key]

    mapping = delivered(handler, 200, terms=Terms(batch_size=7, parallelization_factor=factor), keys=40)
    assert {each.outcome.kind for each in mapping.invocations} == {"answered"}
    assert sorted(number for _, number in seen) == [*range(200)]
    by_key: dict[str, list[int]] = {}
    for key, number in seen:
        by_key.setdefault(key, []).append(number)
    assert all(first < second for line in by_key.values() for first, second in pairwise(line))
    assert most == factor


def mapping_keys(running: dict[str, int], factor: int) -> set[int]:
    """Return the lanes of the keys that are under way."""
    from streamkit.testing.mapping.lanes import lane_of

    return {lane_of(key, factor) for key in running}


def test_throttled_invocations_never_count_as_retries() -> None:
    """No retry is allowed, nine of ten invocations are throttled, and nothing is given up."""
    handled = Handled()
    mapping = delivered(handled.plain, 20, terms=Terms(maximum_retry_attempts=0), faults=Faults(throttled=0.9))
    assert handled.effects == [*range(20)]
    assert mapping.discards == []
    assert "throttled" in {each.outcome.kind for each in mapping.invocations}


def test_reserved_concurrency_throttles_what_comes_beyond() -> None:
    """Ten lanes, two places: two at a time at most, and nothing lost."""
    most = running = 0
    done: list[int] = []

    async def handler(event: dict[str, Any], _context: Context) -> None:
        nonlocal most, running
        running += 1
        most = max(most, running)
        await asyncio.sleep(1)
        running -= 1
        done.extend(numbers_of(event))

    async def main() -> None:
        world = World()
        for number in range(60):
            world.stream.put(f"key-{number}", number)
        function = LambdaFunction(lambda: handler, concurrency=2)
        terms = Terms(batch_size=2, parallelization_factor=10, maximum_retry_attempts=0)
        async with EventSourceMapping(KinesisFeed(world.stream), function, terms) as mapping:
            await mapping.settled()
        assert mapping.discards == []

    run_mapped(main)
    assert sorted(done) == [*range(60)]
    assert most == 2


def test_a_lost_answer_delivers_the_batch_again() -> None:
    """The work was done; nobody knows."""
    handled = Handled()
    mapping = delivered(handled.plain, 30, terms=Terms(batch_size=5), faults=Faults(lost=0.5), keys=1)
    assert len(handled.effects) > 30
    assert [*dict.fromkeys(handled.effects)] == [*range(30)]
    assert mapping.discards == []


def test_twins_run_the_same_batch_at_once() -> None:
    """Two invocations with the same records, one of which the mapping listens to."""
    handled = Handled()
    faults = Faults(twins=1.0, within=timedelta(seconds=0))
    mapping = delivered(handled.plain, 10, terms=Terms(batch_size=5), faults=faults)
    assert sorted(handled.effects) == sorted([*range(10)] * 2)
    assert [each.heard for each in mapping.invocations].count(True) == 2
    assert {*mapping.deliveries.values()} == {2}


def test_disabled_and_enabled_it_goes_on_from_its_checkpoint() -> None:
    """Nothing is lost, and with one lane and a calm stop nothing is repeated."""
    handled = Handled()

    async def main(world: World, mapping: EventSourceMapping) -> None:
        for number in range(10):
            world.stream.put("key", number)
        await mapping.settled()
        await mapping.disable()
        for number in range(10, 20):
            world.stream.put("key", number)
        await asyncio.sleep(60)
        assert handled.effects == [*range(10)]
        mapping.enable()
        await mapping.settled()

    mapped(handled.plain, main)
    assert handled.effects == [*range(20)]


def test_stopped_abruptly_with_several_lanes_what_ran_ahead_of_the_checkpoint_comes_again() -> None:
    """One lane is slow; the others' work lies beyond the checkpoint and is delivered once more."""
    effects: list[int] = []

    async def handler(event: dict[str, Any], _context: Context) -> None:
        numbers = numbers_of(event)
        await asyncio.sleep(20 if 0 in numbers else 0.1)
        effects.extend(numbers)

    async def main(world: World, mapping: EventSourceMapping) -> None:
        for number in range(40):
            world.stream.put(f"key-{number}", number)
        await asyncio.sleep(5)
        await mapping.disable(abruptly=True)
        mapping.enable()
        await mapping.settled()

    mapped(handler, main, terms=Terms(batch_size=100, parallelization_factor=4))
    assert {*effects} == {*range(40)}
    assert len(effects) > 60


def test_children_of_a_reshard_wait_for_their_parents() -> None:
    """Order per key holds over a split, also while the parent's last batch is retried."""
    effects: list[tuple[str, int]] = []
    failures = 3

    def handler(event: dict[str, Any], _context: Context) -> None:
        nonlocal failures
        if 9 in numbers_of(event) and failures:
            failures -= 1
            raise RuntimeError("not now")
        effects.extend(zip((entry["eventID"] for entry in event["Records"]), numbers_of(event), strict=True))

    async def main(world: World, mapping: EventSourceMapping) -> None:
        for number in range(10):
            world.stream.put("key", number)
        world.stream.split("shardId-000000000000")
        for number in range(10, 20):
            world.stream.put("key", number)
        await mapping.settled()

    mapped(handler, main)
    assert [number for _, number in effects] == [*range(20)]
    assert len({shard.partition(":")[0] for shard, _ in effects}) == 2


def test_the_same_seed_gives_the_same_run_and_another_another() -> None:
    """A failure found once is found again."""
    faults = Faults(throttled=0.2, lost=0.2, twins=0.2, crashed=0.1, latency=timedelta(seconds=0.2))

    def history(seed: int) -> list[tuple[float, str, int]]:
        terms = Terms(batch_size=3, parallelization_factor=3, maximum_retry_attempts=3)
        mapping = delivered(Handled(bad=[7]).plain, 30, terms=terms, faults=faults, seed=seed)
        return [(each.ended, each.outcome.kind, len(each.numbers)) for each in mapping.invocations]

    assert history(1) == history(1)
    assert history(1) != history(2)
