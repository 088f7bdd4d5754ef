"""One shard's records of one invocation, from claim to settlement."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from streamkit.core.ledger import Tenure
from streamkit.core.memory import MAX_STEP, Halt, Recollection, Trouble, named, place, remaining, steps
from streamkit.core.positions import Progress
from streamkit.core.settlement import Settling, Tally
from streamkit.core.window import pack
from streamkit.engine.engine import Engine, Handling, Surroundings
from streamkit.errors import Overtaken, WorldError
from streamkit.events import DeliveryDied, DeliverySettled, DeliveryUnsettled
from streamkit.runtimes.function.attempts import Attempts
from streamkit.runtimes.function.claims import Claims, Standing, Terms
from streamkit.runtimes.setup import half_jitter, rules_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Literal

    from streamkit.consumer import Consumer
    from streamkit.core.records import Record
    from streamkit.ports import Chance, Clock, FunctionPorts, Report
    from streamkit.runtimes.function.deadline import Deadline
    from streamkit.runtimes.function.events import Part
    from streamkit.runtimes.health.meters import Meters

    Cause = Literal["deadline", "outage", "halted", "twin", "table", "fenced", "stuck"]

_RETENTION = timedelta(days=1)
"""What a function takes its stream's to be: it does not ask. It limits an outage (`Outage.limit_for`)."""
_SOLE_DEATHS = 2
"""A record that was alone under way at so many deaths of the process is condemned (rule 22)."""
_DOOMED = f"the process died {_SOLE_DEATHS} times while this record alone was under way"


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """A consumer with everything it works through: the same for all invocations in one event loop."""

    consumer: Consumer
    ports: FunctionPorts
    handling: Handling
    clock: Clock
    chance: Chance
    report: Report
    meters: Meters
    leave: Callable[[], None]
    """Ends the process: an attempt in a thread would thaw into a later invocation (rule 8)."""


class Delivery:
    """Settles one part of an event."""

    def __init__(self, part: Part, opened: Opened, deadline: Deadline) -> None:
        self._part = part
        self._records = part.records
        self._opened = opened
        self._deadline = deadline
        self._rules = rules_of(opened.consumer, chance=opened.chance, retention=_RETENTION)
        self._tally = Tally()
        self._claims = Claims(part, deadline, _terms(opened, self._rules.decoding))
        self._known = Recollection(b"", Trouble())
        self._settling: Settling
        self._attempts: Attempts
        self._engine: Engine  # made by `_begin`, with what is known once the records are claimed
        self._working: asyncio.Task[None]
        self._beside: list[asyncio.Task[None]] = []
        self._fed = 0
        self._cut: dict[str, int] = {}
        self._halt: Halt | None = None
        self._overtaken = False
        self._marked: tuple[str, ...] = ()

    async def run(self) -> int | None:
        """Settle, and count; return which entry of the event is the first that is not settled, None if all are."""
        try:
            return await self._run()
        finally:
            meters = self._opened.meters
            if meters.handler is not None:
                self._tally.received_bytes = sum(len(record.data) for record in self._records)
            meters.tally += self._tally

    async def _run(self) -> int | None:
        """Settle; return which entry of the event is the first that is not settled, None if all are."""
        try:
            async with asyncio.timeout(self._left(self._deadline.stop)):
                self._known = await self._claims.take()
                self._halt = await self._found_halted(self._known.trouble.halted)
        except TimeoutError:
            return self._given_back(self._records, "twin" if self._claims.blocked else "table")
        if self._claims.passed:
            await self._let_go()
            return self._given_back(self._records, "twin")
        self._begin()
        await self._work()
        unsettled = self._unsettled()
        await self._end(unsettled)
        if unsettled:
            return self._given_back(unsettled, self._cause())
        self._report_settled()
        return None

    def _begin(self) -> None:
        """Go on where earlier deliveries left off."""
        trouble, records = self._known.trouble, self._records
        if self._known.died:
            self._report_death(trouble)
        batching = self._rules.batching
        if batching is not None and trouble.batch:
            self._rules = replace(self._rules, batching=replace(batching, size=min(batching.size, trouble.batch)))
        self._settling = self._new_settling()
        interesting = {*trouble.failures, *trouble.sole}
        looked_at = enumerate(records) if interesting else ()
        found = {at: index for index, record in looked_at if (at := place(record)) in interesting}
        self._settling.inherit(
            self._opened.clock.monotonic(),
            failures={found[at]: n for at, n in trouble.failures.items() if at in found},
            doomed={records[found[at]]: _DOOMED for at, n in trouble.sole.items() if n >= _SOLE_DEATHS and at in found},
            down=None if trouble.down_since is None else max(0.0, self._now() - trouble.down_since),
        )
        if self._halt is not None:
            self._settling.halt(self._halt.why)
        self._attempts = self._new_attempts()
        self._engine = Engine(self._handling(), self._settling, self._surroundings())

    async def _work(self) -> None:
        """Settle what time allows, and end the process if that does not end, whatever fails meanwhile."""
        tasks: list[asyncio.Task[None]] = []
        async with asyncio.TaskGroup() as group:
            timer = asyncio.get_running_loop().call_later(
                self._left(self._deadline.leave), lambda: tasks.append(group.create_task(self._leave()))
            )
            try:
                await self._settle()
            finally:
                timer.cancel()
            for task in tasks:
                task.cancel()

    async def _settle(self) -> None:
        loop, deadline = asyncio.get_running_loop(), self._deadline
        async with asyncio.TaskGroup() as group:
            working = self._working = group.create_task(self._engine.run(until=self._over))
            self._beside = [group.create_task(each) for each in (self._feed(), self._renew())]
            timers = [
                loop.call_later(self._left(deadline.stop), self._stop),
                loop.call_later(self._left(deadline.cancel), self._cancel, working),
            ]
            try:
                await _worked(working)
            finally:  # a timer that outlived its invocation would keep all of it
                for timer in timers:
                    timer.cancel()
            for task in self._beside:
                task.cancel()

    # While it works

    def _stop(self) -> None:
        """Start nothing more. A letter that parks its key waits: earlier records of the key may not have run."""
        self._engine.stop(letters=self._opened.consumer.on_dead_letter != "park")

    def _cancel(self, working: asyncio.Task[None]) -> None:
        """End what is under way. During an outage that says nothing of its record."""
        self._cut = {} if self._settling.paused else self._attempts.cut_off()
        working.cancel()

    def _over(self) -> bool:
        """Say whether there is nothing left to do, or nothing that could be done."""
        if self._settling.halted is not None:
            return self._opened.ports.dead_letters is None or not self._settling.condemned
        return self._fed == len(self._records) and self._settling.clear

    async def _feed(self) -> None:
        """Hand the records to the engine, step by step where earlier deliveries died (rule 22)."""
        if self._known.died:
            await self._save()
        for step in steps(self._records, self._known.ahead, self._known.trouble):
            while not self._settling.clear:
                self._engine.settled.clear()
                await self._engine.settled.wait()
            batch = self._records[step.indexes.start : step.indexes.stop]
            if step.marked:
                unsettled = [r for r, i in zip(batch, step.indexes, strict=True) if not self._known.ahead[i]]
                await self._save(mark=tuple(place(record) for record in unsettled))
            self._fed = step.indexes.stop
            self._engine.feed(batch)

    async def _renew(self) -> None:
        """Write how far it is every interval in which something was settled, and often enough to keep the claim."""
        checkpoint = self._opened.consumer.checkpoint
        interval, third = checkpoint.interval.total_seconds(), checkpoint.lease.total_seconds() / 3
        written, since = self._tally.handled, 0.0
        while True:
            pause = max(0.1, min(interval, third))
            await asyncio.sleep(pause)
            since += pause
            if self._tally.handled != written or since + pause > third:
                written, since = self._tally.handled, 0.0
                await self._save(mark=self._marked)

    async def _save(self, *, mark: tuple[str, ...] = ()) -> None:
        """Write how far it is. A claim that another delivery has taken over stops everything."""
        self._marked = mark
        try:
            await self._claims.save(self._standing(self._unsettled(), mark=mark))
        except Overtaken:
            self._overtaken = True
            self._claims.drop()
            self._engine.stop()

    async def _leave(self) -> None:
        """End the process if an attempt does not end: it would thaw into a later invocation (rule 8)."""
        if self._working.done():
            return
        for task in self._beside:  # or they would have the last word
            task.cancel()
        unsettled = self._unsettled()
        self._given_back(unsettled, "stuck")
        mark = self._attempts.places()
        standing = self._standing(unsettled, mark=mark if len(mark) <= MAX_STEP else ())
        with suppress(TimeoutError, WorldError, Overtaken):
            async with asyncio.timeout(self._left(self._deadline.end)):
                await self._claims.save(standing, until=self._now() - 1)
        self._opened.leave()

    # Ending

    async def _end(self, unsettled: Sequence[Record]) -> None:
        """Write what came of it, and let go. What is settled is, whether the table takes note of it or not."""
        if self._overtaken:
            return
        with suppress(TimeoutError, Overtaken):
            async with asyncio.timeout(self._left(self._deadline.leave)):
                await self._stand_still(unsettled)
                await self._claims.save(self._last_standing(unsettled), ends=True)

    def _last_standing(self, unsettled: Sequence[Record]) -> Standing:
        standing = self._standing(unsettled)
        if unsettled and not self._moved() and self._cause() == "deadline":
            standing = replace(standing, trouble=replace(standing.trouble, batch=self._half_a_batch()))
        return standing

    # Standing still

    async def _found_halted(self, name: str | None) -> Halt | None:
        """Return the halt that an earlier delivery left, unless a person has lifted it."""
        return None if name is None else await self._claims.halted(name)

    async def _stand_still(self, unsettled: Sequence[Record]) -> None:
        """Make a halt durable before the memo tells of it. Without a queue nothing is: each delivery finds it anew."""
        why = self._settling.halted
        if why is None or self._halt is not None or self._opened.ports.dead_letters is None or not unsettled:
            return
        part, number = self._part, unsettled[0].sequence_number
        halt = Halt(stream=part.arn, shard=part.shard, sequence=number, why=why, since=self._now())
        await self._claims.halt(halt)
        self._halt = halt

    def _half_a_batch(self) -> int:
        """Return how many records the next batch may have: this one took all the time there was."""
        batching = self._rules.batching
        return 0 if batching is None else max(1, min(batching.size, len(self._records)) // 2)

    async def _let_go(self) -> None:
        """Give the claim back, and leave everything as it was found."""
        untouched = Standing(progress=Progress(), unsettled=self._records, trouble=self._known.trouble, moved=False)
        with suppress(TimeoutError, Overtaken):
            async with asyncio.timeout(self._left(self._deadline.leave)):
                await self._claims.save(untouched, ends=True)

    def _unsettled(self) -> list[Record]:
        ahead, records = self._known.ahead, self._records
        unfed = [records[index] for index in range(self._fed, len(records)) if not ahead[index]]
        return [*self._settling.unsettled(), *unfed]

    def _standing(self, unsettled: Sequence[Record], *, mark: tuple[str, ...] = ()) -> Standing:
        settling, moved = self._settling, self._moved()
        down = settling.down(self._opened.clock.monotonic())
        trouble = replace(
            self._known.trouble,
            failures={place(self._records[ordinal]): n for ordinal, n in settling.failures().items() if n},
            cut=self._known.trouble.cut | self._cut,
            down_since=None if down is None else self._now() - down,
            halted=None if self._halt is None else self._halt.name,
            parked=settling.parked,
        )
        return Standing(
            progress=settling.progress(),
            unsettled=unsettled,
            trouble=remaining(trouble, unsettled, moved=moved),
            moved=moved,
            mark=mark,
        )

    def _moved(self) -> bool:
        tally = self._tally
        return tally.handled + tally.filtered + tally.dead > 0

    def _cause(self) -> Cause:
        if self._settling.halted is not None:
            return "halted"
        if self._engine.fenced or self._overtaken:
            return "fenced"
        return "outage" if self._settling.paused else "deadline"

    def _given_back(self, unsettled: Sequence[Record], cause: Cause) -> int:
        """Report what comes again; return the entry of the event that is the first of it."""
        first = unsettled[0]
        number = first.sequence_number
        self._opened.report(
            DeliveryUnsettled(shard=self._part.shard, sequence=number, unsettled=len(unsettled), cause=cause)
        )
        return self._part.places[self._records.index(first)]

    def _report_settled(self) -> None:
        tally = self._tally
        self._opened.report(
            DeliverySettled(
                shard=self._part.shard,
                handled=tally.handled,
                duplicates=tally.duplicates,
                filtered=tally.filtered,
                dead=tally.dead,
                retried=tally.retried,
            )
        )

    def _report_death(self, trouble: Trouble) -> None:
        first, suspects = self._records[0].sequence_number, len(trouble.suspects)
        self._opened.report(
            DeliveryDied(shard=self._part.shard, sequence=first, deaths=trouble.deaths, suspects=suspects)
        )

    # What the engine is given

    def _new_settling(self) -> Settling:
        return Settling(
            self._part.shard,
            self._rules,
            progress=_progress(self._known, self._records, self._rules.decoding),
            parked=self._known.trouble.parked,
            tally=self._tally,
            report=self._opened.report,
        )

    def _new_attempts(self) -> Attempts:
        opened = self._opened
        return Attempts(
            self._deadline,
            opened.clock,
            opened.report,
            cut=self._known.trouble.cut,
            under_way=lambda: self._engine.under_way,
        )

    def _handling(self) -> Handling:
        """Return how the handler is called: who has no time-out of its own before the deadline is cut off by it."""
        handling, deadline = self._opened.handling, self._deadline
        ends = handling.timeout if handling.timeout < self._left(deadline.stop) else self._left(deadline.end) + 1.0
        return replace(handling, call=self._attempts.limited(handling.call), timeout=ends, stream_arn=self._part.arn)

    def _surroundings(self) -> Surroundings:
        opened = self._opened
        return Surroundings(
            clock=opened.clock,
            report=opened.report,
            dead_letters=opened.ports.dead_letters,
            ledger=opened.ports.ledger,
            tenure=Tenure("functions", self._claims.epoch),
            successes=opened.ports.successes,
            may_start=self._claims.fence.holds,
            delay=half_jitter(timedelta(seconds=0.5), timedelta(seconds=30), opened.chance),
            on_stuck=lambda: None,
            observe=opened.meters.handler.note if opened.meters.handler else None,
        )

    # Time

    def _now(self) -> float:
        return self._opened.clock.now().timestamp()

    def _left(self, moment: float) -> float:
        return max(0.0, moment - self._opened.clock.monotonic())


def _terms(opened: Opened, decoding: int) -> Terms:
    return Terms(
        memory=opened.ports.memory,
        halts=opened.ports.halts,
        clock=opened.clock,
        chance=opened.chance,
        report=opened.report,
        lease=opened.consumer.checkpoint.lease.total_seconds(),
        in_turn=opened.consumer.parallelization_factor == 1,
        decoding=decoding,
    )


def _progress(known: Recollection, records: Sequence[Record], decoding: int) -> Progress:
    """Return what is known to be settled as a checkpoint would carry it."""
    if not any(known.ahead):
        return Progress()
    return Progress(first=named(records[0]), done=pack(bytearray(known.ahead)), decoding=decoding)


async def _worked(working: asyncio.Task[None]) -> None:
    """Wait for the engine; that its time ran out is an end like any other."""
    try:
        await working
    except asyncio.CancelledError:
        me = asyncio.current_task()
        if me is None or me.cancelling():
            raise
