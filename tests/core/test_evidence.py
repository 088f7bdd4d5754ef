"""Poison or outage: what failures and successes say about each other, case by case (rule 20)."""

from __future__ import annotations

from streamkit.core.evidence import SEVERAL, Evidence, Verdict


def failing(*ordinals: int, times: int = 1, attempts: int = 2, early: int = 5) -> Evidence:
    """Return evidence in which these records failed, in turn, so many times."""
    evidence = Evidence(attempts=attempts, early=early)
    for _ in range(times):
        for ordinal in ordinals:
            evidence.failed(ordinal, counts=True)
    return evidence


def test_a_record_with_attempts_left_is_retried() -> None:
    """Nothing is judged before its time."""
    assert failing(0, attempts=3).verdict(0, others=True) is Verdict.RETRY


def test_the_last_attempt_waits_for_somebody_elses_success() -> None:
    """While another could still have one; it is made at once where there is nobody, or one was seen."""
    evidence = failing(0)
    assert evidence.verdict(0, others=True) is Verdict.WAIT
    assert evidence.verdict(0, others=False) is Verdict.RETRY
    evidence.succeeded()
    assert evidence.verdict(0, others=True) is Verdict.RETRY


def test_a_single_attempt_is_all_there_is() -> None:
    """With `attempts=1` the verdict waits, not the attempt."""
    evidence = failing(0, attempts=1)
    assert evidence.verdict(0, others=True) is Verdict.WAIT
    evidence.succeeded()
    assert evidence.verdict(0, others=True) is Verdict.CONDEMN


def test_failing_while_others_succeed_is_poison() -> None:
    """The world works, this record does not."""
    evidence = failing(0)
    evidence.succeeded()
    evidence.failed(0, counts=True)
    assert evidence.verdict(0, others=True) is Verdict.CONDEMN


def test_a_fresh_failure_of_another_record_speaks_against_a_verdict() -> None:
    """The world may have gone down since the success: wait for what becomes of that one."""
    evidence = failing(0)
    evidence.succeeded()
    evidence.failed(0, counts=True)
    evidence.failed(1, counts=True)
    assert evidence.verdict(0, others=False) is Verdict.WAIT


def test_several_exhausted_records_and_no_success_are_an_outage() -> None:
    """Two are enough where nothing else can be asked."""
    assert failing(0, 1, times=2).verdict(0, others=False) is Verdict.OUTAGE


def test_a_lone_record_with_nothing_else_to_ask_is_condemned() -> None:
    """It must not wait for the outage limit."""
    assert failing(0, times=2).verdict(0, others=False) is Verdict.CONDEMN


def test_letters_already_sent_still_speak_for_an_outage() -> None:
    """A few condemned one by one on a quiet shard, and no success: from then on it is no matter of single records."""
    evidence = Evidence(attempts=1, early=5)
    for ordinal in range(SEVERAL - 1):
        evidence.failed(ordinal, counts=True)
        assert evidence.verdict(ordinal, others=False) is Verdict.CONDEMN
        evidence.forget(ordinal)
    evidence.failed(SEVERAL, counts=True)
    assert evidence.verdict(SEVERAL, others=False) is Verdict.OUTAGE


def test_many_failures_without_a_success_pause_before_any_verdict() -> None:
    """`Outage.records` different ones; a success starts the count anew."""
    evidence = failing(0, 1, 2, 3)
    assert not evidence.is_outage()
    evidence.failed(4, counts=True)
    assert evidence.is_outage()
    evidence.succeeded()
    assert not evidence.is_outage()


def test_attempts_during_an_outage_do_not_count_and_each_outage_counts_once() -> None:
    """A record that fails in outage after outage, while others survive them, is not innocent for ever."""
    evidence = failing(0, times=2)
    for _ in range(2):
        assert evidence.failures(0) <= 2
        for _ in range(10):
            evidence.failed(0, counts=False)
        evidence.restart(survived=True)
        assert evidence.failures(0) == 0
    assert evidence.exhausted(0)
    assert evidence.attempts(0) == 22


def test_who_named_itself_poison_says_nothing_about_the_world() -> None:
    """Acquitted: no evidence of an outage, however many."""
    evidence = Evidence(attempts=1, early=2)
    for ordinal in range(10):
        evidence.failed(ordinal, counts=True)
        evidence.acquit(ordinal)
    assert not evidence.is_outage()
    assert not evidence


def test_an_outage_counts_against_nobody_whose_attempt_lasted_through_it() -> None:
    """A slow attempt may see several short outages come and go: it failed in none of them."""
    evidence = failing(0)
    for _ in range(3):
        evidence.restart(survived=True)
    assert not evidence.exhausted(0)


def test_letters_already_sent_say_nothing_any_more_once_something_succeeded() -> None:
    """Single bad records between good ones are no outage, however many come in the course of time."""
    evidence = Evidence(attempts=1, early=5)
    for ordinal in range(SEVERAL + 1):
        evidence.failed(ordinal, counts=True)
        assert evidence.verdict(ordinal, others=False) is Verdict.CONDEMN
        evidence.forget(ordinal)
        assert evidence, "the next success has something to say"
        evidence.succeeded()
        assert not evidence
