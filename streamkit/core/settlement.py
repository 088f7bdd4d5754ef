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

from hashlib import blake2b
from operator import attrgetter
from typing import TYPE_CHECKING

from streamkit.core.claims import claims, groups, heads, pairs, regrouped, tells_of_records_only
from streamkit.core.lanes import Lanes, Stretch
from streamkit.core.letters import Condemned, cause_of
from streamkit.core.rules import Batching, OnDeadLetter, Outcome, Rules, Tally
from streamkit.core.schedule import FOREVER, Attempt, Schedule
from streamkit.core.segments import Segments
from streamkit.core.troubles import Troubles
from streamkit.core.window import Window
from streamkit.events import ShardHalted
from streamkit.signals import Poison, Unavailable, WorldDown

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from streamkit.core.positions import Position, Progress
    from streamkit.core.records import Record
    from streamkit.events import Event

__all__ = ["MAX_PARKED", "Batching", "OnDeadLetter", "Outcome", "Rules", "Settling", "Tally", "digest"]

_AFTER_OTHERS_SECONDS = 0.1
"""What failed in another process waits for so long: whatever else may run has started by then."""
MAX_PARKED = 100
"""Keys a shard may have parked (rule 21): over that it halts, for it is no longer a matter of single keys."""


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
        self._lanes = None if rules.batching else Lanes(lambda ordinal: self._window.record(ordinal).key)
        self._schedule: Schedule = self._lanes or _segments(rules.batching)
        self._troubles = Troubles(shard, rules, self._schedule, self._window.record, tally, report)
        self._stretch: Stretch | None = None
        self._parked = dict.fromkeys(parked)
        self._doomed: dict[tuple[int, float], str] = {}
        self._marked: tuple[int, float] | None = None
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
    def oldest(self) -> Record | None:
        """The first record admitted that is not settled."""
        return None if self._window.clear else self._window.record(self._window.settled)

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
    def condemned(self) -> Mapping[int, Condemned]:
        """Verdicts whose letters are due and not durable yet, by ordinal.

        Where a letter parks its key, an earlier record of that key comes first: it must not follow into the queue.
        """
        condemned = self._troubles.condemned
        if self._rules.on_dead_letter != "park" or self._lanes is not None or not condemned:
            return condemned
        ordinals = {id(verdict.record): ordinal for ordinal, verdict in condemned.items()}
        waiting: set[str] = set()
        due: dict[int, Condemned] = {}
        for record in self._window.unsettled():
            ordinal = ordinals.get(id(record))
            if ordinal is None:
                waiting.add(record.key)
            elif record.key not in waiting:
                due[ordinal] = condemned[ordinal]
        return due

    @property
    def paused(self) -> bool:
        """Say whether the circuit breaker is open."""
        return self._troubles.paused

    def down(self, now: float) -> float | None:
        """Return for how many seconds the circuit breaker has been open, or None."""
        return self._troubles.down(now)

    @property
    def troubled(self) -> bool:
        """Say whether something failed: then what an attempt tells may free others to run."""
        return bool(self._troubles)

    def unsettled(self) -> list[Record]:
        """Return the admitted records that are not settled, in stream order."""
        return self._window.unsettled()

    def progress(self, also: Collection[int] = ()) -> Progress:
        """Return what a checkpoint has to carry now; or would have to, once these ordinals were settled `also`."""
        return self._window.progress(also)

    def edge_after(self, also: Collection[int]) -> Record | None:
        """The record the frontier would stand behind, once these ordinals were settled too."""
        return self._window.edge_after(also)

    def attempts(self, ordinal: int) -> int:
        """Return how often this record has failed so far."""
        return self._troubles.attempts(ordinal)

    def wake_at(self) -> float:
        """Return when `take` may have something that it has not now; FOREVER if only an event can tell."""
        return FOREVER if self.halted else self._troubles.wake_at()

    # What comes in

    def admit(self, records: Iterable[Record], now: float) -> None:
        """Take records in, in stream order. Those settled before are dropped, quietly, and counted (rule 23)."""
        records = list(records)
        if self._marked is not None and (frontier := self.frontier) is not None and frontier.place >= self._marked:
            self._marked = None
        self._tally.received += len(records)
        again = self._troubles.inherited
        first = None if again else self._window.extend(records)
        if first is not None:
            self._schedule.add(first, records, now)
            return
        for record in records:
            ordinal = self._window.admit(record)
            if ordinal is not None and not record.foreign:
                if ordinal in again:
                    self._schedule.defer(ordinal, record, now, until=now + _AFTER_OTHERS_SECONDS)
                else:
                    self._schedule.add(ordinal, (record,), now)
                continue
            if ordinal is not None:
                self._window.settle(ordinal)
            self._settled((record,), Outcome.DUPLICATE)

    def skip(self) -> None:
        """Records may be missing after the last one admitted: nobody knows which of the next ran ahead (rule 17)."""
        self._window.skip()

    def known(self, records: Sequence[Record]) -> int:
        """Return how many of these, up to the first that is none, were settled before."""
        return self._window.known(records)

    # What may run

    def inherit(
        self, now: float, *, failures: Mapping[int, int], doomed: Mapping[Record, str], down: float | None
    ) -> None:
        """Go on where another process left off.

        `failures` by ordinal count once the record fails here too; others go before it, for their success is a witness
        against it. `doomed` ended the process before, alone: they are condemned for this reason without another
        attempt. `down` is for how many seconds everything has been failing.
        """
        for record, why in doomed.items():
            self.doom(record.position, why)
        self._troubles.inherit(now, failures=failures, down=down)

    def doom(self, at: Position, why: str) -> None:
        """The record at this place is condemned without another attempt: its attempts have ended their process."""
        self._doomed[at.place] = why

    def interrupted(self, until: Position) -> None:
        """An earlier owner may have started what is not settled up to here, and nothing is to run twice (rule 25)."""
        self._marked = until.place

    def take(self, now: float) -> Attempt | None:
        """Return the next attempt, which is under way until it is told what became of it; None if nothing may run."""
        self._cut_stretch()
        self._troubles.rejudge(now)
        while not self.halted and (attempt := self._troubles.take(now)) is not None:
            if not self._suspects and not any(map(_defect, attempt.records)):
                return attempt
            unfit = {o: why for o, r in pairs(attempt) if (why := self._unfit(r)) is not None}
            if not unfit:
                return attempt
            self._troubles.ended(attempt)
            self._schedule.put_back(attempt, groups(attempt.ordinals, apart=unfit))
            for ordinal in heads(attempt):
                if ordinal in unfit:
                    self._troubles.condemn(ordinal, unfit[ordinal])
            self._troubles.rejudge(now)
        return None

    def stretch(self, most: int) -> Stretch | None:
        """Return records to be tried one after the other while none waits or fails; None where `take` has to decide.

        They are under way until the stretch ends: with `succeeded` if all that were handed out are handled, with `cut`
        if the last one waits or failed. Any other question cuts it too: whoever asks it runs while that one waits.
        """
        self._cut_stretch()
        if self._lanes is None or self._troubles or self._suspects or self.halted:
            return None
        self._stretch = self._lanes.stretch(most)
        return self._stretch

    def cut(self, stretch: Stretch) -> Attempt:
        """Return the last record the stretch handed out as an attempt of its own; those before it are handled."""
        if stretch is self._stretch and self._lanes is not None:
            self._stretch = None
            self._pass(stretch, stretch.started - 1)
            return self._lanes.cut(stretch)
        if stretch.attempt is None:
            msg = "expected a stretch under way, got one that has ended"
            raise ValueError(msg)
        return stretch.attempt

    def failures(self) -> dict[int, int]:
        """Return the failures to go on from, by ordinal: those that count, and during an outage those from before."""
        return self._troubles.failures()

    # What happened

    def succeeded(self, attempt: Attempt | Stretch, now: float, outcome: Outcome = Outcome.HANDLED) -> None:
        """All records of the attempt, or all that the stretch handed out, are settled, with one outcome."""
        if isinstance(attempt, Stretch):
            if attempt is self._stretch and self._lanes is not None:
                self._stretch = None
                self._pass(attempt, attempt.started)
                self._lanes.close(attempt)
                return
            attempt = self.cut(attempt)
        self._window.settle_all(attempt.ordinals)
        self._settled(attempt.records, outcome)
        self._schedule.retire(attempt)
        self._troubles.ended(attempt)
        if outcome is Outcome.HANDLED and self._troubles:
            self._troubles.prove(attempt.ordinals, now)

    def reduce(self, attempt: Attempt, dropped: Mapping[int, Outcome]) -> Attempt | None:
        """Settle some records of a batch before its handler starts; return the rest, if any, still under way."""
        rest = [(o, r) for o, r in pairs(attempt) if o not in dropped]
        probe = self._troubles.ended(attempt)
        for ordinal, record in pairs(attempt):
            if ordinal in dropped:
                self._window.settle(ordinal)
                self._settled((record,), dropped[ordinal])
                self._troubles.acquit(ordinal)
        if not rest:
            self._schedule.retire(attempt)
            return None
        if probe:
            self._troubles.probing(rest[0][0])
        return Attempt(tuple(o for o, _ in rest), tuple(r for _, r in rest))

    def abandoned(self, attempt: Attempt) -> None:
        """Nothing is known of the attempt: it never started, or was cancelled. Its records are as before.

        Not if it was settled the moment before: a commit may become known in the turn in which its waiter is cancelled.
        """
        if self._window.is_settled(attempt.ordinals[0]):
            return
        self._troubles.ended(attempt)
        self._schedule.put_back(attempt, [attempt.ordinals])

    def failed(self, attempt: Attempt, error: BaseException, now: float, *, oldest: float = 0.0) -> None:
        """The attempt failed. `oldest`: records that arrived before it (epoch seconds) are not tried again."""
        self._cut_stretch()
        troubles = self._troubles
        probe = troubles.ended(attempt)
        patient = not (troubles.worn_out or self._rules.once)
        if isinstance(error, WorldDown) or (isinstance(error, Unavailable) and patient):
            self._schedule.put_back(attempt, [attempt.ordinals])
            troubles.stand_down(error, now, failed_probe=probe or troubles.idle_probe(now))
            troubles.hold_while_worn_out(attempt)
            return
        done, failures = claims(attempt, error)
        if len(done) == len(attempt.ordinals):
            self.succeeded(attempt, now)
            return
        if self._rules.once:
            failures = {o: failures.get(o, error) for o in attempt.ordinals if o not in done}
        halve = troubles.counts or isinstance(error, Poison)
        self._schedule.put_back(attempt, regrouped(attempt, done, failures, halve=halve))
        self._settle_some(attempt, done, now)
        down = {o: each for o, each in failures.items() if isinstance(each, Unavailable) and patient}
        if down:
            troubles.stand_down(next(iter(down.values())), now, failed_probe=probe)
        elif probe and patient and not done and not troubles.counts and not tells_of_records_only(error, failures):
            troubles.pause(now, cause_of(error), failed_probe=True)
        for ordinal, each in failures.items():
            if ordinal not in down:
                troubles.fail(ordinal, each, now, too_old=self._window.record(ordinal).arrived < oldest)
        troubles.rejudge(now)

    def buried(self, ordinals: Iterable[int]) -> None:
        """The letters of these verdicts are durable."""
        for ordinal in ordinals:
            verdict = self._troubles.condemned.pop(ordinal)
            self._window.settle(ordinal)
            self._schedule.drop(ordinal)
            self._settled((verdict.record,), Outcome.DEAD)
            if verdict.condition != "Parked":
                self._follow(verdict.record)

    def halt(self, why: str) -> None:
        """Run nothing more until a person acts."""
        if self.halted is None:
            self.halted = why
            self._report(ShardHalted(shard=self.shard, cause=why))

    # How it is done

    def _cut_stretch(self) -> None:
        if self._stretch is not None:
            self.cut(self._stretch)

    def _pass(self, stretch: Stretch, handled: int) -> None:
        """The first records of a stretch are handled."""
        if handled:
            self._window.settle_all(range(stretch.first, stretch.first + handled))
            self._settled(stretch.records[:handled], Outcome.HANDLED)

    @property
    def _suspects(self) -> bool:
        """Whether there are records that may be unfit for what happened to others, or to them before."""
        return bool(self._parked or self._doomed or self._marked)

    def _unfit(self, record: Record) -> Condemned | None:
        if record.defect is not None:
            return Condemned(record, "Undecodable", record.defect, 0)
        if (why := self._doomed.get(record.position.place)) is not None:
            return Condemned(record, "ProcessDied", why, 0)
        if self._marked is not None and record.position.place <= self._marked:
            return Condemned(record, "Interrupted", "interrupted, may have run", 0)
        if self._parked and digest(record.key) in self._parked:
            return Condemned(record, "Parked", "an earlier record of its key is in the dead-letter queue", 0)
        return None

    def _settle_some(self, attempt: Attempt, done: set[int], now: float) -> None:
        self._settled([record for ordinal, record in pairs(attempt) if ordinal in done], Outcome.HANDLED)
        for ordinal in done:
            self._window.settle(ordinal)
        if done:
            self._troubles.prove(done, now)

    def _follow(self, record: Record) -> None:
        """What happens to the later records of a key that has a dead letter."""
        if self._rules.on_dead_letter == "halt":
            self.halt(f"record {record.sequence_number} was dead-lettered and on_dead_letter is 'halt'")
        elif self._rules.on_dead_letter == "park":
            self._parked[digest(record.key)] = None
            if len(self._parked) > MAX_PARKED:
                self.halt(f"more than {MAX_PARKED} keys are parked")

    def _settled(self, records: Sequence[Record], outcome: Outcome) -> None:
        self._tally.count(outcome, len(records))
        if self.listener is not None:
            for record in records:
                self.listener(record, outcome)


_defect = attrgetter("defect")


def digest(key: str) -> str:
    """Return a short name for a key that does not show it."""
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _segments(batching: Batching | None) -> Segments:
    if batching is None:
        msg = "expected how to make batches, got None"
        raise ValueError(msg)
    return Segments(size=batching.size, linger=batching.linger)
