"""Dead letters: durable before the frontier passes, one a record, and what happens to a key that has one."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamkit import Batch, Failed, Poison, Record, Retry
from streamkit.core.settlement import MAX_PARKED, digest
from streamkit.testing import run_virtual
from tests.engine.bench import (
    BAD,
    CORRUPT,
    GOOD,
    KINDS,
    POISON,
    SINGLE,
    Bench,
    Fate,
    Interruption,
    Kind,
    fates,
    few,
    keyed,
)


@pytest.mark.parametrize("kind", SINGLE)
def test_one_bad_record_among_a_hundred_costs_one_dead_letter(kind: Kind) -> None:
    """One delivery of every good record, no effect repeated, exactly one letter; the bad one has its attempts."""

    async def main() -> None:
        planted = keyed([GOOD] * 57 + [BAD] + [GOOD] * 42, [f"key-{n}" for n in range(10)])
        bench = Bench(planted, kind, attempts=3)
        await bench.live()
        assert bench.dead == [57]
        assert sorted(bench.effects) == [n for n in range(100) if n != 57]
        assert bench.runs == {n: 3 if n == 57 else 1 for n in range(100)}
        assert bench.out_of_order() == []

    run_virtual(main)


def test_bisecting_finds_one_bad_record_among_a_hundred_and_never_runs_a_succeeded_half_again() -> None:
    """Seven halvings find it; every record of a half that succeeded is handled once, the bad one has its attempts."""

    async def main() -> None:
        planted = keyed([GOOD] * 57 + [BAD] + [GOOD] * 42, [f"key-{n}" for n in range(100)])
        bench = Bench(planted, "bisect", attempts=3)
        await bench.live()
        assert bench.dead == [57]
        assert sorted(bench.effects) == [n for n in range(100) if n != 57]
        assert bench.runs[99] == 1, "the bad record comes first: what follows was never reached before its half"
        assert sum(bench.runs.values()) < 300

    run_virtual(main)


@pytest.mark.parametrize("kind", KINDS)
@few
@given(
    fates=fates("good", "poison", "corrupt", "bad"), down=st.sampled_from([0.0, 1.0, 90.0]), refused=st.integers(0, 3)
)
def test_a_queue_that_is_down_stops_the_frontier_and_loses_nothing(
    kind: Kind, fates: list[Fate], down: float, refused: int
) -> None:
    """Nothing passes a record whose letter is not durable; when the queue is back, every letter is there once."""

    async def main() -> None:
        bench = Bench(fates, kind)
        bench.letters.outage = True
        bench.letters.refuse(refused)
        bench.loop.call_later(down, lambda: setattr(bench.letters, "outage", False))
        await bench.live(Interruption("cancel", down / 2))
        assert bench.dead == []
        before = bench.settling.frontier
        bad = [
            each.position
            for each, fate in zip(bench.records, fates, strict=True)
            if fate.deadly(1) and (fate.failures < 0 or fate.kind == "corrupt")
        ]
        assert before is None or not bad or int(before.sequence_number) <= int(bad[0].sequence_number)
        await bench.live()
        assert set(bench.dead) >= {n for n, fate in enumerate(fates) if fate.kind == "corrupt"}
        assert len(bench.dead) == len(set(bench.dead))
        assert set(bench.dead) | set(bench.effects) == set(range(len(fates)))

    run_virtual(main)


def test_an_answer_of_the_queue_that_was_lost_repeats_the_letter_and_nothing_else() -> None:
    """At least one letter: the queue, or the reader of letters, knows it by its id."""

    async def main() -> None:
        bench = Bench([POISON, Fate(key="b")])
        bench.letters.lose_answers(2)
        await bench.live()
        assert bench.dead == [0, 0, 0]
        assert bench.runs == {0: 1, 1: 1}

    run_virtual(main)


def test_letters_the_queue_took_do_not_wait_for_those_it_refused() -> None:
    """Their lanes go on at once."""

    async def main() -> None:
        bench = Bench([Fate("poison", key="a"), Fate("poison", key="b"), Fate(key="b")])
        bench.letters.refuse(1)
        runs: list[float] = []
        bench.on_run = lambda record: runs.append(bench.loop.time()) if bench.index(record) == 2 else None
        await bench.live()
        assert runs == [0.0]
        assert bench.loop.time() > 0.0

    run_virtual(main)


def test_a_consumer_without_a_queue_halts_on_a_condemned_record() -> None:
    """Loudly, with everything before it settled and everything of other keys untouched from then on (rule 19)."""

    async def main() -> None:
        bench = Bench([GOOD, POISON, GOOD], settings={"dead_letters": None})
        await bench.live()
        assert bench.settling.halted is not None
        assert len(bench.report.named("shard.halted")) == 1
        assert bench.effects == [0]
        assert bench.settling.frontier == bench.records[0].position

    run_virtual(main)


@pytest.mark.parametrize("kind", KINDS)
def test_by_default_later_records_of_a_dead_lettered_key_go_on(kind: Kind) -> None:
    """`continue`: one bad record costs one dead letter."""

    async def main() -> None:
        bench = Bench([POISON, GOOD, Fate(key="b"), GOOD], kind)
        await bench.live()
        assert bench.dead == [0]
        assert sorted(bench.effects) == [1, 2, 3]

    run_virtual(main)


@pytest.mark.parametrize("kind", KINDS)
@few
@given(planted=fates("good", "good", "poison", "corrupt"), end=st.none() | st.sampled_from([0.0, 0.5, 1.0, 2.0]))
def test_parked_keys_follow_into_the_queue_in_order_and_survive_takeover(
    kind: Kind, planted: list[Fate], end: float | None
) -> None:
    """`park`: all later records of the key get letters too, whoever owns the shard by then (rule 21)."""
    lasting = [replace(fate, failures=-1) for fate in planted]

    async def main() -> None:
        bench = Bench(lasting, kind, settings={"on_dead_letter": "park"})
        if end is not None:
            await bench.live(Interruption("stop", end))
        await bench.live()
        first: dict[str, int] = {}
        for n, fate in enumerate(planted):
            if fate.deadly(1):
                first.setdefault(fate.key, n)
        expected = {n for n, fate in enumerate(planted) if n >= first.get(fate.key, len(planted))}
        assert set(bench.dead) == expected
        assert set(bench.parked) == {digest(planted[n].key) for n in bench.dead}
        for key in set(bench.parked):
            line = [n for n in bench.dead if digest(planted[n].key) == key]
            assert line == sorted(line), "letters of a parked key out of order"

    run_virtual(main)


def test_too_many_parked_keys_halt_the_shard() -> None:
    """The row is bounded: over a hundred keys it is no longer a matter of single keys."""

    async def main() -> None:
        planted = [Fate("poison", key=f"key-{n}") for n in range(MAX_PARKED + 5)]
        bench = Bench(planted, settings={"on_dead_letter": "park"})
        await bench.live()
        assert bench.settling.halted is not None

    run_virtual(main)


def test_an_earlier_record_of_a_key_is_not_parked_by_a_later_one() -> None:
    """A batch may name a culprit before what stands in front of it is done: that one is tried to its own end first."""

    async def main() -> None:
        bench = Bench(keyed([GOOD, POISON, GOOD], "aaa"), "naming", settings={"on_dead_letter": "park"})
        calls: list[list[int]] = []

        async def handle(batch: Batch) -> None:
            calls.append([bench.index(each) for each in batch])
            if len(calls) == 1:
                raise Failed(batch[1], Poison("bad"))
            if len(calls) == 2:
                raise ValueError("not yet")

        bench.consumer = bench.consumer.using(handler=handle)
        await bench.live()
        assert calls == [[0, 1, 2], [0], [0]]
        assert bench.dead == [1, 2]

    run_virtual(main)


@pytest.mark.parametrize("kind", KINDS)
def test_halt_stops_the_shard_after_the_letter(kind: Kind) -> None:
    """`halt`: nothing that follows runs until a person acts; the letter itself is durable."""

    async def main() -> None:
        settings: dict[str, object] = {"on_dead_letter": "halt"}
        settings |= {"concurrency": 1} if kind in SINGLE else {"batch_size": 1}
        bench = Bench([GOOD, POISON, GOOD, GOOD], kind, settings=settings)
        await bench.live()
        assert bench.dead == [1]
        assert bench.effects == [0]
        assert bench.settling.halted is not None

    run_virtual(main)


def test_a_corrupt_record_is_one_letter_and_never_reaches_the_handler() -> None:
    """Not even the filter or the business key see it."""

    async def main() -> None:
        seen: list[int] = []
        bench = Bench([GOOD, CORRUPT, GOOD])

        def look(record: Record) -> bool:
            seen.append(bench.index(record))
            return False

        bench.rejected = look
        await bench.live()
        assert bench.dead == [1]
        assert seen == [0, 2]
        assert bench.runs == {0: 1, 2: 1}

    run_virtual(main)


def test_a_letter_says_what_happened() -> None:
    """Why, how often, by whom, and the record as it was."""

    async def main() -> None:
        bench = Bench([BAD], settings={"retry": Retry(attempts=3, initial=timedelta(seconds=1)), "code_version": "7"})
        await bench.live()
        (letter,) = bench.letters.letters
        assert letter.record == bench.records[0]
        assert (letter.consumer, letter.code_version, letter.stream_arn) == ("bench", "7", "arn")
        assert letter.reason == "ValueError: record 0"
        assert (letter.verdict.condition, letter.verdict.attempts) == ("RetryAttemptsExhausted", 3)
        assert letter.verdict.cause is not None
        assert "on_record" in letter.verdict.cause.traceback
        assert letter.condemned == bench.clock.now().timestamp()

    run_virtual(main)
