"""streamkit's worker with everything on: leases, heartbeats, order per key, retries, checkpoints in DynamoDB.

    python -m benchmarks.ours async | sync | batch | unsaved | images | untouched | polls | expand

`unsaved` is the same path without a worker: reader, engine, and no checkpoint. Only the quotas of a shard (2 MB and 5
calls a second) are not kept, as the bare loops do not keep them either. `images` and `untouched` are the same of a
table's changes, with both images read or none. `polls` asks quiet shards, `expand` takes
aggregates apart.
"""

import asyncio
import os
import sys
import uuid
from collections.abc import Callable
from datetime import timedelta

from msgspec.structs import replace as changed

from benchmarks.load import AGGREGATED, STREAM, aggregate
from benchmarks.meter import EXPECTED, Meter
from streamkit import Batch, Change, Checkpoint, Consumer, DynamoDBStream, Kinesis, Record, consumer
from streamkit.aws import schema
from streamkit.aws.change_source import ChangeSource
from streamkit.aws.clients import Aws, AwsSettings
from streamkit.aws.kinesis import KinesisSource
from streamkit.aws.pace import Pacing
from streamkit.aws.world import AwsWorld
from streamkit.clock import SystemChance, SystemClock
from streamkit.core.kpl import expand_all
from streamkit.core.positions import Progress
from streamkit.core.records import Origin
from streamkit.core.settlement import Settling, Tally
from streamkit.engine.engine import Engine, Surroundings
from streamkit.engine.handling import Threads
from streamkit.events import Event
from streamkit.ports import Reader, Source
from streamkit.runtimes.setup import handling_of, rules_of
from streamkit.runtimes.worker import Options, Worker

UNPACED = Pacing(calls_per_second=1e9, bytes_per_second=1e15)
"""As fast as answers come; a shard that has brought everything is polled at the usual pace, as in use."""
PATIENCE = timedelta(seconds=15)
"""With the emulated table, whose answers to hundreds of shards at once come one after the other."""
CHANGES = ("images", "untouched")
LEAN = not os.environ.get("BENCH_SDK")
"""Whether records are asked for without the SDK, as is usual."""
NEVER_IDLE = changed(UNPACED, idle_seconds=0.0, idle_limit_seconds=0.0)


def counting(kind: str, meter: Meter, done: Callable[[], object]) -> Consumer:
    """Return a consumer that only counts, and says when it has seen everything."""
    source = DynamoDBStream(STREAM) if kind in CHANGES else Kinesis(STREAM)
    checkpoint = Checkpoint(table=f"bench-{uuid.uuid4().hex}", lease=4 * PATIENCE)

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
    async def images(change: Change) -> None:
        _ = change.old, change.new
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

    return {"sync": in_thread, "batch": batches, "images": images}.get(kind, each)


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
    async with Aws(settings=AwsSettings(lease_answer_seconds=PATIENCE.total_seconds()), report=lambda _: None) as aws:
        await schema.create(await aws.call("dynamodb"), mine.table, clock=clock, protected=False)
    options = Options(until_idle=timedelta(seconds=10))
    world = Unpaced(
        clock=clock, chance=chance, settings=AwsSettings(lean=LEAN, lease_answer_seconds=PATIENCE.total_seconds())
    )
    running.append(Worker([mine], world, clock=clock, chance=chance, report=lambda _: None, options=options))
    await running[0].run()


async def source_of(kind: str, aws: Aws, clock: SystemClock, chance: SystemChance) -> Source:
    """Return what is read, without the pace that quotas ask for."""
    if kind in CHANGES:
        changes = ChangeSource(
            await aws.call("dynamodb"),
            await aws.call("dynamodbstreams"),
            table=STREAM,
            clock=clock,
            chance=chance,
            report=lambda _: None,
        )
        changes.settings = changed(changes.settings, pacing=UNPACED)
        return changes
    source = KinesisSource(await aws.call("kinesis"), stream=STREAM, clock=clock, chance=chance, report=lambda _: None)
    source.settings = changed(source.settings, pacing=UNPACED)
    return source


async def read_and_settle(kind: str, meter: Meter) -> None:
    """Read the first shard into an engine, without a lease or a checkpoint."""
    clock, chance = SystemClock(), SystemChance()
    finished = asyncio.Event()
    mine = counting(kind, meter, finished.set)
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
    async with (
        Aws(settings=AwsSettings(lean=LEAN), report=lambda _: None, clock=clock) as aws,
        asyncio.TaskGroup() as group,
    ):
        source = await source_of(kind, aws, clock, chance)
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
    async with Aws(settings=AwsSettings(lean=LEAN), report=lambda _: None, clock=clock) as aws:
        call = await aws.call("kinesis")
        source = KinesisSource(call, stream=STREAM, clock=clock, chance=chance, report=lambda _: None)
        source.settings = changed(source.settings, pacing=NEVER_IDLE)
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
        case "unsaved" | "images" | "untouched":
            asyncio.run(read_and_settle(kind, meter))
        case "polls":
            asyncio.run(poll(meter))
        case "expand":
            asyncio.run(expand(meter))
        case _:
            asyncio.run(work(kind, meter))
    meter.tell()


if __name__ == "__main__":
    main(sys.argv[1])
