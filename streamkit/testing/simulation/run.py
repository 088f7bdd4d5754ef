"""One run of a seed: producers, operators and misfortunes act on a fleet, then comes the quiet in which all drains."""

from __future__ import annotations

import asyncio
import gc
import random
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from streamkit.errors import Throttled, Unanswered
from streamkit.testing.simulation.fleet import GRACE_SECONDS, Fleet, Verdict
from streamkit.testing.simulation.loop import Stuck
from streamkit.testing.simulation.mix import Mix, draw

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from streamkit.testing.simulation.book import Entry
    from streamkit.testing.simulation.process import Process

KEEP = 400
"""Happenings kept for people."""
_DRAIN_SECONDS = 30.0
"""Within which a worker has to end after SIGTERM; or to call a thread stuck that is over its time."""
_DEATHS = 14
"""By one record, at most: one of a few hundred takes 2 log2(n) + 4 where a worker dies of nothing else."""
_BEHAVIOURS = ("poison", "bad", "slow", "slow", "flaky", "flaky", "hanging")


def patience(mix: Mix, unsettled: Sequence[Entry]) -> float:
    """Return the virtual seconds within which everything has to drain after the last fault.

    A listing (60 s), a few leases for who died last, and what the handlers themselves take one after the other. Each
    death by a record costs up to two leases until there is another worker, and some until it takes over.
    """
    deaths = _DEATHS * mix.killers * (5 * mix.lease + 5.0)
    return 90.0 + 8 * mix.lease + deaths + sum(_work(mix, entry) for entry in unsettled)


def _work(mix: Mix, entry: Entry) -> float:
    """Return the longest that the handler may take for one record, retries included."""
    attempts = mix.attempts if entry.behaviour in ("hanging", "flaky", "bad") else 1
    longest = mix.timeout if entry.behaviour in ("hanging", "slow") else 0.5
    return attempts * (longest + 0.5)


def goodbye(mix: Mix) -> float:
    """Return the virtual seconds within which a worker has to end after SIGTERM.

    A thread that never ends began before the grace was over, and is called stuck in its time.
    """
    endless = mix.kind == "thread" and (mix.bad or mix.stuck)
    return _DRAIN_SECONDS + (GRACE_SECONDS + mix.timeout if endless else 0.0)


@contextmanager
def _uncollected() -> Generator[None]:
    """Keep the garbage collector out: a seed leaves little behind, and a fifth of its time would go into looking."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@_uncollected()
def simulate(seed: int, *, keep: int = KEEP, mix: Mix | None = None) -> Verdict:
    """Run one seed to its end."""
    mix = mix or draw(seed)
    fleet = Fleet(mix, keep=keep)
    script = Script(fleet)
    loop = fleet.loop
    try:
        loop.run_until_complete(loop.world.start(script.play(), name="script"))
    except Stuck as stuck:
        fleet.referee.violated("the fleet never stands still", str(stuck))
    if fleet.loop.complaints and fleet.referee.violation is None:
        fleet.referee.violated("nothing escapes", fleet.loop.complaints[0])
    verdict = Verdict(
        seed=seed,
        violation=fleet.referee.violation,
        digest=fleet.history.digest,
        seen=fleet.history.seen,
        history=fleet.history,
        virtual_seconds=loop.time(),
        drained_after=script.drained_after,
        repeats=fleet.referee.repeats.count,
    )
    fleet.referee.violation = fleet.referee.violation or "over"
    loop.bury()
    return verdict


class Script:
    """What happens to a fleet, when."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.mix = fleet.mix
        self.drained_after = 0.0
        rng = random.Random(f"killers {self.mix.seed}")
        self._killers = frozenset(rng.sample(range(self.mix.records), self.mix.killers))

    async def play(self) -> None:
        """The trouble, then the quiet."""
        fleet, mix = self.fleet, self.mix
        fleet.site.trouble(mix.rates)
        fleet.site.note()
        for _ in range(mix.workers):
            fleet.after(fleet.rng.uniform(0.0, 2.0), fleet.launch)
        self._schedule()
        await asyncio.sleep(mix.duration)
        await self._quiet()

    def _schedule(self) -> None:
        fleet, mix, rates = self.fleet, self.mix, self.mix.rates
        rng = fleet.rng
        for _ in range(mix.records):
            fleet.after(rng.uniform(0.0, mix.duration), self._put)
        plan: list[tuple[int, Callable[[], object]]] = [
            (rates.kills, self._kill),
            (rates.stops, self._stop),
            (rates.table_outages, self._table_outage),
            (rates.queue_outages, self._queue_outage),
            (rates.sink_outages, self._sink_outage),
            (rates.reshards, self._reshard),
            (rates.joins, self._join),
            (rates.leaves, self._leave),
            (rates.deploys, self._deploy),
            (rates.blackouts, self._blackout),
            (rates.remakes, self._remake),
        ]
        for times, act in plan:
            for _ in range(times):
                fleet.after(rng.uniform(0.0, mix.duration), act)

    # -- what producers and operators do

    def _put(self) -> None:
        fleet, mix = self.fleet, self.mix
        number = len(fleet.referee.book.entries)
        behaviour = "killer" if number in self._killers else "plain"
        if fleet.rng.random() < mix.bad and behaviour == "plain":
            behaviour = fleet.rng.choice(_BEHAVIOURS)
        key = int(mix.keys * fleet.rng.random() ** (4 if mix.uneven else 1))
        record = fleet.site.put(f"key-{key}", number)
        if record is not None:
            fleet.referee.put(record, behaviour)

    def _put_everywhere(self) -> None:
        """Put one more record into every open shard: a gap is reported when reading goes on."""
        for shard in self.fleet.site.open():
            record = self.fleet.site.put_into(shard, len(self.fleet.referee.book.entries))
            if record is not None:
                self.fleet.referee.put(record, "plain")

    def _remake(self) -> None:
        """Delete the stream; later create another under its name, with or without as many shards."""
        fleet = self.fleet
        if fleet.table.registration is None:
            return  # nobody has met the stream yet: the next is as good
        fleet.site.delete()
        fleet.referee.book.era = fleet.site.era
        self._say("the stream is deleted")
        fleet.history.saw("stream remade")
        gone = fleet.rng.uniform(6.0, 20.0)
        sleeper = fleet.some()
        if sleeper is not None and fleet.weather.happens(0.7):
            sleeper.stop(gone + 1.0, "while the stream is made again")
        fleet.after(gone, partial(self._make_again, fleet.rng.randint(1, self.mix.shards)))

    def _make_again(self, shards: int) -> None:
        self.fleet.site.create(shards)
        self._say(f"another stream of the same name, with {shards} shards")

    def _reshard(self) -> None:
        fleet = self.fleet
        if fleet.referee.book.era:
            return
        reshape = fleet.site.reshape(fleet.rng, fleet.weather.happens)
        if reshape is not None:
            self._say(reshape.told)
            fleet.history.saw(reshape.kind)
        fleet.site.note()
        if fleet.weather.happens(0.4):
            fleet.after(fleet.rng.uniform(0.0, 1.0), self._reshard_again)

    def _reshard_again(self) -> None:
        if not self.fleet.quiet:
            self._reshard()

    def _join(self) -> None:
        self.fleet.history.saw("join")
        self.fleet.launch()

    def _leave(self) -> None:
        process = self.fleet.some()
        if process is not None:
            self._drain(process, "leave")

    def _drain(self, process: Process, why: str) -> None:
        worker = self.fleet.workers[process]
        self.fleet.history.saw(why)
        process.cut_at = min(process.cut_at, self.fleet.loop.time() + GRACE_SECONDS)
        self.fleet.history.note(self.fleet.loop.time(), process.name, f"SIGTERM: {why}")
        process.home.context.copy().run(self.fleet.loop.call_soon, worker.drain, why)

    def _deploy(self) -> None:
        """Replace every worker by a new one, one after the other."""
        for index, process in enumerate(list(self.fleet.workers)):
            self.fleet.after(index * self.fleet.rng.uniform(0.0, 3.0), partial(self._replace, process))

    def _replace(self, process: Process) -> None:
        if process in self.fleet.workers and not self.fleet.quiet:
            self._drain(process, "deploy")
            self.fleet.launch()

    # -- misfortunes

    def _kill(self) -> None:
        process = self.fleet.some()
        if process is not None:
            process.kill("at random")
            self.fleet.bereaved(process)

    def _stop(self) -> None:
        process = self.fleet.some()
        if process is not None:
            process.stop(self.fleet.weather.long_stop(), "at random")

    def _blackout(self) -> None:
        self.fleet.history.saw("blackout")
        for process in list(self.fleet.workers):
            process.kill("blackout")
            self.fleet.workers.pop(process, None)
        self.fleet.after((self.mix.retention or 0.0) * self.fleet.rng.uniform(0.5, 1.5), self.fleet.relaunch)

    def _table_outage(self) -> None:
        weather = self.fleet.weather
        weather.table_down = self.fleet.rng.choice((Throttled, Unanswered))
        self._say("the table is down")
        self.fleet.history.saw("table outage")
        self.fleet.after(weather.long_stop(), self._table_back)

    def _table_back(self) -> None:
        self.fleet.weather.table_down = None
        self._say("the table is back")

    def _queue_outage(self) -> None:
        self.fleet.weather.queue_down = True
        self._say("the queue is down")
        self.fleet.after(self.fleet.rng.uniform(1.0, 15.0), self._queue_back)

    def _queue_back(self) -> None:
        self.fleet.weather.queue_down = False
        self._say("the queue is back")

    def _sink_outage(self) -> None:
        self.fleet.weather.sink_down = True
        self._say("the sink is down")
        self.fleet.after(self.fleet.rng.uniform(1.0, 15.0), self._sink_back)

    def _sink_back(self) -> None:
        self.fleet.weather.sink_down = False
        self._say("the sink is back")

    def _say(self, what: str) -> None:
        self.fleet.history.note(self.fleet.loop.time(), "world", what)

    # -- the quiet

    async def _quiet(self) -> None:
        fleet, referee = self.fleet, self.fleet.referee
        fleet.quiet = True
        fleet.weather.clear()
        fleet.site.trouble(fleet.weather.rates)
        self._say("quiet")
        for process in fleet.processes.values():
            process.home.resume()
        if not fleet.workers:
            fleet.launch()
        began = fleet.loop.time()
        limit = patience(self.mix, referee.book.unsettled())
        if referee.book.era:
            await self._all_stopped(limit)
            return
        while unsettled := referee.book.unsettled():
            if fleet.loop.time() - began > limit:
                referee.violated("everything drains", f"{len(unsettled)} left, the first: {unsettled[0]}")
                return
            await asyncio.sleep(0.5)
            if not any(process.alive for process in fleet.workers):
                fleet.launch()
        self.drained_after = fleet.loop.time() - began
        await asyncio.sleep(self.mix.interval + 1.0 + self.mix.aftermath)
        await self._end()
        if self.mix.retention is not None:
            await self._reported(limit)
        self._final()

    async def _reported(self, limit: float) -> None:
        """What was cut short by the drain, and trimmed meanwhile, a successor has to report."""
        fleet, referee = self.fleet, self.fleet.referee
        fleet.closed = False
        self._put_everywhere()
        fleet.launch()
        began = fleet.loop.time()
        while referee.book.unreported() and fleet.loop.time() - began < limit:  # noqa: ASYNC110 - virtual seconds
            await asyncio.sleep(1.0)
        await self._end()

    async def _end(self) -> None:
        """Drain all that run, and start no more."""
        fleet = self.fleet
        fleet.closed = True
        for process in list(fleet.workers):
            self._drain(process, "the end")
        await self._all_drained()

    async def _all_stopped(self, limit: float) -> None:
        """After the end of its stream every worker that has something to read stops by itself."""
        fleet = self.fleet
        began = fleet.loop.time()
        while busy := [process for process in fleet.workers if fleet.referee.owns(process)]:
            if fleet.loop.time() - began > limit:
                fleet.referee.violated("the end of a stream ends its workers", busy[0].name)
                return
            await asyncio.sleep(0.5)
        await self._end()

    async def _all_drained(self) -> None:
        fleet = self.fleet
        began = fleet.loop.time()
        while fleet.workers:
            if fleet.loop.time() - began > goodbye(self.mix):
                fleet.referee.violated("a drain ends", ", ".join(process.name for process in fleet.workers))
                return
            await asyncio.sleep(0.5)

    def _final(self) -> None:
        fleet = self.fleet
        for entry in fleet.referee.book.unreported():
            fleet.referee.violated("what is trimmed is reported", str(entry))
        if self.mix.kind == "transactional":
            fleet.referee.exact.final(fleet.table.items)
        if self.mix.keyed:
            fleet.referee.events.final()
        for row in fleet.table.shard_rows.values():
            if fleet.referee.kept_by_the_left(row):
                fleet.referee.violated("a drain releases", fleet.referee.told(row))
