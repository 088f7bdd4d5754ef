"""What becomes of records that failed: tried again, kept waiting for evidence, or condemned; and the shard paused.

failing --> retry, after a delay
--> wait, until others tell whether the world works
--> outage: the breaker opens, probes go out one at a time
--> condemned: its letter is due
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.core.breaker import Breaker
from streamkit.core.evidence import Evidence, Verdict
from streamkit.core.letters import Cause, Condemned, Condition, cause_of
from streamkit.core.schedule import FOREVER
from streamkit.events import RecordCondemned, RecordRetried, ShardPaused, ShardResumed
from streamkit.signals import Poison, Unavailable, Undecodable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from streamkit.core.records import Record
    from streamkit.core.rules import Rules, Tally
    from streamkit.core.schedule import Attempt, Schedule
    from streamkit.events import Event


class Troubles:
    """The failing records of one shard, by ordinal. False while nothing fails. Times are monotonic seconds."""

    def __init__(
        self,
        shard: str,
        rules: Rules,
        schedule: Schedule,
        record_of: Callable[[int], Record],
        tally: Tally,
        report: Callable[[Event], None],
    ) -> None:
        self._shard = shard
        self._rules = rules
        self._schedule = schedule
        self._record_of = record_of
        self._tally = tally
        self._report = report
        self._evidence = Evidence(attempts=rules.retry.attempts, early=rules.outage.records)
        self._breaker = Breaker(limit=rules.outage_limit)
        self._causes: dict[int, Cause] = {}
        self._too_old: set[int] = set()
        self._suspended: dict[int, None] = {}
        self.worn_out = False
        """Whether an outage has lasted too long: attempts count again."""
        self.condemned: dict[int, Condemned] = {}
        """Verdicts whose letters are not durable yet, by ordinal."""

    def __bool__(self) -> bool:
        return bool(self._evidence) or bool(self.condemned) or not self._breaker.closed

    @property
    def paused(self) -> bool:
        """Say whether the circuit breaker is open."""
        return not self._breaker.closed

    @property
    def counts(self) -> bool:
        """Whether failures count: not during an outage, until it has lasted too long."""
        return self._breaker.closed or self.worn_out

    def down(self, now: float) -> float | None:
        """Return for how many seconds the circuit breaker has been open, or None."""
        return None if self._breaker.closed else self._breaker.paused(now)

    def inherit(self, now: float, *, failures: Mapping[int, int], down: float | None) -> None:
        """Go on where another process left off: see `Settling.inherit`."""
        self._evidence.inherited = dict(failures)
        if down is not None:
            self._breaker.open(now - down, 0.0)

    @property
    def inherited(self) -> Collection[int]:
        """Ordinals of records that failed in another process and have not been tried here."""
        return self._evidence.inherited

    def failures(self) -> dict[int, int]:
        """Return the failures to go on from, by ordinal: those that count, and during an outage those from before."""
        condemned = {ordinal: verdict.attempts for ordinal, verdict in self.condemned.items()}
        return condemned | (self._evidence.counted() if self.counts else self._evidence.inherited)

    def attempts(self, ordinal: int) -> int:
        """Return how often this record has failed so far."""
        return self._evidence.attempts(ordinal)

    def wake_at(self) -> float:
        """Return when `take` may have something that it has not now; FOREVER if only an event can tell."""
        if self._breaker.closed or self.worn_out:
            return self._schedule.wake_at()
        if self._breaker.probing is not None:
            return self._breaker.limit_at
        return self._breaker.probe_at if self._schedule.probeable() else FOREVER

    def take(self, now: float) -> Attempt | None:
        """Return what the breaker lets run: anything, or one probe."""
        if self._breaker.closed:
            return self._schedule.take(now)
        if self._breaker.worn_out(now):
            if not self.worn_out:
                self.worn_out = True
                self._evidence.restart(survived=False)
            return self._schedule.take(now)
        if not self._breaker.may_probe(now):
            return None
        attempt = self._schedule.probe(now)
        if attempt is not None:
            self._breaker.probing = attempt.ordinals[0]
        return attempt

    def ended(self, attempt: Attempt) -> bool:
        """An attempt is over. Return whether it was the probe."""
        probe = self._breaker.probing == attempt.ordinals[0]
        if probe:
            self._breaker.probing = None
        return probe

    def probing(self, ordinal: int) -> None:
        """The probe under way is this record's."""
        self._breaker.probing = ordinal

    def acquit(self, ordinal: int) -> None:
        """The record is settled: its failures say nothing any more."""
        self._evidence.acquit(ordinal)
        self._causes.pop(ordinal, None)

    # Something succeeded

    def prove(self, ordinals: Iterable[int], now: float) -> None:
        """These records succeeded: the world works."""
        for ordinal in ordinals:
            self.acquit(ordinal)
        self._evidence.succeeded()
        if not self._breaker.closed:
            self._report(ShardResumed(shard=self._shard, paused_seconds=self._breaker.paused(now)))
            self._breaker.close()
            self.worn_out = False
            self._evidence.restart(survived=True)
        self.rejudge(now)

    # Something failed

    def stand_down(self, error: Unavailable, now: float, *, failed_probe: bool) -> None:
        """Nothing can succeed right now: pause, at no record's cost."""
        wait = error.retry_after.total_seconds() if error.retry_after else 0.0
        self.pause(now, cause_of(error), at_least=wait, failed_probe=failed_probe)

    def idle_probe(self, now: float) -> bool:
        """Say whether this is the first failure since a pause of an outage over its limit, where all attempts probe."""
        return self.worn_out and now >= self._breaker.probe_at

    def hold_while_worn_out(self, attempt: Attempt) -> None:
        """Once the limit of an outage has passed the breaker keeps nothing back any more: pace what costs nothing."""
        for ordinal in attempt.ordinals if self.worn_out else ():
            self._schedule.hold(ordinal, self._breaker.probe_at)

    def fail(self, ordinal: int, error: BaseException, now: float, *, too_old: bool) -> None:
        """One record failed, with an error that is its own."""
        self._evidence.failed(ordinal, counts=self.counts)
        self._causes[ordinal] = cause_of(error)
        if isinstance(error, Poison):
            condition: Condition = "Undecodable" if isinstance(error, Undecodable) else "Poison"
            verdict = self._verdict(ordinal, condition, error.reason)
            self._evidence.acquit(ordinal)
            self.condemn(ordinal, verdict)
        elif self._rules.once:
            verdict = self._verdict(ordinal, "RetryAttemptsExhausted", self._told(ordinal))
            self._evidence.acquit(ordinal)
            self.condemn(ordinal, verdict)
        elif not self.counts:
            self._schedule.hold(ordinal, self._breaker.probe_at)
        else:
            if too_old:
                self._too_old.add(ordinal)
                self._evidence.exhaust(ordinal)
            self._judge(ordinal, now)

    def pause(self, now: float, cause: Cause, *, at_least: float = 0.0, failed_probe: bool = False) -> None:
        """Open the breaker, or after a failed probe keep it open for longer; who waits for evidence may be probed."""
        if not self._breaker.closed and not failed_probe:
            self._breaker.postpone(now + at_least)
            return
        delay = max(self._rules.pause(self._breaker.pauses + 1), at_least)
        self._breaker.open(now, delay)
        for ordinal in self._suspended:
            self._schedule.hold(ordinal, now)
        self._suspended.clear()
        self._report(
            ShardPaused(
                shard=self._shard,
                cause=_short(cause.type),
                where=cause.where,
                failing=len(self._evidence),
                probe_after_seconds=delay,
                paused_seconds=self._breaker.paused(now),
            )
        )

    def rejudge(self, now: float) -> None:
        """Look again at those who wait for evidence."""
        while self._breaker.closed and self._suspended:
            waiting = len(self._suspended)
            for ordinal in list(self._suspended):
                if ordinal in self._suspended:
                    del self._suspended[ordinal]
                    self._judge(ordinal, now)
            if len(self._suspended) == waiting:
                break

    def condemn(self, ordinal: int, verdict: Condemned) -> None:
        """The record is given up on: its letter is due, and its key waits for that."""
        self._schedule.hold(ordinal, FOREVER)
        self._evidence.forget(ordinal)
        self._too_old.discard(ordinal)
        cause = self._causes.pop(ordinal, None)
        self.condemned[ordinal] = verdict
        self._report(
            RecordCondemned(
                shard=self._shard,
                sequence=verdict.record.sequence_number,
                subsequence=verdict.record.subsequence,
                condition=verdict.condition,
                attempts=verdict.attempts,
                error=_short(cause.type) if cause else None,
            )
        )

    # How it is judged

    def _judge(self, ordinal: int, now: float) -> None:
        match self._weigh(ordinal):
            case Verdict.RETRY:
                self._retry(ordinal, now)
            case Verdict.WAIT:
                self._suspended[ordinal] = None
                self._schedule.hold(ordinal, FOREVER)
            case Verdict.OUTAGE:
                self._suspended[ordinal] = None
                self.pause(now, self._causes[ordinal])
            case Verdict.CONDEMN:
                condition: Condition = "RecordAgeExceeded" if ordinal in self._too_old else "RetryAttemptsExhausted"
                self.condemn(ordinal, self._verdict(ordinal, condition, self._told(ordinal)))

    def _told(self, ordinal: int) -> str:
        """Return the last error of a record in a few words."""
        cause = self._causes[ordinal]
        return f"{_short(cause.type)}: {cause.message}"

    def _weigh(self, ordinal: int) -> Verdict:
        if self.worn_out:
            return Verdict.CONDEMN if self._evidence.exhausted(ordinal) else Verdict.RETRY
        if self._evidence.is_outage():
            return Verdict.OUTAGE
        if not self._evidence.exhausted(ordinal) and not self._evidence.keeps_last(ordinal):
            return Verdict.RETRY
        others = self._schedule.others({*self._evidence, *self.condemned})
        return self._evidence.verdict(ordinal, others=others)

    def _retry(self, ordinal: int, now: float) -> None:
        delay = self._rules.backoff(max(1, self._evidence.failures(ordinal)))
        self._schedule.hold(ordinal, now + delay)
        self._tally.retried += 1
        record = self._record_of(ordinal)
        self._report(
            RecordRetried(
                shard=self._shard,
                sequence=record.sequence_number,
                subsequence=record.subsequence,
                attempt=self._evidence.attempts(ordinal),
                error=_short(self._causes[ordinal].type),
                where=self._causes[ordinal].where,
                delay_seconds=delay,
            )
        )

    def _verdict(self, ordinal: int, condition: Condition, reason: str) -> Condemned:
        record = self._record_of(ordinal)
        return Condemned(record, condition, reason, self._evidence.attempts(ordinal), self._causes[ordinal])


def _short(type_name: str) -> str:
    return type_name.rpartition(".")[2]
