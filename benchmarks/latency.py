"""From put to handler, at a low rate: against the embedded endpoint, at the pace that the quotas of a shard allow."""

import asyncio
import json
import time
import uuid
from statistics import median, quantiles

from streamkit import Checkpoint, Kinesis, Record, consumer
from streamkit.aws import schema
from streamkit.aws.clients import Aws, AwsSettings
from streamkit.aws.world import AwsWorld
from streamkit.clock import SystemChance, SystemClock
from streamkit.runtimes.worker import Options, Worker

PUTS = 60
EVERY = 0.15
"""Seconds between two puts."""


async def main() -> None:
    """Put, handle, and print the milliseconds between the two: median and 99th percentile."""
    stream = f"latency-{uuid.uuid4().hex[:8]}"
    clock, chance = SystemClock(), SystemChance()
    taken: list[float] = []
    running: list[Worker] = []
    ready = asyncio.Event()

    @consumer("latency", source=Kinesis(stream), checkpoint=Checkpoint(table=f"bench-{uuid.uuid4().hex}"))
    async def handle(record: Record) -> None:
        taken.append((time.perf_counter() - record.json()) * 1000)
        ready.set()
        if len(taken) == PUTS + 1:
            running[0].drain("done")

    async with (
        Aws(settings=AwsSettings(lease_answer_seconds=15.0), report=lambda _: None) as aws,
        asyncio.TaskGroup() as group,
    ):
        await schema.create(await aws.call("dynamodb"), handle.table, clock=clock, protected=False)
        kinesis = await aws.call("kinesis")
        await kinesis("CreateStream", StreamName=stream, ShardCount=1)

        async def put() -> None:
            moment = json.dumps(time.perf_counter()).encode()
            await kinesis("PutRecord", StreamName=stream, PartitionKey="a", Data=moment)

        world = AwsWorld(clock=clock, chance=chance)
        running.append(Worker([handle], world, clock=clock, chance=chance, report=lambda _: None, options=Options()))
        await put()
        group.create_task(running[0].run())
        await ready.wait()
        for n in range(PUTS):
            await asyncio.sleep(EVERY * (0.5 + n % 7 / 6))
            await put()
    slow = quantiles(taken[1:], n=100, method="inclusive")[98]
    print(json.dumps({"seen": len(taken) - 1, "median": median(taken[1:]), "p99": slow}))


if __name__ == "__main__":
    asyncio.run(main())
