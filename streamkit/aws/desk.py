"""What an operator works with: a consumer's rows and its queue, from anywhere the table can be reached."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from streamkit.aws import schema
from streamkit.aws.clients import Aws, AwsSettings
from streamkit.aws.halts import TableHalts
from streamkit.aws.ledger import TableLedger
from streamkit.aws.mailbox import SqsMailbox
from streamkit.aws.payloads import S3Payloads, payloads_of
from streamkit.aws.redriven import TableRedriven
from streamkit.aws.rows import Layout
from streamkit.aws.shapes import arn_region
from streamkit.aws.sqs import SqsDeadLetters, SqsSuccesses
from streamkit.aws.table import TableLeases, TableMembers, TableRegistry
from streamkit.core.overview import Look
from streamkit.errors import ConfigurationError, Denied, Missing
from streamkit.ports import Registration

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from streamkit.consumer import Consumer, Sqs
    from streamkit.core.memory import Halt
    from streamkit.ports import Chance, Clock, Report

PATIENT = AwsSettings(lease_answer_seconds=15.0)
"""No lease depends on these answers."""


class Subject(msgspec.Struct, frozen=True):
    """What an operator asks about."""

    table: str
    consumer: str | None = None
    """Whose table it has to be; None takes whoever's it is."""
    queue: str | None = None


class Desk(msgspec.Struct, frozen=True):
    """The rows and the queue of one consumer."""

    subject: Subject
    registration: Registration
    leases: TableLeases
    members: TableMembers
    halts: TableHalts
    letters: SqsDeadLetters | None
    redriven: TableRedriven
    ledger: TableLedger
    clock: Clock

    async def look(self) -> Look:
        """Read all rows, and count the letters: three requests for most consumers."""
        members = await self.members.members()
        seen = self.clock.monotonic()
        rows = await self.leases.rows()
        look = Look(rows, members, seen, self.clock.now().timestamp())
        try:
            waiting = None if self.letters is None else await self.letters.waiting()
        except Missing:
            return replace(look, queue_missing=True)
        except Denied:  # whoever looks need not be allowed to
            return look
        return replace(look, letters=waiting)


class Letters(msgspec.Struct, frozen=True):
    """A dead-letter queue, to be looked at and worked off."""

    mailbox: SqsMailbox
    queue: SqsDeadLetters
    payloads: S3Payloads | None
    """Where payloads are that the queue has no room for, if that is known."""


@asynccontextmanager
async def letters(at: Sqs, *, chance: Chance, report: Report) -> AsyncGenerator[Letters]:
    """Open a queue. Raises `Missing`, `Denied`, `ConfigurationError` for an odd address."""
    async with Aws(settings=PATIENT, report=report) as aws:
        call = await aws.call("sqs", region=arn_region(at.queue))
        found = SqsDeadLetters(call, queue=at.queue, chance=chance, report=report)
        payloads = payloads_of(at, aws, chance=chance)
        yield Letters(SqsMailbox(call, (await found.open()).url, chance=chance), found, payloads)


@asynccontextmanager
async def successes(consumer: Consumer, *, chance: Chance, report: Report) -> AsyncGenerator[SqsSuccesses | None]:
    """Open the queue for a consumer's successes, if it has one. Raises as `letters` does."""
    if consumer.on_success is None:
        yield None
        return
    queue = consumer.on_success.queue
    async with Aws(settings=PATIENT, report=report) as aws:
        found = SqsSuccesses(await aws.call("sqs", region=arn_region(queue)), queue=queue, chance=chance)
        await found.open()
        yield found


async def halts(subject: Subject, *, report: Report) -> Sequence[Halt]:
    """Return where functions stand still, also in a table that no worker has registered.

    Raises `ConfigurationError` for a table that is missing or no checkpoint table.
    """
    async with Aws(settings=PATIENT, report=report) as aws:
        call = await aws.call("dynamodb")
        await schema.check(call, subject.table)
        return await TableHalts(call, subject.table, consumer=subject.consumer).standing()


@asynccontextmanager
async def desk(subject: Subject, *, clock: Clock, chance: Chance, report: Report) -> AsyncGenerator[Desk]:
    """Open a consumer's rows and queue.

    Raises `ConfigurationError` for a table that is missing, no checkpoint table, not registered, or another consumer's.
    """
    async with Aws(settings=PATIENT, report=report) as aws:
        call = await aws.call("dynamodb")
        await schema.check(call, subject.table)
        registry = TableRegistry(call, subject.table)
        registration = await registry.existing()
        if subject.consumer not in (None, registration.consumer):
            raise ConfigurationError(
                f"table {subject.table}: expected the rows of consumer {subject.consumer!r}, "
                f"got those of {registration.consumer!r}"
            )
        layout = Layout.of(subject.table, registration.stream, buckets=registration.buckets)
        leases, members = TableLeases(call, layout), TableMembers(call, layout)
        keep = max(registration.stream.retention, timedelta(days=1))
        letters = None
        if subject.queue is not None:
            sqs = await aws.call("sqs", region=arn_region(subject.queue))
            letters = SqsDeadLetters(sqs, queue=subject.queue, chance=chance, report=report)
        yield Desk(
            subject,
            registration,
            leases,
            members,
            TableHalts(call, subject.table, consumer=registration.consumer),
            letters,
            TableRedriven(call, subject.table, clock=clock),
            TableLedger(call, subject.table, clock=clock, chance=chance, keep=keep),
            clock,
        )
