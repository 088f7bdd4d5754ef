"""`streamkit demo --changes`: a table under four writers, three workers killed, and a view that has to equal it."""

from __future__ import annotations

import asyncio
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from streamkit.cli.demo.checkout import Checkout
from streamkit.cli.demo.screen import Advance, Screen
from streamkit.cli.demo.workers import Broken, Process, started
from streamkit.cli.demo.world import Stage, stage
from streamkit.clock import SystemChance, SystemClock
from streamkit.ports import Chance

CONSUMER: Final = "consumers.routes:routes"
TABLE: Final = "flights"
VIEW: Final = "flight-view"
WRITERS: Final = 4
KILLS: Final = 3
FLIGHTS: Final = 300
_STREAM: Final = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
_LONG_AGO: Final = 1_356_998_400
_LATE_MINUTES: Final = 15
_LIMIT_SECONDS: Final = 240.0
_POLL_SECONDS: Final = 0.25

Statistics = dict[str, dict[str, int]]


class Item(msgspec.Struct, frozen=True, omit_defaults=True):
    """A flight as the table has it."""

    id: str
    origin: str
    dest: str
    day: str
    dep_time: int | None
    arr_delay: int | None
    expires: int | None = None


async def play_changes(*, flights: int | None, logs: Path) -> int:
    """Play it, show it, and return the exit status. `logs` is a folder for those of the processes."""
    screen, clock, checkout = Screen(), SystemClock(), Checkout.find()
    began = clock.monotonic()
    os.chdir(checkout.root)
    screen.title("streamkit demo --changes: a table under four writers, its view kept by workers that are killed")
    items = _items(checkout.flights(flights or FLIGHTS))
    try:
        async with stage() as world, asyncio.timeout(_LIMIT_SECONDS):
            equal = await _perform(world, screen, checkout, logs, items)
    except (Broken, TimeoutError) as broken:
        screen.note("broken", str(broken) or f"expected an end within {_LIMIT_SECONDS:.0f} s, see {logs}", style="red")
        return 1
    screen.note("took", f"{clock.monotonic() - began:.0f} s" + ("" if equal else f"; logs of the workers: {logs}"))
    return 0 if equal else 1


async def _perform(world: Stage, screen: Screen, checkout: Checkout, logs: Path, items: Sequence[Item]) -> bool:
    """Write while workers run and die; return whether the view came to equal the table."""
    screen.note("world", f"DynamoDB with its streams, and SQS, at {world.url}")
    await _build(world)
    async with AsyncExitStack() as stack:
        crew = _Crew(stack, checkout, logs)
        await (await crew.start("init", "init", CONSUMER, "--queue")).end()
        survivor = await crew.worker()
        with screen.progress("writing", len(items), aloud=True) as advance:
            written = await _write_and_kill(world, screen, crew, items, advance)
        shown = ", ".join(f"{number:,} {what}" for what, number in sorted(written.items()))
        screen.note("written", f"{shown}; by {WRITERS} writers at once")
        while (truth := _statistics(await _scan(world, TABLE))) != (view := _view(await _scan(world, VIEW))):
            if not survivor.running:
                raise Broken(survivor.failure())
            await asyncio.sleep(_POLL_SECONDS)
    _tell(screen, truth)
    return truth == view and bool(truth)


class _Crew:
    """Worker processes, gone when the stack is left."""

    def __init__(self, stack: AsyncExitStack, checkout: Checkout, logs: Path) -> None:
        self._stack, self._checkout, self._logs = stack, checkout, logs
        self._workers = 0

    async def start(self, name: str, *arguments: str) -> Process:
        """Start `streamkit ARGUMENTS`."""
        return await self._stack.enter_async_context(
            started(name, *arguments, checkout=self._checkout, logs=self._logs)
        )

    async def worker(self) -> Process:
        """Start a worker."""
        self._workers += 1
        return await self.start(f"worker {self._workers}", "run", CONSUMER, "--log-format", "json")


async def _build(world: Stage) -> None:
    """Make the table, with a stream and mortal items, and the table of the view."""
    more: dict[str, dict[str, object]] = {TABLE: {"StreamSpecification": _STREAM}, VIEW: {}}
    for table, key in ((TABLE, "id"), (VIEW, "pk")):
        await world.dynamodb(
            "CreateTable",
            TableName=table,
            KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            **more[table],
        )
    mortal = {"Enabled": True, "AttributeName": "expires"}
    await world.dynamodb("UpdateTimeToLive", TableName=TABLE, TimeToLiveSpecification=mortal)


def _items(lines: Sequence[bytes]) -> list[Item]:
    flights = [msgspec.json.decode(line) for line in lines]
    return [
        Item(
            id=f"{each['time_hour']} {each['origin']} {each['carrier']}{each['flight']}",
            origin=each["origin"],
            dest=each["dest"],
            day=each["time_hour"][:10],
            dep_time=each["dep_time"],
            arr_delay=each["arr_delay"],
        )
        for each in flights
    ]


async def _write_and_kill(
    world: Stage, screen: Screen, crew: _Crew, items: Sequence[Item], advance: Advance
) -> Counter[str]:
    """Let all write at once; each time a quarter is written, kill a worker and start another."""
    written, done, quarters = Counter[str](), 0, [asyncio.Event() for _ in range(KILLS)]
    victim = await crew.worker()

    async def write(mine: Sequence[Item], chance: Chance) -> None:
        nonlocal done
        for item in mine:
            for what, operation, parameters in _writes(item, items, chance):
                await world.dynamodb(operation, TableName=TABLE, **parameters)
                written[what] += 1
            done += 1
            advance(done)
            for quarter in quarters[: done * (KILLS + 1) // len(items)]:
                quarter.set()

    async with asyncio.TaskGroup() as group:
        for writer in range(WRITERS):
            group.create_task(write(items[writer::WRITERS], SystemChance()))
        for kill in range(KILLS):
            await quarters[kill].wait()
            await victim.kill()
            screen.note("SIGKILL", f"to {victim.name}, process {victim.pid}; another one begins", style="yellow")
            victim = await crew.worker()
    return written


def _writes(item: Item, all_items: Sequence[Item], chance: Chance) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Give the writes of one turn: the flight comes, and something happens to it or to any other."""
    yield "inserted", "PutItem", {"Item": _tagged(item)}
    other, turn = all_items[int(chance.fraction() * len(all_items))], chance.fraction()
    if turn < 0.5:
        changed = replace(other, arr_delay=int(chance.fraction() * 110) - 20, dest=other.dest if turn < 0.3 else "ORD")
        yield "updated", "PutItem", {"Item": _tagged(changed)}
    elif turn < 0.7:
        yield "deleted", "DeleteItem", {"Key": {"id": {"S": other.id}}}
    elif turn < 0.8:
        yield "left to expire", "PutItem", {"Item": _tagged(replace(other, expires=_LONG_AGO))}


def _tagged(item: Item) -> dict[str, dict[str, str | bool]]:
    values = {name: value for name, value in msgspec.structs.asdict(item).items() if name != "expires" or value}
    return {name: _attribute(value) for name, value in values.items()}


def _attribute(value: str | int | None) -> dict[str, str | bool]:
    if value is None:
        return {"NULL": True}
    return {"N": str(value)} if isinstance(value, int) else {"S": value}


async def _scan(world: Stage, table: str) -> list[Mapping[str, Any]]:
    """Return all items of a table, each attribute as its text or None."""
    found: list[Mapping[str, Any]] = []
    start: dict[str, object] = {}
    while True:
        page = await world.dynamodb("Scan", TableName=table, ConsistentRead=True, **start)
        found += ({name: value.get("S", value.get("N")) for name, value in item.items()} for item in page["Items"])
        if "LastEvaluatedKey" not in page:
            return found
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


def _statistics(items: Sequence[Mapping[str, Any]]) -> Statistics:
    """Return the statistics of a table, computed from nothing but its items."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for item in items:
        delay = int(item["arr_delay"] or 0)
        for row in (f"route {item['origin']}-{item['dest']}", f"day {item['day']}"):
            found[row].update(
                flights=1, late=delay >= _LATE_MINUTES, cancelled=item["dep_time"] is None, delay_minutes=delay
            )
    return _counting(found)


def _view(items: Sequence[Mapping[str, Any]]) -> Statistics:
    """Return the statistics that the view has, the parts of a day summed up."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for item in items:
        row = item["pk"].partition("#")[0]
        if not row.startswith("flight "):
            found[row].update({name: int(value) for name, value in item.items() if name != "pk"})
    return _counting(found)


def _counting(found: Mapping[str, Counter[str]]) -> Statistics:
    counted = {row: {name: number for name, number in sums.items() if number} for row, sums in found.items()}
    return {row: numbers for row, numbers in counted.items() if numbers}


def _tell(screen: Screen, truth: Statistics) -> None:
    """Show the last line, after the three busiest routes."""
    routes = sorted((-numbers["flights"], row) for row, numbers in truth.items() if row.startswith("route "))
    for _, row in routes[:3]:
        screen.note(row, ", ".join(f"{name} {number:,}" for name, number in truth[row].items()))
    flights = sum(-number for number, _ in routes)
    screen.note("equal", f"the view and the table: {flights:,} flights, {len(truth)} rows, to the last minute of delay")
