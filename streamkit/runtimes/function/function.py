"""A consumer as a function: from an event of a mapping to the answer that makes Lambda do the right thing.

    all settled                       {"batchItemFailures": []}
    something is not                  {"batchItemFailures": [{"itemIdentifier": the first that is not}]}
    the same, undeclared              raises `Unsettled`: whether partial responses are understood cannot be seen here
    not an event of a stream          raises `MalformedEvent`: all of it comes again

https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-batchfailurereporting.html
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from streamkit.consumer import DynamoDBStream
from streamkit.engine.handling import Threads
from streamkit.errors import ConfigurationError, Unsettled, leaves
from streamkit.runtimes.function.deadline import Context, Deadline
from streamkit.runtimes.function.delivery import Delivery, Opened
from streamkit.runtimes.function.events import Intake, Part, parts, sequence_number
from streamkit.runtimes.health.meters import Meters
from streamkit.runtimes.setup import handling_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from streamkit.consumer import Consumer
    from streamkit.ports import Chance, Clock, FunctionPorts, Report

Answer = dict[str, list[dict[str, str]]]

_THREADS = 64
"""The most threads for handlers that are plain functions; they start as they are needed."""


class FunctionWorld(Protocol):
    """Opens the ports of consumers for one event loop."""

    def function(self, consumer: Consumer, report: Report) -> AbstractAsyncContextManager[FunctionPorts]:
        """Open memory, queue and ledger. Raises `ConfigurationError` if one is not what it has to be."""
        ...


class Function:
    """A consumer in one event loop, for any number of invocations, also at the same time."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._intake = _intake(opened.consumer)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        consumer: Consumer,
        world: FunctionWorld,
        *,
        clock: Clock,
        chance: Chance,
        report: Report,
        leave: Callable[[], None],
    ) -> AsyncGenerator[Function]:
        """Open what the consumer works through, and its lifespan; nothing of an invocation is kept.

        `leave` ends the process, should an attempt not end. Raises `ConfigurationError`.
        """
        expect_possible(consumer)
        meters = Meters(consumer.name, report)
        async with world.function(consumer, report) as ports, _lifespan(consumer) as state:
            threads = Threads(min(consumer.concurrency, _THREADS), name=f"streamkit-{consumer.name}")
            try:
                handling = handling_of(consumer, state=state, threads=threads, stream_arn="")
                yield cls(
                    Opened(
                        consumer=consumer,
                        ports=ports,
                        handling=handling,
                        clock=clock,
                        chance=chance,
                        report=meters.note,
                        meters=meters,
                        leave=leave,
                    )
                )
            finally:
                threads.close()

    @property
    def meters(self) -> Meters:
        """What is counted, over all invocations."""
        return self._opened.meters

    async def invoke(self, event: object, context: Context) -> Answer:
        """Settle what the event brought as far as time allows, and answer. Raises `MalformedEvent`, `Unsettled`."""
        deadline = Deadline.of(context, self._opened.clock)
        first = await self._settle(parts(event, self._intake), deadline)
        if first is None:
            return {"batchItemFailures": []}
        number = sequence_number(event, first)
        if not self._opened.consumer.partial_responses:
            raise Unsettled(
                f"records from {number} on are not settled and come again, all of the batch, for partial_responses"
                " is not declared: set it, or STREAMKIT_PARTIAL_RESPONSES=true, where the mapping has"
                " ReportBatchItemFailures"
            )
        return {"batchItemFailures": [{"itemIdentifier": number}]}

    async def _settle(self, chains: Sequence[Sequence[Part]], deadline: Deadline) -> int | None:
        """Settle all shards at once; return the first entry that is not settled."""
        try:
            if len(chains) == 1:  # as from every mapping of a stream
                return await self._settle_chain(chains[0], deadline)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._settle_chain(chain, deadline)) for chain in chains]
        except ExceptionGroup as failed:
            raise next(leaves(failed)) from None  # groups say where it came from, which nobody asked
        return min((place for task in tasks if (place := task.result()) is not None), default=None)

    async def _settle_chain(self, chain: Sequence[Part], deadline: Deadline) -> int | None:
        """Settle parts one after the other: behind one that is not settled nothing runs."""
        for part in chain:
            place = await Delivery(part, self._opened, deadline).run()
            if place is not None:
                return place
        return None


def _intake(consumer: Consumer) -> Intake:
    source = consumer.source
    return Intake(
        source="aws:dynamodb" if isinstance(source, DynamoDBStream) else "aws:kinesis",
        compression=source.compression,
        changes=source.changes,
        max_record_bytes=consumer.max_record_bytes,
    )


@asynccontextmanager
async def _lifespan(consumer: Consumer) -> AsyncGenerator[object]:
    if consumer.lifespan is None:
        yield None
        return
    async with consumer.lifespan() as state:
        yield state


def expect_possible(consumer: Consumer) -> None:
    """Raise `ConfigurationError` for a consumer that cannot run as a function."""
    if consumer.mode != "at_least_once":
        raise ConfigurationError(
            f"consumer {consumer.name}: mode: in a function expected 'at_least_once', got {consumer.mode!r}:"
            " run it with `streamkit run`, whose checkpoints are its own"
        )
    if consumer.on_dead_letter != "park":
        return
    if isinstance(consumer.source, DynamoDBStream):
        raise ConfigurationError(
            f"consumer {consumer.name}: on_dead_letter='park' in a function: expected a Kinesis stream, got changes of"
            " a table: its events do not tell the shard in whose row the keys would be kept"
        )
    if consumer.parallelization_factor != 1:
        raise ConfigurationError(
            f"consumer {consumer.name}: on_dead_letter='park' in a function: expected parallelization_factor=1,"
            f" got {consumer.parallelization_factor}: the keys are kept in the row of the shard"
        )
