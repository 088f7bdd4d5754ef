"""`streamkit init`: see that what a consumer works with is there, and make its checkpoint table."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from streamkit.cli.loading import config_option, configured, consumers_argument
from streamkit.errors import ConfigurationError, Missing
from streamkit.events import EndpointOverridden

if TYPE_CHECKING:
    from pathlib import Path

    from streamkit.aws.clients import Aws
    from streamkit.consumer import Consumer, Sqs
    from streamkit.events import Event
    from streamkit.ports import Chance, Clock


@click.command()
@consumers_argument
@click.option("--queue", is_flag=True, help="Make its queues too, encrypted, what is in them kept for 14 days.")
@config_option
def init(*, paths: tuple[str, ...], queue: bool, config: Path | None) -> None:
    """Make a consumer's checkpoint table.

    Its stream, queues and bucket are looked at first, so that a wrong name leaves nothing half-made.

    \b
    streamkit init consumers.flights:flights --queue

    Say it as often as you like: what is there stays as it is. The table bills on demand, forgets ledger rows by
    itself, keeps 35 days of history, and is protected against deletion. A worker may not make it: its credentials
    need no right to make anything.
    """
    for consumer in configured(paths, config=config).consumers:
        asyncio.run(_prepare(consumer, make_queue=queue))


async def _prepare(consumer: Consumer, *, make_queue: bool) -> None:
    """Look first and make last: a wrong name leaves nothing half-written."""
    from streamkit.aws.clients import Aws, AwsSettings
    from streamkit.clock import SystemChance, SystemClock

    clock, chance = SystemClock(), SystemChance()
    patient = AwsSettings(lease_answer_seconds=15.0)  # no lease depends on these answers
    async with Aws(settings=patient, report=tell) as aws:
        click.echo(await _stream(consumer, aws, clock, chance))
        if consumer.dead_letters is None:
            click.echo("dead-letter queue: none set; a record that cannot be handled stops its shard")
        if consumer.dead_letters is not None and consumer.dead_letters.bucket is not None:
            click.echo(await _bucket(consumer.dead_letters, aws, chance))
        for role, queue in _queues(consumer):
            click.echo(await _queue(role, queue, aws, chance, make=make_queue))
        for line in await _table(consumer, aws, clock):
            click.echo(line)


def tell(event: Event) -> None:
    """Say where requests go, if not to AWS itself."""
    if isinstance(event, EndpointOverridden):
        click.echo(f"endpoint of {event.service}: {event.url}")


async def _stream(consumer: Consumer, aws: Aws, clock: Clock, chance: Chance) -> str:
    from streamkit.aws.world import AwsWorld

    source = await AwsWorld(clock=clock, chance=chance).source(consumer, aws, report=lambda _: None)
    stream = await source.identify()
    hours = round(stream.retention.total_seconds() / 3600)
    return f"stream {stream.name}: found, keeps records for {hours} hours"


def _queues(consumer: Consumer) -> list[tuple[str, str]]:
    """Return the consumer's queues: what each is, and its address."""
    from streamkit.aws.sqs import LETTERS, SUCCESSES

    declared = ((LETTERS, consumer.dead_letters), (SUCCESSES, consumer.on_success))
    return [(role, each.queue) for role, each in declared if each is not None]


async def _queue(role: str, name: str, aws: Aws, chance: Chance, *, make: bool) -> str:
    from streamkit.aws import queues
    from streamkit.aws.shapes import arn_region
    from streamkit.aws.sqs import SqsQueue

    call = await aws.call("sqs", region=arn_region(name))
    try:
        await SqsQueue(call, queue=name, chance=chance, role=role).open()
    except Missing as missing:
        if not make:
            raise Missing(f"{missing}, or say `streamkit init --queue`") from missing
        await queues.create(call, name)
        return f"{role} {name}: made, encrypted, keeps messages for 14 days"
    return f"{role} {name}: found"


async def _bucket(letters: Sqs, aws: Aws, chance: Chance) -> str:
    """Look at the bucket, and make none: its name has to be free in all of AWS, and its rules are yours."""
    from streamkit.aws.payloads import payloads_of
    from streamkit.core.kept import PREFIX

    payloads = payloads_of(letters, aws, chance=chance)
    if payloads is not None:
        await payloads.check()
    return f"bucket {letters.bucket}: found; it needs a rule that expires {PREFIX}/ (docs/dead-letters.md)"


async def _table(consumer: Consumer, aws: Aws, clock: Clock) -> list[str]:
    from streamkit.aws import schema

    call = await aws.call("dynamodb")
    made = "found"
    try:
        await schema.check(call, consumer.table)
    except Missing:
        made = "made"
    except ConfigurationError:
        pass  # `create` waits for one that is being made, and says what is wrong with another
    notes = await schema.create(call, consumer.table, clock=clock)
    return [f"table {consumer.table}: {made}", *(f"table {consumer.table}: {note}" for note in notes)]
