"""One batch, settled in memory: what tests of a consumer call. No AWS, no waiting."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from streamkit.clock import SystemChance, SystemClock
from streamkit.core.changes import carried
from streamkit.core.items import Items
from streamkit.core.kpl import expand
from streamkit.core.ledger import Anothers, Claimant, Holding
from streamkit.core.positions import Progress
from streamkit.core.records import Origin, Record
from streamkit.core.settlement import Outcome, Settling, Tally
from streamkit.engine.engine import Engine, Surroundings
from streamkit.engine.handling import Threads
from streamkit.engine.transacting import Transacting
from streamkit.errors import Cancelled
from streamkit.runtimes.setup import handling_of, rules_of

if TYPE_CHECKING:
    from streamkit.consumer import Consumer
    from streamkit.core.letters import Letter
    from streamkit.core.positions import Position
    from streamkit.core.transactions import Write
    from streamkit.core.values import Image
    from streamkit.events import Event


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of a batch."""

    frontier: Position | None
    """The end of the contiguous settled prefix: resume after it."""
    handled: tuple[Record, ...]
    duplicates: tuple[Record, ...]
    filtered: tuple[Record, ...]
    dead: tuple[Letter, ...]
    """The letters the dead-letter queue would hold."""
    unsettled: tuple[Record, ...]
    """What would be tried again: after an outage, or once a halted shard goes on."""
    events: tuple[Event, ...] = field(default=(), repr=False)
    items: Items = field(default_factory=Items)
    """What transactions made of the consumer's own tables: `settlement.items["stats"]`."""


class _Letters:
    """A dead-letter queue in memory."""

    def __init__(self) -> None:
        self.sent: list[Letter] = []

    async def send(self, letters: Sequence[Letter]) -> None:
        self.sent += letters


class _Claims:
    """A ledger in memory."""

    def __init__(self) -> None:
        self._claimants: dict[str, Claimant] = {}

    async def claim(self, key: str, by: Claimant) -> Holding:
        owner = self._claimants.setdefault(key, by)
        return "mine" if owner == by else Anothers(owner.record)

    async def release(self, key: str, by: Claimant) -> None:
        if self._claimants.get(key) == by:
            del self._claimants[key]


class _Tables:
    """The consumer's own tables in memory, as `Tables` and for commits."""

    def __init__(self, items: Items) -> None:
        self._items = items

    async def read(self, table: str, key: Image, attributes: Collection[str] | None) -> Image | None:
        return self._items.read(table, key, attributes)

    async def key_names(self, table: str) -> Sequence[str]:
        return self._items.key_names(table)

    async def commit(self, writes: Sequence[Write], _ordinals: Sequence[int], applied: Callable[[], None]) -> None:
        if objections := self._items.objections(writes):
            raise Cancelled(objections, "the transaction was cancelled")
        self._items.apply(writes)
        applied()


async def settle(
    consumer: Consumer, payloads_or_records: Iterable[object], *, items: Items | None = None
) -> Settlement:
    """Settle in memory; see `Consumer.settle`."""
    items = items or Items()
    events: list[Event] = []
    rules = rules_of(consumer, chance=SystemChance(), retention=timedelta(days=1))
    settling = Settling(
        _SHARD,
        replace(rules, backoff=_at_once),
        progress=Progress(),
        tally=Tally(),
        report=events.append,
    )
    outcomes: dict[Outcome, list[Record]] = {outcome: [] for outcome in Outcome}
    settling.listener = lambda record, outcome: outcomes[outcome].append(record)
    letters = _Letters()
    async with AsyncExitStack() as stack:
        state = await stack.enter_async_context(consumer.lifespan()) if consumer.lifespan else None
        threads = Threads(min(consumer.concurrency, 32), name="streamkit-settle")
        stack.callback(threads.close)
        handling = replace(handling_of(consumer, state=state, threads=threads, stream_arn=""), pace=None)
        around = Surroundings(
            clock=SystemClock(),
            report=events.append,
            dead_letters=letters if consumer.dead_letters else None,
            ledger=_Claims(),
            may_start=lambda: True,
            delay=_at_once,
            on_stuck=lambda: None,
        )
        tables = _Tables(items)
        transacting = Transacting(handling, settling, around, tables, tables.commit)
        engine = Engine(handling, settling, around, transacting if handling.transactional else None)
        engine.feed(each for record in _records(consumer, payloads_or_records) for each in expand(record))
        await engine.run(until=lambda: settling.clear or settling.paused or settling.halted is not None)
    return Settlement(
        frontier=settling.frontier,
        handled=tuple(outcomes[Outcome.HANDLED]),
        duplicates=tuple(outcomes[Outcome.DUPLICATE]),
        filtered=tuple(outcomes[Outcome.FILTERED]),
        dead=tuple(letters.sent),
        unsettled=tuple(settling.unsettled()),
        events=tuple(events),
        items=items,
    )


def _at_once(_failures: int) -> float:
    return 0.0


_SHARD = "shardId-000000000000"


def _records(consumer: Consumer, payloads: Iterable[object]) -> Iterable[Record]:
    origin = Origin(consumer.source.stream, _SHARD, consumer.source.compression)
    for n, payload in enumerate(payloads, 1):
        if isinstance(payload, Record):
            yield payload
        else:
            record = Record(_encoded(payload), f"key-{n}", str(n), origin, arrived=0.0)
            yield carried(record) if consumer.source.changes else record


def _encoded(payload: object) -> bytes:
    if isinstance(payload, bytes | bytearray):
        return bytes(payload)
    return payload.encode() if isinstance(payload, str) else msgspec.json.encode(payload)
