"""A destination for successes: who is settled was told of, whatever the queue does (rules 16, 19)."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from streamkit import Batch, ConfigurationError, Kinesis, Record, Sqs, Transaction, consumer
from streamkit.testing import run_virtual
from tests.engine.bench import GOOD, KINDS, POISON, Bench, Fate, Interruption, Kind, keyed


@pytest.mark.parametrize("kind", KINDS)
def test_every_record_that_was_handled_is_told_once_and_no_other(kind: Kind) -> None:
    """Where nothing goes wrong with the queue. A batch that names who is done tells of those; a dead letter of none."""

    async def main() -> None:
        bench = Bench(keyed([GOOD, GOOD, POISON, GOOD, GOOD, GOOD], "ab"), kind, tells=True)
        await bench.live()
        assert Counter(bench.told) == Counter(bench.effects)
        assert bench.dead == [2]

    run_virtual(main)


@pytest.mark.parametrize("kind", KINDS)
def test_a_queue_that_takes_nothing_stops_progress_and_repeats_no_effect(kind: Kind) -> None:
    """Nothing is settled meanwhile, nothing skipped; when it is back, each is told, and no handler ran again."""

    async def main() -> None:
        bench = Bench([Fate(key=str(index)) for index in range(12)], kind, tells=True)
        bench.successes.outage = True
        seen: list[set[int]] = []

        def back() -> None:
            seen.append(set(bench.settled))
            bench.successes.outage = False

        bench.loop.call_later(300, back)
        await bench.live()
        assert seen == [set()]
        assert sorted(bench.told) == sorted(bench.effects) == list(range(12))
        delayed = bench.report.named("successes.delayed")
        assert 5 <= len(delayed) <= 100, "it neither gives up nor hammers"

    run_virtual(main)


def test_records_told_together_are_few_requests() -> None:
    """Those that wait at the same time go ten at a time."""

    async def main() -> None:
        bench = Bench(
            [Fate(key=str(index), seconds=1.0) for index in range(60)], settings={"concurrency": 60}, tells=True
        )
        await bench.live()
        assert sorted(bench.told) == list(range(60))
        assert bench.successes.requests <= 7

    run_virtual(main)


def test_what_waits_is_bounded_by_the_runners() -> None:
    """While the queue takes nothing, no more handlers run than may at once."""

    async def main() -> None:
        bench = Bench([Fate(key=str(index)) for index in range(100)], settings={"concurrency": 4}, tells=True)
        bench.successes.outage = True
        await bench.live(Interruption("cancel", 60))
        assert len(bench.effects) == 4
        assert bench.settled == {}

    run_virtual(main)


def test_only_what_was_refused_is_sent_again() -> None:
    """The others are durable, and settled with it."""

    async def main() -> None:
        bench = Bench([Fate(key=str(index), seconds=1.0) for index in range(8)], tells=True)
        bench.successes.refuse(3)
        await bench.live()
        assert sorted(bench.told) == list(range(8))
        assert bench.successes.requests == 2

    run_virtual(main)


def test_the_messages_of_a_key_come_in_its_order() -> None:
    """A record runs only when the one before it is told of."""

    async def main() -> None:
        bench = Bench(keyed([Fate(seconds=1.0)] * 12, "abc"), tells=True)
        bench.successes.refuse(2)
        await bench.live()
        for key in range(3):
            assert [each for each in bench.told if each % 3 == key] == list(range(key, 12, 3))

    run_virtual(main)


def test_a_lost_lease_tells_nobody_any_more() -> None:
    """Its records are the successor's, which handles and tells of them."""

    async def main() -> None:
        bench = Bench([Fate(key=str(index)) for index in range(4)], tells=True)
        bench.successes.outage = True
        bench.loop.call_later(20, lambda: setattr(bench.successes, "outage", False))
        await bench.live(Interruption("fence", 10))
        assert (bench.told, bench.settled) == ([], {})
        await bench.live()
        assert sorted(bench.told) == list(range(4))

    run_virtual(main)


def test_a_queue_that_is_down_is_no_time_out_of_the_handler() -> None:
    """The handler had returned: nothing is held against its record."""

    async def main() -> None:
        bench = Bench([GOOD, GOOD], tells=True)
        bench.successes.outage = True
        bench.loop.call_later(200, lambda: setattr(bench.successes, "outage", False))
        await bench.live()
        assert bench.report.named("handler.timed_out") == []
        assert (bench.effects, bench.dead) == ([0, 1], [])

    run_virtual(main)


async def test_a_transactional_consumer_has_none() -> None:
    """Its commit is the checkpoint: nothing could be told before it that is sure to happen."""

    async def counts(record: Record, *, tx: Transaction) -> None:
        del record, tx

    with pytest.raises(ConfigurationError, match=r"on_success: expected none with mode 'transactional'.*by `tx`"):
        consumer("counts", source=Kinesis("s"), mode="transactional", on_success=Sqs("done"))(counts)


async def test_settling_in_memory_tells_nobody() -> None:
    """`handled` says who was."""

    @consumer.batch("orders", source=Kinesis("orders"), on_success=Sqs("done"))
    async def orders(batch: Batch) -> None:
        await asyncio.sleep(0)
        assert len(batch) == 2

    assert len((await orders.settle([1, 2])).handled) == 2
