"""Settling: every decision about one shard's records, without I/O, clock or asyncio.

It is asked what may run now (`take`), is told what happened (`succeeded`, `failed`, `buried`), and knows what to
retry, when, what to split, what to condemn, and where the frontier is. The engine is a dumb loop around it; the same
object serves the worker, Lambda and tests. In the way of h11: decide here, act there.

What becomes of a record:

    admitted --> attempt --> handled | filtered | duplicate           --> settled
                    |  ^
                    v  | after a delay, a probe, or a verdict
                 failing --> condemned --> buried (its letter durable) --> settled
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from typing import TYPE_CHECKING, Literal

from streamkit.core.breaker import Breaker
from streamkit.core.evidence import Evidence, Verdict
from streamkit.core.kpl import DECODING
from streamkit.core.letters import Cause, Condemned, Condition, cause_of
from streamkit.core.policy import Outage, Retry
from streamkit.core.schedule import FOREVER, Attempt, Lanes, Schedule, Segments
from streamkit.core.window import Window
from streamkit.events import RecordCondemned, RecordRetried, ShardHalted, ShardPaused, ShardResumed
from streamkit.signals import Failed, Partial, Poison, Unavailable, Undecodable, WorldDown

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping, Sequence

    from streamkit.core.leasing import Progress
    from streamkit.core.positions import Position
    from streamkit.core.records import Record
    from streamkit.events import Event

OnDeadLetter = Literal["continue", "park", "halt"]

_AFTER_OTHERS_SECONDS = 0.1
"""What failed in another process waits for so long: whatever else may run has started by then."""
MAX_PARKED = 100
"""Keys a shard may have parked (rule 21): over that it halts, for it is no longer a matter of single keys."""


class Outcome(Enum):
    """How a record came to be settled."""

    HANDLED = "handled"
    FILTERED = "filtered"
    DUPLICATE = "duplicate"
    DEAD = "dead"


@dataclass(slots=True)
class Tally:
    """Counters of one process."""

    received: int = 0
    handled: int = 0
    duplicates: int = 0
    filtered: int = 0
    dead: int = 0
    retried: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """Batches for a batch handler: up to `size` records, waiting at most `linger` seconds to fill."""

    size: int
    linger: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How one consumer settles. `backoff` and `pause` give seconds for the n-th failure or pause, jitter included."""

    retry: Retry
    outage: Outage
    outage_limit: float
    """Seconds."""
    backoff: Callable[[int], float]
    pause: Callable[[int], float]
    on_dead_letter: OnDeadLetter = "continue"
    batching: Batching | None = None
    """None runs records one by one, in lanes."""
    decoding: int = DECODING
    """Version of the rules by which (sub)records are counted."""


class Settling:
    """Settles one shard's records, in ordinals of its window. Times are the caller's monotonic seconds."""

    def __init__(
        self,
        shard: str,
        rules: Rules,
        *,
        progress: Progress,
        parked: Iterable[str] = (),
        tally: Tally,
        report: Callable[[Event], None],
    ) -> None:
        self.shard = shard
        self._rules = rules
        self._report = report
        self._tally = tally
        self._window = Window(progress, decoding=rules.decoding)
        self._schedule: Schedule = _schedule(rules.batching, self._window)
        self._evidence = Evidence(attempts=rules.retry.attempts, early=rules.outage.records)
        self._breaker = Breaker(limit=rules.outage_limit)
        self._worn_out = False
        self._causes: dict[int, Cause] = {}
        self._too_old: set[int] = set()
        self._suspended: dict[int, None] = {}
        self._parked = dict.fromkeys(parked)
        self._doomed: dict[tuple[str, int], str] = {}
        self.condemned: dict[int, Condemned] = {}
        """Verdicts whose letters are not durable yet, by ordinal."""
        self.halted: str | None = None
        """Why nothing runs until a person acts."""
        self.listener: Callable[[Record, Outcome], None] | None = None
        """Told of every record settled, where somebody wants to know them by name."""

    # What is so

    @property
    def frontier(self) -> Position | None:
        """The end of the contiguous settled prefix."""
        return self._window.frontier

    @property
    def edge(self) -> Record | None:
        """The record the frontier stands behind, if it was passed here."""
        return self._window.edge

    @property
    def clear(self) -> bool:
        """Say whether every record admitted is settled."""
        return self._window.clear

    @property
    def pending(self) -> int:
        """Return how many records lie between the frontier and the last one admitted."""
        return len(self._window)

    @property
    def admitted(self) -> int:
        """Return how many records have been given a place behind the first frontier."""
        return self._window.settled + len(self._window)

    @property
    def passed(self) -> int:
        """Return how many of them the frontier has passed."""
        return self._window.settled

    @property
    def parked(self) -> tuple[str, ...]:
        """Digests of the parked keys."""
        return tuple(self._parked)

    @property
    def paused(self) -> bool:
        """Say whether the circuit breaker is open."""
        return not self._breaker.closed

    def down(self, now: float) -> float | None:
        """Return for how many seconds the circuit breaker has been open, or None."""
        return None if self._breaker.closed else self._breaker.paused(now)

    @property
    def troubled(self) -> bool:
        """Say whether something failed: then what an attempt tells may free others to run."""
        return bool(self._evidence) or bool(self.condemned) or not self._breaker.closed

    def unsettled(self) -> list[Record]:
        """Return the admitted records that are not settled, in stream order."""
        return self._window.unsettled()

    def progress(self) -> Progress:
        """Return what a checkpoint has to carry now."""
        return self._window.progress()

    def wake_at(self) -> float:
        """Return when `take` may have something that it has not now; FOREVER if only an event can tell."""
        if self.halted:
            return FOREVER
        if self._breaker.closed or self._worn_out:
            return self._schedule.wake_at()
        if self._breaker.probing is not None:
            return self._breaker.limit_at
        return self._breaker.probe_at if self._schedule.probeable() else FOREVER

    # What comes in

    def admit(self, records: Iterable[Record], now: float) -> None:
        """Take records in, in stream order. Those settled before are dropped, quietly, and counted (rule 23)."""
        admit, add, tally = self._window.admit, self._schedule.add, self._tally
        inherited = self._evidence.inherited
        for record in records:
            tally.received += 1
            ordinal = admit(record)
            if ordinal is not None and not record.foreign:
                add(ordinal, record, now)
                if ordinal in inherited:
                    self._schedule.defer(ordinal, now + _AFTER_OTHERS_SECONDS)
                continue
            if ordinal is not None:
                self._window.settle(ordinal)
            self._settled(record, Outcome.DUPLICATE)

    def inherit(
        self, now: float, *, failures: Mapping[int, int], doomed: Mapping[Record, str], down: float | None
    ) -> None:
        """Go on where another process left off.

        `failures` by ordinal count once the record fails here too; others go before it, for their success is a witness
        against it. `doomed` ended the process before, alone: they are
        condemned for this reason without another attempt. `down` is for how many seconds everything has been failing.
        """
        self._evidence.inherited = dict(failures)
        self._doomed = {(record.sequence_number, record.subsequence): why for record, why in doomed.items()}
        if down is not None:
            self._breaker.open(now - down, 0.0)

    def take(self, now: float) -> Attempt | None:
        """Return the next attempt, which is under way until it is told what became of it; None if nothing may run."""
        self._rejudge(now)
        while (attempt := self._next(now)) is not None:
            if not (self._parked or self._doomed) and all(record.defect is None for record in attempt.records):
                return attempt
            unfit = {o: why for o, r in _pairs(attempt) if (why := self._unfit(r)) is not None}
            if not unfit:
                return attempt
            self._ended(attempt)
            self._schedule.put_back(attempt, _groups(attempt.ordinals, apart=unfit))
            for ordinal in _heads(attempt):
                if ordinal in unfit:
                    self._condemn(ordinal, unfit[ordinal])
            self._rejudge(now)
        return None

    def attempts(self, ordinal: int) -> int:
        """Return how often this record has failed so far."""
        return self._evidence.attempts(ordinal)

    def failures(self) -> dict[int, int]:
        """Return the failures to go on from, by ordinal: those that count, and during an outage those from before."""
        condemned = {ordinal: verdict.attempts for ordinal, verdict in self.condemned.items()}
        return condemned | (self._evidence.counted() if self._counts else self._evidence.inherited)

    # What happened

    def succeeded(self, attempt: Attempt, now: float, outcome: Outcome = Outcome.HANDLED) -> None:
        """All records of the attempt are settled, with one outcome."""
        for ordinal, record in _pairs(attempt):
            self._window.settle(ordinal)
            self._settled(record, outcome)
        self._schedule.retire(attempt)
        self._ended(attempt)
        if outcome is Outcome.HANDLED and (self._evidence or not self._breaker.closed):
            self._prove(attempt.ordinals, now)

    def reduce(self, attempt: Attempt, dropped: Mapping[int, Outcome]) -> Attempt | None:
        """Settle some records of a batch before its handler starts; return the rest, if any, still under way."""
        rest = [(o, r) for o, r in _pairs(attempt) if o not in dropped]
        probe = self._ended(attempt)
        for ordinal, record in _pairs(attempt):
            if ordinal in dropped:
                self._window.settle(ordinal)
                self._settled(record, dropped[ordinal])
                self._evidence.acquit(ordinal)
                self._causes.pop(ordinal, None)
        if not rest:
            self._schedule.retire(attempt)
            return None
        if probe:
            self._breaker.probing = rest[0][0]
        return Attempt(tuple(o for o, _ in rest), tuple(r for _, r in rest))

    def abandoned(self, attempt: Attempt) -> None:
        """Nothing is known of the attempt: it never started, or was cancelled. Its records are as before."""
        self._ended(attempt)
        self._schedule.put_back(attempt, [attempt.ordinals])

    def failed(self, attempt: Attempt, error: BaseException, now: float, *, oldest: float = 0.0) -> None:
        """The attempt failed. `oldest`: records that arrived before it (epoch seconds) are not tried again."""
        probe = self._ended(attempt)
        if isinstance(error, WorldDown) or (isinstance(error, Unavailable) and not self._worn_out):
            self._schedule.put_back(attempt, [attempt.ordinals])
            self._stand_down(error, now, failed_probe=probe or self._idle_probe(now))
            self._hold_while_worn_out(attempt)
            return
        done, failures = _claims(attempt, error)
        if len(done) == len(attempt.ordinals):
            self.succeeded(attempt, now)
            return
        self._schedule.put_back(
            attempt, self._regroup(attempt, done, failures, halve=self._counts or isinstance(error, Poison))
        )
        self._settle_some(attempt, done, now)
        down = {o: each for o, each in failures.items() if isinstance(each, Unavailable) and not self._worn_out}
        if down:
            self._stand_down(next(iter(down.values())), now, failed_probe=probe)
        elif probe and not done and not self._counts and not _poison(error, failures):
            self._pause(now, cause_of(error), failed_probe=True)
        for ordinal, each in failures.items():
            if ordinal not in down:
                self._fail(ordinal, each, now, too_old=self._window.record(ordinal).arrived < oldest)
        self._rejudge(now)

    def buried(self, ordinals: Iterable[int]) -> None:
        """The letters of these verdicts are durable."""
        for ordinal in ordinals:
            verdict = self.condemned.pop(ordinal)
            self._window.settle(ordinal)
            self._schedule.drop(ordinal)
            self._settled(verdict.record, Outcome.DEAD)
            if verdict.condition != "Parked":
                self._follow(verdict.record)

    def halt(self, why: str) -> None:
        """Run nothing more until a person acts."""
        if self.halted is None:
            self.halted = why
            self._report(ShardHalted(shard=self.shard, cause=why))

    # How it is decided

    @property
    def _counts(self) -> bool:
        """Whether failures count: not during an outage, until it has lasted too long."""
        return self._breaker.closed or self._worn_out

    def _stand_down(self, error: Unavailable, now: float, *, failed_probe: bool) -> None:
        """Nothing can succeed right now: pause, at no record's cost."""
        wait = error.retry_after.total_seconds() if error.retry_after else 0.0
        self._pause(now, cause_of(error), at_least=wait, failed_probe=failed_probe)

    def _idle_probe(self, now: float) -> bool:
        """Say whether this is the first failure since a pause of an outage over its limit, where all attempts probe."""
        return self._worn_out and now >= self._breaker.probe_at

    def _hold_while_worn_out(self, attempt: Attempt) -> None:
        """Once the limit of an outage has passed the breaker keeps nothing back any more: pace what costs nothing."""
        for ordinal in attempt.ordinals if self._worn_out else ():
            self._schedule.hold(ordinal, self._breaker.probe_at)

    def _regroup(
        self, attempt: Attempt, done: Container[int], failures: Mapping[int, object], *, halve: bool
    ) -> Sequence[Sequence[int]]:
        """Cut what is left into what is to be run together; where nobody is named, halves or the whole."""
        rest = [ordinal for ordinal in attempt.ordinals if ordinal not in done]
        if failures or len(rest) < len(attempt.ordinals):
            return _groups(rest, apart=failures)
        half = (len(rest) + 1) // 2
        return [rest[:half], rest[half:]] if halve else [rest]

    def _next(self, now: float) -> Attempt | None:
        if self.halted:
            return None
        if self._breaker.closed:
            return self._schedule.take(now)
        if self._breaker.worn_out(now):
            if not self._worn_out:
                self._worn_out = True
                self._evidence.restart(survived=False)
            return self._schedule.take(now)
        if not self._breaker.may_probe(now):
            return None
        attempt = self._schedule.probe(now)
        if attempt is not None:
            self._breaker.probing = attempt.ordinals[0]
        return attempt

    def _unfit(self, record: Record) -> Condemned | None:
        if record.defect is not None:
            return Condemned(record, "Undecodable", record.defect, 0)
        if (why := self._doomed.get((record.sequence_number, record.subsequence))) is not None:
            return Condemned(record, "ProcessDied", why, 0)
        if self._parked and digest(record.key) in self._parked:
            return Condemned(record, "Parked", "an earlier record of its key is in the dead-letter queue", 0)
        return None

    def _ended(self, attempt: Attempt) -> bool:
        """Return whether the attempt was the probe."""
        probe = self._breaker.probing == attempt.ordinals[0]
        if probe:
            self._breaker.probing = None
        return probe

    def _settle_some(self, attempt: Attempt, done: set[int], now: float) -> None:
        for ordinal in attempt.ordinals:
            if ordinal in done:
                self._settled(self._window.record(ordinal), Outcome.HANDLED)
        for ordinal in done:
            self._window.settle(ordinal)
        if done:
            self._prove(done, now)

    def _prove(self, ordinals: Iterable[int], now: float) -> None:
        """Something succeeded: the world works."""
        for ordinal in ordinals:
            self._evidence.acquit(ordinal)
            self._causes.pop(ordinal, None)
        self._evidence.succeeded()
        if not self._breaker.closed:
            self._report(ShardResumed(shard=self.shard, paused_seconds=self._breaker.paused(now)))
            self._breaker.close()
            self._worn_out = False
            self._evidence.restart(survived=True)
        self._rejudge(now)

    def _fail(self, ordinal: int, error: BaseException, now: float, *, too_old: bool) -> None:
        self._evidence.failed(ordinal, counts=self._counts)
        self._causes[ordinal] = cause_of(error)
        if isinstance(error, Poison):
            condition: Condition = "Undecodable" if isinstance(error, Undecodable) else "Poison"
            verdict = self._verdict(ordinal, condition, error.reason)
            self._evidence.acquit(ordinal)
            self._condemn(ordinal, verdict)
        elif not self._counts:
            self._schedule.hold(ordinal, self._breaker.probe_at)
        else:
            if too_old:
                self._too_old.add(ordinal)
                self._evidence.exhaust(ordinal)
            self._judge(ordinal, now)

    def _judge(self, ordinal: int, now: float) -> None:
        match self._weigh(ordinal):
            case Verdict.RETRY:
                self._retry(ordinal, now)
            case Verdict.WAIT:
                self._suspended[ordinal] = None
                self._schedule.hold(ordinal, FOREVER)
            case Verdict.OUTAGE:
                self._suspended[ordinal] = None
                self._pause(now, self._causes[ordinal])
            case Verdict.CONDEMN:
                cause = self._causes[ordinal]
                condition: Condition = "RecordAgeExceeded" if ordinal in self._too_old else "RetryAttemptsExhausted"
                self._condemn(ordinal, self._verdict(ordinal, condition, f"{_short(cause.type)}: {cause.message}"))

    def _weigh(self, ordinal: int) -> Verdict:
        if self._worn_out:
            return Verdict.CONDEMN if self._evidence.exhausted(ordinal) else Verdict.RETRY
        if self._evidence.is_outage():
            return Verdict.OUTAGE
        if not self._evidence.exhausted(ordinal) and not self._evidence.keeps_last(ordinal):
            return Verdict.RETRY
        others = self._schedule.others({*self._evidence, *self.condemned})
        return self._evidence.verdict(ordinal, others=others)

    def _rejudge(self, now: float) -> None:
        """Look again at those who wait for evidence."""
        while self._breaker.closed and self._suspended:
            waiting = len(self._suspended)
            for ordinal in list(self._suspended):
                if ordinal in self._suspended:
                    del self._suspended[ordinal]
                    self._judge(ordinal, now)
            if len(self._suspended) == waiting:
                break

    def _retry(self, ordinal: int, now: float) -> None:
        delay = self._rules.backoff(max(1, self._evidence.failures(ordinal)))
        self._schedule.hold(ordinal, now + delay)
        self._tally.retried += 1
        record = self._window.record(ordinal)
        self._report(
            RecordRetried(
                shard=self.shard,
                sequence=record.sequence_number,
                subsequence=record.subsequence,
                attempt=self._evidence.attempts(ordinal),
                error=_short(self._causes[ordinal].type),
                where=self._causes[ordinal].where,
                delay_seconds=delay,
            )
        )

    def _pause(self, now: float, cause: Cause, *, at_least: float = 0.0, failed_probe: bool = False) -> None:
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
                shard=self.shard,
                cause=_short(cause.type),
                where=cause.where,
                failing=len(self._evidence),
                probe_after_seconds=delay,
                paused_seconds=self._breaker.paused(now),
            )
        )

    def _verdict(self, ordinal: int, condition: Condition, reason: str) -> Condemned:
        record = self._window.record(ordinal)
        return Condemned(record, condition, reason, self._evidence.attempts(ordinal), self._causes[ordinal])

    def _condemn(self, ordinal: int, verdict: Condemned) -> None:
        self._schedule.hold(ordinal, FOREVER)
        self._evidence.forget(ordinal)
        self._too_old.discard(ordinal)
        cause = self._causes.pop(ordinal, None)
        self.condemned[ordinal] = verdict
        self._report(
            RecordCondemned(
                shard=self.shard,
                sequence=verdict.record.sequence_number,
                subsequence=verdict.record.subsequence,
                condition=verdict.condition,
                attempts=verdict.attempts,
                error=_short(cause.type) if cause else None,
            )
        )

    def _follow(self, record: Record) -> None:
        """What happens to the later records of a key that has a dead letter."""
        if self._rules.on_dead_letter == "halt":
            self.halt(f"record {record.sequence_number} was dead-lettered and on_dead_letter is 'halt'")
        elif self._rules.on_dead_letter == "park":
            self._parked[digest(record.key)] = None
            if len(self._parked) > MAX_PARKED:
                self.halt(f"more than {MAX_PARKED} keys are parked")

    def _settled(self, record: Record, outcome: Outcome) -> None:
        tally = self._tally
        match outcome:
            case Outcome.HANDLED:
                tally.handled += 1
            case Outcome.DUPLICATE:
                tally.duplicates += 1
            case Outcome.FILTERED:
                tally.filtered += 1
            case Outcome.DEAD:
                tally.dead += 1
        if self.listener is not None:
            self.listener(record, outcome)


def digest(key: str) -> str:
    """Return a short name for a key that does not show it."""
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _schedule(batching: Batching | None, window: Window) -> Schedule:
    if batching is None:
        return Lanes(lambda ordinal: window.record(ordinal).key)
    return Segments(size=batching.size, linger=batching.linger)


def _pairs(attempt: Attempt) -> Iterable[tuple[int, Record]]:
    return zip(attempt.ordinals, attempt.records, strict=True)


def _heads(attempt: Attempt) -> Iterable[int]:
    """Return the first record of each key: what follows it waits for what becomes of it."""
    firsts: dict[str, int] = {}
    for ordinal, record in _pairs(attempt):
        firsts.setdefault(record.key, ordinal)
    return firsts.values()


def _claims(attempt: Attempt, error: BaseException) -> tuple[set[int], dict[int, BaseException]]:
    """Return what the error claims: the ordinals that are done, and those that failed with their own errors."""
    places = {(record.sequence_number, record.subsequence): ordinal for ordinal, record in _pairs(attempt)}

    def place(record: Record) -> int | None:
        return places.get((record.sequence_number, record.subsequence))

    if isinstance(error, Partial):
        done = {ordinal for record in error.done if (ordinal := place(record)) is not None}
        failed = {o: each for record, each in error.failed.items() if (o := place(record)) is not None}
        if done or failed:
            return done - failed.keys(), dict(sorted(failed.items()))
    if isinstance(error, Failed) and (ordinal := place(error.record)) is not None:
        return set(), {ordinal: error.cause or error}
    return set(), {attempt.ordinals[0]: error} if len(attempt.ordinals) == 1 else {}


def _poison(error: BaseException, failures: Mapping[int, BaseException]) -> bool:
    """Say whether the failure tells of bad records only, and nothing of the world."""
    return all(isinstance(each, Poison) for each in failures.values() or [error])


def _groups(ordinals: Sequence[int], *, apart: Mapping[int, object]) -> list[list[int]]:
    """Cut into runs, each of `apart` standing alone."""
    groups: list[list[int]] = []
    open_run = False
    for ordinal in ordinals:
        if ordinal in apart:
            groups.append([ordinal])
            open_run = False
        elif open_run:
            groups[-1].append(ordinal)
        else:
            groups.append([ordinal])
            open_run = True
    return groups


def _short(type_name: str) -> str:
    return type_name.rpartition(".")[2]
