"""streamkit's worker with everything on: leases, heartbeats, order per key, retries, checkpoints in DynamoDB.

    python -m benchmarks.ours async | sync | batch | unsaved | polls | expand

`unsaved` is the same path without a worker: reader, engine, and no checkpoint. Only the quotas of a shard (2 MB and 5
calls a second) are not kept, as the bare loops do not keep them either. `polls` asks quiet shards, `expand` takes
aggregates apart.
"""

import asyncio
import sys
import uuid
from collections.abc import Callable
from datetime import timedelta

from msgspec.structs import replace as changed

from benchmarks.load import AGGREGATED, STREAM, aggregate
from benchmarks.meter import EXPECTED, Meter
from streamkit import Batch, Checkpoint, Consumer, Kinesis, Record, consumer
from streamkit.aws import schema
from streamkit.aws.clients import Aws, AwsSettings
from streamkit.aws.kinesis import KinesisSource
from streamkit.aws.pace import Pacing
from streamkit.aws.world import AwsWorld
from streamkit.clock import SystemChance, SystemClock
from streamkit.core.kpl import expand_all
from streamkit.core.leasing import Progress
from streamkit.core.records import Origin
from streamkit.core.settlement import Settling, Tally
from streamkit.engine.engine import Engine, Surroundings
from streamkit.engine.handling import Threads
from streamkit.events import Event
from streamkit.ports import Reader
from streamkit.runtimes.setup import handling_of, rules_of
from streamkit.runtimes.worker import Options, Worker

UNPACED = Pacing(calls_per_second=1e9, bytes_per_second=1e15, idle_seconds=0.05, idle_limit_seconds=0.05)


def counting(kind: str, meter: Meter, done: Callable[[], object]) -> Consumer:
    """Return a consumer that only counts, and says when it has seen everything."""
    source = Kinesis(STREAM)
    checkpoint = Checkpoint(table=f"bench-{uuid.uuid4().hex}")

    def count(records: int) -> None:
        meter.begin()
        meter.seen += records
        if meter.seen >= EXPECTED:
            meter.end()
            done()

    @consumer("bench", source=source, checkpoint=checkpoint)
    async def each(_: Record) -> None:
        meter.seen += 1
        if meter.seen in {1, EXPECTED}:
            meter.seen -= 1
            count(1)

    @consumer("bench", source=source, checkpoint=checkpoint)
    def in_thread(_: Record) -> None:
        count(1)

    @consumer.batch("bench", source=source, checkpoint=checkpoint, batch_size=1_000)
    async def batches(batch: Batch) -> None:
        count(len(batch))

    return {"sync": in_thread, "batch": batches}.get(kind, each)


class Unpaced(AwsWorld):
    """AWS without the pace that its quotas ask for."""

    async def _records(
        self, source: Kinesis, max_record_bytes: int, aws: Aws, report: Callable[[Event], None]
    ) -> KinesisSource:
        found = await super()._records(source, max_record_bytes, aws, report)
        found.settings = changed(found.settings, pacing=UNPACED)
        return found


async def work(kind: str, meter: Meter) -> None:
    """Run a worker until its consumer has seen everything."""
    clock, chance = SystemClock(), SystemChance()
    loop = asyncio.get_running_loop()
    running: list[Worker] = []
    mine = counting(kind, meter, lambda: loop.call_soon_threadsafe(running[0].drain, "done"))
    async with Aws(settings=AwsSettings(lease_answer_seconds=15.0), report=lambda _: None) as aws:
        await schema.create(await aws.call("dynamodb"), mine.table, clock=clock, protected=False)
    options = Options(until_idle=timedelta(seconds=10))
    world = Unpaced(clock=clock, chance=chance)
    running.append(Worker([mine], world, clock=clock, chance=chance, report=lambda _: None, options=options))
    await running[0].run()


async def read_and_settle(meter: Meter) -> None:
    """Read the first shard into an engine, without a lease or a checkpoint."""
    clock, chance = SystemClock(), SystemChance()
    finished = asyncio.Event()
    mine = counting("async", meter, finished.set)
    settling = Settling(
        "shard",
        rules_of(mine, chance=chance, retention=timedelta(days=1)),
        progress=Progress(),
        tally=Tally(),
        report=lambda _: None,
    )
    threads = Threads(1, name="bench")
    surroundings = Surroundings(
        clock=clock,
        report=lambda _: None,
        dead_letters=None,
        ledger=None,
        may_start=lambda: True,
        delay=lambda _: 1.0,
        on_stuck=lambda: None,
    )
    engine = Engine(handling_of(mine, state=None, threads=threads, stream_arn=""), settling, surroundings)
    async with Aws(settings=AwsSettings(), report=lambda _: None) as aws, asyncio.TaskGroup() as group:
        call = await aws.call("kinesis")
        source = KinesisSource(call, stream=STREAM, clock=clock, chance=chance, report=lambda _: None)
        source.settings = changed(source.settings, pacing=UNPACED)
        (shard, *_) = await source.shards()
        reader = source.reader(shard, "TRIM_HORIZON")
        running = group.create_task(engine.run())
        while not finished.is_set():
            engine.feed(expand_all((await reader.read()).records))
            while not settling.clear:
                engine.settled.clear()
                await engine.settled.wait()
        engine.stop()
        await running


async def poll(meter: Meter) -> None:
    """Ask every shard of a quiet stream, by a reader each."""
    clock, chance = SystemClock(), SystemChance()
    async with Aws(settings=AwsSettings(), report=lambda _: None) as aws:
        call = await aws.call("kinesis")
        source = KinesisSource(call, stream=STREAM, clock=clock, chance=chance, report=lambda _: None)
        source.settings = changed(source.settings, pacing=UNPACED)
        shards = await source.shards()
        readers = [source.reader(shard, "TRIM_HORIZON") for shard in shards]
        for reader in readers:
            await reader.read()
        meter.begin()

        async def ask(reader: Reader) -> None:
            for _ in range(EXPECTED // len(shards)):
                await reader.read()
                meter.seen += 1

        async with asyncio.TaskGroup() as group:
            for reader in readers:
                group.create_task(ask(reader))


async def expand(meter: Meter) -> None:
    """Take aggregates apart."""
    origin, data = Origin(STREAM, "shard"), aggregate()
    records = [Record(data, "a", str(n), origin, 0.0) for n in range(EXPECTED // AGGREGATED)]
    meter.begin()
    for _ in expand_all(records):
        meter.seen += 1


def main(kind: str) -> None:
    """Run one of ours and tell what it took."""
    meter = Meter()
    match kind:
        case "unsaved":
            asyncio.run(read_and_settle(meter))
        case "polls":
            asyncio.run(poll(meter))
        case "expand":
            asyncio.run(expand(meter))
        case _:
            asyncio.run(work(kind, meter))
    meter.tell()


if __name__ == "__main__":
    main(sys.argv[1])
