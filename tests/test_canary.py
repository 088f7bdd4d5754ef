"""Nothing of a record gets into the logs, whatever befalls it (rule 31, docs/security.md)."""

from __future__ import annotations

import asyncio
import io
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from streamkit import Batch, Consumer, Failed, Kinesis, Outage, Partial, Poison, Record, Retry, Sqs, Unavailable
from streamkit.cli.resume import reopen
from streamkit.clock import SystemChance
from streamkit.consumer import consumer
from streamkit.core.positions import Progress
from streamkit.core.records import Origin
from streamkit.core.settlement import Settling, Tally
from streamkit.engine.engine import Engine, Surroundings
from streamkit.engine.handling import Threads
from streamkit.errors import Unanswered, Undelivered
from streamkit.events import Event
from streamkit.logs import Format, reporter
from streamkit.runtimes.setup import handling_of, rules_of
from streamkit.testing import MemoryDeadLetters, MemoryLedger, Recorder, SeededChance, VirtualClock, run_virtual
from streamkit.testing.builders import aggregate
from tests.runtimes.cluster import Cluster, simulate

RECORDS = 1000
MISDEEDS = ("poison", "error", "group", "late", "unavailable", "undecodable", "wrong type", "stop", "returns", "fine")


class MarkedError(Exception):
    """An error whose message, cause and notes quote the record."""

    def __init__(self, marker: str) -> None:
        super().__init__(marker, {marker: marker})
        self.add_note(marker)


class Canary:
    """A marker, and all that is written while it goes through."""

    def __init__(self) -> None:
        self.marker = f"canary{SystemChance().token()[:16]}"
        self.written = {form: io.StringIO() for form in ("json", "console")}
        self.recorder = Recorder()

    def reports(self, clock: VirtualClock) -> Callable[[Event], None]:
        """Return a report to the real reporters, in both forms."""
        forms: Sequence[Format] = ("json", "console")
        real = [reporter(form, "debug", clock=clock, stream=self.written[form]) for form in forms]

        def report(event: Event) -> None:
            self.recorder(event)
            for each in real:
                each(event)

        return report

    def sings_nowhere(self, *expected: str) -> None:
        """Check that everything was written, these events among it, and the marker nowhere: as text, hex or base64."""
        assert set(expected) <= set(self.recorder.names)
        for form, stream in self.written.items():
            text = stream.getvalue()
            assert text.count("\n") == len(self.recorder.events), form
            for line in text.splitlines():
                for shape in (self.marker, self.marker.encode().hex(), self.marker[6:]):
                    assert shape not in line, line

    def misbehave(self, record: Record, how: str) -> object:
        """Fail in one of many ways, quoting the record each time."""
        said = f"{self.marker} {record.key} {record.data!r}"
        match how:
            case "poison":
                raise Poison(said)
            case "error":
                raise MarkedError(said) from ValueError(said)
            case "group":
                raise ExceptionGroup(said, [MarkedError(said)])
            case "unavailable":
                raise Unavailable(said, retry_after=timedelta(seconds=1))
            case "undecodable":
                return record.json(int)
            case "wrong type":
                raise type("Marked", (KeyError,), {})(said)
            case "stop":
                raise StopIteration(said)
            case "returns":
                return said
            case _:
                return None

    def records(self, count: int = RECORDS) -> list[Record]:
        """Make records that carry the marker in payload and key; some are corrupt aggregates."""
        found = []
        for n in range(count):
            data = f'{{"{self.marker}": {n}}}'.encode()
            defect = None
            if n % 25 == 7:
                data = aggregate([(self.marker, data)])[:-1] + b"\x00"
                defect = "the aggregate's checksum is wrong"
            origin = Origin("stream", "shardId-0")
            key = f"{self.marker}-{n % 50}"
            found.append(Record(data, key, str(n + 1), origin, arrived=1_356_998_400.0, defect=defect))
        return found


def made(handler: Callable[..., object], *, batches: bool = False) -> Consumer:
    """Make a consumer that gives up soon."""
    decorate = consumer.batch if batches else consumer
    return decorate(
        "canary",
        source=Kinesis("stream"),
        dead_letters=Sqs("dead"),
        handler_timeout=timedelta(seconds=2),
        retry=Retry(attempts=2, initial=timedelta(seconds=0.1)),
        outage=Outage(limit=timedelta(seconds=60)),
        dedupe_key=lambda record: record.key + record.sequence_number,
    )(handler)  # type: ignore[arg-type]


async def go_through(canary: Canary, subject: Consumer, records: Sequence[Record]) -> None:
    """Settle the records while ledger and queue go down in turn, with errors that quote everything."""
    clock, report = VirtualClock(), canary.reports(VirtualClock())
    letters, ledger = MarkedLetters(canary.marker), MemoryLedger(clock)
    settling = Settling(
        "shardId-0",
        rules_of(subject, chance=SeededChance(), retention=timedelta(days=1)),
        progress=Progress(),
        tally=Tally(),
        report=report,
    )
    engine = Engine(
        handling_of(subject, state=None, threads=Threads(8, name="canary"), stream_arn="arn"),
        settling,
        Surroundings(
            clock=clock,
            report=report,
            dead_letters=letters,
            ledger=ledger,
            may_start=lambda: True,
            delay=lambda refusals: 1.0,
            on_stuck=lambda: None,
        ),
    )
    ledger.outage = Unanswered(canary.marker)
    letters.outage = True
    loop = asyncio.get_running_loop()
    loop.call_later(5, lambda: setattr(ledger, "outage", None))
    loop.call_later(60, lambda: setattr(letters, "outage", False))
    engine.feed(records)
    await engine.run(until=lambda: settling.clear)


class MarkedLetters(MemoryDeadLetters):
    """A queue whose refusal quotes the letters."""

    def __init__(self, marker: str) -> None:
        super().__init__()
        self._marker = marker

    async def send(self, letters: Sequence[object]) -> None:
        """Refuse with many words."""
        if self.outage:
            raise Undelivered(letters, self._marker)  # type: ignore[arg-type]
        await super().send(letters)  # type: ignore[arg-type]


@pytest.mark.parametrize("threads", [False, True], ids=["async", "threads"])
def test_a_thousand_marked_records_through_every_trouble_leave_no_trace_in_the_logs(*, threads: bool) -> None:
    """Poison, errors, time-outs, outages, corrupt aggregates, ledger and queue down: classes and numbers only."""
    canary = Canary()

    def how(record: Record) -> str:
        return MISDEEDS[record.sequence % len(MISDEEDS)]

    def handle_in_thread(record: Record) -> object:
        return canary.misbehave(record, how(record))

    async def handle(record: Record) -> object:
        if how(record) == "late":
            await asyncio.sleep(60)
        await asyncio.sleep(0)
        return canary.misbehave(record, how(record))

    run_virtual(lambda: go_through(canary, made(handle_in_thread if threads else handle), canary.records()))
    canary.sings_nowhere("record.condemned", "shard.paused", "letters.delayed", "record.retried")
    assert threads or "handler.timed_out" in canary.recorder.names
    conditions = Counter(getattr(each, "condition", None) for each in canary.recorder.named("record.condemned"))
    assert {"Poison", "Undecodable", "RetryAttemptsExhausted"} <= conditions.keys()


def test_batches_of_marked_records_leave_none_either() -> None:
    """With failures by name, in part, and of the whole."""
    canary = Canary()

    async def handle(batch: Batch) -> None:
        bad = [record for record in batch if record.sequence % 40 == 0]
        failed = {record: MarkedError(canary.marker) for record in bad}
        if not bad:
            return
        match bad[0].sequence // 40 % 3:
            case 0:
                raise Failed(bad[0], MarkedError(canary.marker))
            case 1:
                raise Partial(done=[record for record in batch if record not in bad], failed=failed)
            case _:
                raise MarkedError(canary.marker)

    run_virtual(lambda: go_through(canary, made(handle, batches=True), canary.records()))
    canary.sings_nowhere("record.condemned", "letters.delayed")


def test_a_worker_over_marked_records_leaves_none_either() -> None:
    """Halted, resumed, resharded, its loop broken, table and stream down."""
    canary = Canary()

    async def main(cluster: Cluster) -> None:
        async def handle(record: Record) -> None:
            if record.sequence % 7 == 0:
                raise MarkedError(canary.marker)
            if len(cluster.world.letters.letters) % 2 == 0 and record.sequence % 5 == 0:
                raise Poison(canary.marker)

        report, stream = canary.reports(VirtualClock()), cluster.world.stream
        for n in range(100):
            stream.put(f"{canary.marker}-{n}", f"{canary.marker}{n}")
        cluster.start(cluster.consumer(handle, on_dead_letter="halt", where=None))
        works = cluster.world.kinesis.get_shard_iterator
        cluster.world.kinesis.get_shard_iterator = broken(canary.marker)  # type: ignore[method-assign]
        await asyncio.sleep(10)
        cluster.world.kinesis.get_shard_iterator = works  # type: ignore[method-assign]
        stream.split(stream.listed()[0].id)
        for step in range(60):
            await asyncio.sleep(5)
            cluster.world.table.outage = Unanswered(canary.marker) if step % 6 == 1 else None
            for row in cluster.world.table.shard_rows.values():
                if row.state == "halted" and step % 6 > 2:
                    await reopen(row, cluster.world.table, cluster.world.chance, cluster.world.clock)
        for _, _, event in cluster.log:
            report(event)

    simulate(main)
    canary.sings_nowhere("shard.halted", "shard.failed", "coordination.delayed", "record.condemned")


def broken(marker: str) -> Callable[..., Any]:
    """Return what fails on an error that quotes the marker."""

    def fail(**_: object) -> None:
        raise LookupError(marker)

    return fail


def test_the_canary_sings_when_it_is_let_out() -> None:
    """The check above can fail: a marker in any field of any event is seen."""
    canary = Canary()
    report = canary.reports
    run_virtual(lambda: said(report, canary.marker))
    with pytest.raises(AssertionError):
        canary.sings_nowhere()


async def said(report: Callable[[VirtualClock], Callable[[Event], None]], marker: str) -> None:
    """Write an event that quotes the marker."""
    from streamkit.events import ShardHalted

    report(VirtualClock())(replace(ShardHalted(shard="s", cause="c"), cause=f"record {marker} is bad"))
