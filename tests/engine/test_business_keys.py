"""Filters and business keys: what is settled without its handler (rules 23, 26)."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamkit import Record
from streamkit.core.ledger import Claimant, Holding, Tenure
from streamkit.core.settlement import Outcome
from streamkit.errors import Unanswered
from streamkit.testing import run_virtual
from tests.engine.bench import GOOD, KINDS, Bench, Fate, Interruption, Kind, fates, few, keyed

EVENTS = 3


def event_of(record: Record) -> str:
    """Return the business key: several records are the same event, put again."""
    return f"event-{int(record.data) % EVENTS}"


@pytest.mark.parametrize("kind", KINDS)
@few
@given(planted=fates("good", "poison", "corrupt"), parity=st.sampled_from([0, 1]))
def test_what_a_filter_rejects_is_settled_and_counted_without_its_handler(
    kind: Kind, planted: list[Fate], parity: int
) -> None:
    """`where` sees every sound record once; the frontier passes what it rejects."""

    async def main() -> None:
        bench = Bench(planted, kind)
        bench.rejected = lambda record: bench.index(record) % 2 == parity
        await bench.live()
        filtered = {n for n, fate in enumerate(planted) if n % 2 == parity and fate.kind != "corrupt"}
        assert filtered == {n for n, outcome in bench.settled.items() if outcome is Outcome.FILTERED}
        assert bench.tally.filtered == len(filtered)
        assert not filtered & (bench.runs.keys() | set(bench.dead))
        assert bench.settling.clear

    run_virtual(main)


def test_a_filter_that_fails_is_a_failure_of_its_record() -> None:
    """Retried and condemned like the handler's own."""

    async def main() -> None:
        bench = Bench(keyed([GOOD] * 4, "ab"), "bisect")

        def where(record: Record) -> bool:
            if bench.index(record) == 1:
                raise LookupError("no such thing")
            return True

        bench.consumer = bench.consumer.using(where=where)
        await bench.live()
        assert bench.dead == [1]
        assert sorted(bench.effects) == [0, 2, 3]
        assert (
            bench.letters.letters[0].reason == "LookupError: 'no such thing'"
            or "no such thing" in bench.letters.letters[0].reason
        )

    run_virtual(main)


@pytest.mark.parametrize("kind", KINDS)
@few
@given(
    planted=fates("good", most=12),
    ends=st.lists(
        st.builds(Interruption, st.sampled_from(["stop", "cancel", "crash"]), st.sampled_from([0.25, 0.5, 1.0, 2.5])),
        max_size=2,
    ),
)
def test_the_same_event_put_twice_takes_effect_once_whatever_interrupts(
    kind: Kind, planted: list[Fate], ends: list[Interruption]
) -> None:
    """The claim holds the record's id: the claimant runs again after a crash, the others are duplicates."""

    async def main() -> None:
        bench = Bench(planted, kind, settings={"dedupe_key": event_of})
        for end in ends:
            await bench.live(end)
        await bench.live()
        events = {n % EVENTS for n in range(len(planted))}
        assert {n % EVENTS for n in bench.effects} == events, "an event was lost"
        assert len(set(bench.effects)) == len(events), "two records of one event took effect"

    run_virtual(main)


def test_a_dead_letter_releases_the_claim() -> None:
    """The same event, put again, may succeed where the first one could not."""

    async def main() -> None:
        bench = Bench([Fate("poison"), *[GOOD] * 5], settings={"dedupe_key": event_of})
        await bench.live()
        assert bench.dead == [0]
        assert sorted(bench.effects) == [1, 2, 3]
        assert bench.tally.duplicates == 2

    run_virtual(main)


@pytest.mark.parametrize("kind", KINDS)
def test_a_ledger_that_does_not_answer_pauses_the_shard_and_costs_no_attempt(kind: Kind) -> None:
    """Neither skipped nor condemned: nothing runs until claims can be made."""

    async def main() -> None:
        bench = Bench(keyed([GOOD] * 3, "abc"), kind, attempts=1, settings={"dedupe_key": event_of})
        bench.ledger.outage = Unanswered("no answer")
        bench.loop.call_later(300, lambda: setattr(bench.ledger, "outage", None))
        await bench.live()
        assert sorted(bench.effects) == [0, 1, 2]
        assert bench.dead == []
        assert bench.report.named("shard.paused")
        assert set(bench.runs.values()) == {1}
        assert bench.loop.time() >= 300

    run_virtual(main)


@pytest.mark.parametrize("kind", KINDS)
def test_how_long_a_claim_takes_is_no_part_of_how_long_its_handler_may(kind: Kind) -> None:
    """A table that answers slowly condemns nobody: the handler's time begins when it is called (rule 20)."""

    async def main() -> None:
        bench = Bench([GOOD] * 3, kind, settings={"dedupe_key": event_of, "handler_timeout": timedelta(seconds=2)})
        claim = bench.ledger.claim

        async def slowly(key: str, by: Claimant) -> Holding:
            await asyncio.sleep(5.5)
            return await claim(key, by)

        bench.ledger.claim = slowly  # type: ignore[method-assign]
        await bench.live()
        assert sorted(bench.effects) == [0, 1, 2]
        assert bench.report.named("handler.timed_out") == []

    run_virtual(main)


@pytest.mark.parametrize("key", [None, ""])
def test_a_missing_key_is_poison(key: str | None) -> None:
    """Better a dead letter than a record that is never compared."""

    async def main() -> None:
        bench = Bench([GOOD], settings={"dedupe_key": lambda _: key})
        await bench.live()
        assert bench.dead == [0]
        assert bench.runs == {}
        assert "dedupe_key" in bench.letters.letters[0].reason

    run_virtual(main)


def test_a_batch_claims_its_keys_at_the_same_time() -> None:
    """A hundred claims one after the other would take longer than most handlers; the first record of a key claims."""

    async def main() -> None:
        bench = Bench(keyed([GOOD] * 64, "ab"), "bisect", settings={"dedupe_key": lambda r: str(int(r.data) % 48)})
        claim = bench.ledger.claim

        async def slow(key: str, by: Claimant) -> Holding:
            await asyncio.sleep(1.0)
            return await claim(key, by)

        bench.ledger.claim = slow  # type: ignore[method-assign]
        await bench.live()
        assert sorted(bench.effects) == list(range(48))
        assert bench.tally.duplicates == 16
        assert 3.0 <= bench.loop.time() < 4.0

    run_virtual(main)


def test_without_a_key_a_record_is_handled_where_that_is_said() -> None:
    """Nothing is claimed for it; those with a key are compared as ever."""

    async def main() -> None:
        named = lambda record: None if int(record.data) < 2 else "event"  # noqa: E731 - one line says it
        bench = Bench([GOOD] * 4, settings={"dedupe_key": named, "on_missing_key": "handle"})
        await bench.live()
        assert sorted(bench.effects) == [0, 1, 2]
        assert list(bench.ledger.claims) == ["event"]
        assert bench.tally.duplicates == 1

    run_virtual(main)


@pytest.mark.parametrize("kind", KINDS)
def test_an_owner_whose_record_runs_under_a_newer_tenure_starts_nothing_more(kind: Kind) -> None:
    """It has lost its shard, whatever its own clock says: the record is neither run nor taken for a duplicate."""

    async def main() -> None:
        bench = Bench(keyed([GOOD] * 3, "abc"), kind, settings={"dedupe_key": event_of})
        await bench.ledger.claim("event-0", Claimant(bench.records[0].id, Tenure(epoch=7)))
        await bench.live()
        assert bench.engine.fenced
        assert 0 not in bench.runs
        assert bench.tally.duplicates == 0
        assert bench.settling.frontier is None
        assert bench.ledger.claims["event-0"].by.tenure.epoch == 7

    run_virtual(main)


def test_a_claim_outlives_a_crash_between_claim_and_effect() -> None:
    """Marking before the handler must not drop the record that was interrupted: it may not have run."""

    async def main() -> None:
        bench = Bench([Fate(seconds=2.0)], settings={"dedupe_key": event_of})
        await bench.live(Interruption("crash", 1.0))
        assert bench.effects == []
        assert bench.ledger.held
        await bench.live()
        assert bench.effects == [0]

    run_virtual(main)


@pytest.mark.parametrize("kind", KINDS)
def test_a_claim_that_a_later_record_of_the_batch_made_before_a_crash_is_found(kind: Kind) -> None:
    """Else both are duplicates of each other, and their event is lost without a trace."""

    async def main() -> None:
        bench = Bench(keyed([GOOD] * 2, "ab"), kind, settings={"dedupe_key": lambda _: "event"})
        await bench.ledger.claim("event", Claimant(bench.records[1].id))
        await bench.live()
        assert bench.effects == [1]
        assert bench.tally.duplicates == 1

    run_virtual(main)


@pytest.mark.parametrize(("owner", "claims"), [(None, 1), (0, 1), (49, 2), ("a record of another shard", 1)])
def test_a_key_costs_a_batch_two_claims_however_often_it_is_in_it(owner: int | str | None, claims: int) -> None:
    """An event put over and over would ask for one hot row as often, one request after the other."""

    async def main() -> None:
        bench = Bench(keyed([GOOD] * 50, "ab"), "bisect", settings={"dedupe_key": lambda _: "event"})
        if owner is not None:
            named = owner if isinstance(owner, str) else bench.records[owner].id
            await bench.ledger.claim("event", Claimant(named))
        before = bench.ledger.requests
        await bench.live()
        assert bench.ledger.requests - before == claims
        assert bench.effects == ([] if isinstance(owner, str) else [owner or 0])
        assert bench.tally.duplicates == 50 - len(bench.effects)

    run_virtual(main)
