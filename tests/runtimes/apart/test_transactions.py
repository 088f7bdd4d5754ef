"""A transaction in a process apart: it reads through the worker, which commits what is to be written (rule 25)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from streamkit import Checkpoint, Consumer, Poison, Record
from streamkit.cli.ward import command, wards
from streamkit.clock import SystemChance, SystemClock
from streamkit.core.items import Items
from streamkit.core.letters import Told, cause_of
from streamkit.core.quarantine import Death
from streamkit.core.values import plain
from streamkit.engine.transaction import Transaction, writes_of
from streamkit.errors import Denied, Missing, Throttled, Unanswered
from streamkit.runtimes.apart.tables import MOST
from streamkit.runtimes.apart.ward import ProcessWard
from streamkit.runtimes.worker import Options, Worker
from streamkit.signals import WorldDown
from streamkit.testing import World
from streamkit.testing import record as a_record
from tests.runtimes.apart.test_ward import Deaths

if TYPE_CHECKING:
    from streamkit.core.values import Image

CONSUMER = """
import asyncio, os
from enum import Enum
from decimal import Decimal
from streamkit import Kinesis, Record, Sqs, Transaction, consumer
from streamkit.errors import Denied, Missing

strays = []

class Names(str, Enum):
    SEEN = "seen"
    SUMS = "sums"
    ID = "id"
    UPDATE = "SET #i = :i"
    PLACE = "#i"

@consumer("apart", source=Kinesis("stream"), dead_letters=Sqs("dead"), mode="transactional")
async def apart(record: Record, *, tx: Transaction) -> None:
    before = await tx.get("sums", {"key": "k"}, attributes=["total", "more"])
    total = before["total"] if before else 0
    tx.update("sums", {"key": "k"}, "SET total = :n", values={":n": total + Decimal("0.1")})
    tx.put("seen", {"id": record.text(), "raw": b"1", "set": {1, 2}}, condition="attribute_not_exists(id)")
    match record.text():
        case "exit":
            os._exit(3)
        case "error":
            raise KeyError("missing")
        case "much":
            for n in range(100):
                tx.delete("seen", {"id": f"{n}"})
        case "many":
            await asyncio.gather(*(tx.get("sums", {"key": f"{n}"}) for n in range(90)))
        case "stray":
            for _ in range(20):
                strays.append(asyncio.ensure_future(tx.get("sums", {"key": "endless"})))
            await asyncio.sleep(0.05)
        case "enumerated":
            await tx.get(Names.SUMS, {"key": Names.ID}, attributes=[Names.ID])
            names, values = {Names.PLACE: Names.ID}, {":i": {Names.ID: [Names.ID]}}
            tx.update(Names.SEEN, {Names.ID: Names.SEEN}, Names.UPDATE, names=names, values=values)
            tx.check(Names.SEEN, {Names.ID: Names.PLACE}, Names.UPDATE, names=names)
        case "half":
            tx.put("seen", {"id": "\\ud83d"})
        case "forgiving":
            try:
                await tx.get("sums", {"key": "denied"})
            except Denied:
                await tx.get("sums", {"key": "k"})
        case text:
            await tx.get("sums", {"key": text})
"""


PATH = "apart_in_transactions:apart"
TROUBLES = {
    "throttled": Throttled("slower"),
    "unanswered": Unanswered("nobody"),
    "denied": Denied("not you"),
    "missing": Missing("no such table"),
    "odd": ZeroDivisionError("odd"),
}
"""What reading an item of that name ends with."""


KEYS = {"sums": ["key"], "seen": ["id"]}


class DifficultTables:
    """Tables that answer for most keys, and notes of what is asked of them."""

    def __init__(self) -> None:
        self.items = Items(KEYS)
        self.items.seed("sums", {"key": "k", "total": 1, "unread": "x"})
        self.asked: Callable[[], None] = lambda: None
        """Called when a reading begins that never ends."""
        self.waiting = self.most = 0
        """Readings under way, now and at most."""

    async def read(self, table: str, key: Image, attributes: Collection[str] | None) -> Image | None:
        """Return an item, fail as the key says, or never end."""
        name = str(plain(key)["key"])
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        try:
            await asyncio.sleep(0)
            if name == "endless":
                self.asked()
                await asyncio.Event().wait()
            if name in TROUBLES:
                raise TROUBLES[name]
            return self.items.read(table, key, attributes)
        finally:
            self.waiting -= 1

    async def key_names(self, table: str) -> Sequence[str]:
        """Return the names of a key."""
        return KEYS[table]


class ThrottlingTables(DifficultTables):
    """Tables that nobody learns the keys of."""

    async def key_names(self, table: str) -> Sequence[str]:
        """Ask for a slower pace."""
        raise Throttled(table)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Consumer:
    """Return the consumer as it is in this process; the ward imports it from the same folder."""
    (tmp_path / "apart_in_transactions.py").write_text(CONSUMER, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    found: Consumer = import_module("apart_in_transactions").apart
    return found


@asynccontextmanager
async def opened() -> AsyncGenerator[tuple[ProcessWard, Deaths]]:
    """Open a ward for the consumer."""
    ward, deaths = ProcessWard(command(PATH, None)), Deaths()
    async with asyncio.timeout(60), ward.opened(deaths):
        yield ward, deaths


async def ended(ward: ProcessWard, text: str, tables: DifficultTables) -> BaseException:
    """Return what a record ends with."""
    with pytest.raises(Exception) as raised:  # noqa: PT011 - the caller looks
        await ward.collect(a_record(text.encode()), tables)
    return raised.value


async def test_what_is_to_be_written_is_what_would_be_here(here: Consumer) -> None:
    """The same writes, keys and conditions on what was read, whichever process the handler runs in."""
    async with opened() as (ward, _):
        for text in ("absent", "many", "forgiving", "enumerated"):
            record: Record = a_record(text.encode())
            tables = DifficultTables()
            collected = await ward.collect(record, tables)
            handler: Any = here.handler
            assert collected == await writes_of(handler, record, DifficultTables())
            assert {write.kind for write in collected} >= {"update", "put"}
            assert 1 <= tables.most <= MOST


def test_what_is_no_text_is_refused_where_it_is_said() -> None:
    """And not when the transaction is committed, or in words of a format."""
    tx = Transaction(DifficultTables())
    not_a_text: Any = 5
    with pytest.raises(TypeError, match="expected a table's name as a str, got int"):
        tx.delete(not_a_text, {"id": 1})
    with pytest.raises(TypeError, match="expected an update as a str, got int"):
        tx.update("t", {"id": 1}, not_a_text)
    with pytest.raises(TypeError, match="expected a condition as a str, got int"):
        tx.check("t", {"id": 1}, not_a_text)
    with pytest.raises(TypeError, match="expected an attribute's name as a str, got int"):
        tx.delete("t", {"id": 1}, names={"#n": not_a_text})
    with pytest.raises(TypeError, match="expected a str as the name of an attribute, got int"):
        tx.put("t", {"id": {not_a_text: 1}})


@pytest.mark.usefixtures("here")
async def test_what_a_table_refuses_is_refused_there_and_what_the_handler_says_here() -> None:
    """An outage is never held against the record; anything else tells what it was."""
    tables = DifficultTables()
    async with opened() as (ward, deaths):
        for text in ("throttled", "unanswered"):
            down = await ended(ward, text, tables)
            assert isinstance(down, WorldDown)
            assert down.reason == f"reading table sums: {text.title()}"
        down = await ended(ward, "absent", ThrottlingTables())
        assert isinstance(down, WorldDown)
        assert down.reason == "reading table seen: Throttled"
        for text, name in (("denied", "streamkit.errors.Denied"), ("missing", "streamkit.errors.Missing")):
            assert cause_of(await ended(ward, text, tables)).type == name
        for text, name in (("odd", "ZeroDivisionError"), ("error", "KeyError")):
            told = await ended(ward, text, tables)
            assert isinstance(told, Told)
            assert told.cause.type == name
        much = await ended(ward, "much", tables)
        assert isinstance(much, Poison)
        assert much.reason == "expected at most 99 items in one record's transaction, got 102"
        assert "surrogates not allowed" in str(await ended(ward, "half", tables))
        assert deaths == []


@pytest.mark.usefixtures("here")
async def test_an_attempt_that_reads_ends_with_its_time_and_so_does_the_reading() -> None:
    """Nothing of it goes on, here or there, and the next attempt is as any other."""
    tables = DifficultTables()

    async def timed_out_while_it_reads(ward: ProcessWard) -> None:
        async with asyncio.timeout(None) as time:
            tables.asked = lambda: time.reschedule(0.0)
            await ward.collect(a_record(b"endless"), tables)

    async with opened() as (ward, deaths):
        with pytest.raises(TimeoutError):
            await timed_out_while_it_reads(ward)
        await asyncio.sleep(0)
        assert tables.waiting == 0
        assert await ward.collect(a_record(b"absent"), tables)
        assert deaths == []


async def test_a_killer_among_innocents_is_dead_lettered_alone_and_all_others_commit_once(here: Consumer) -> None:
    """Only processes apart die of it, never the worker: this one. Its letter tells of the deaths."""
    world = World(clock=SystemClock(), chance=SystemChance())
    world.table.items = Items(KEYS)
    made = here.using(checkpoint=Checkpoint(lease=timedelta(seconds=5), interval=timedelta(milliseconds=100)))
    await settled(made, world)  # makes the rows
    [(shard, row)] = world.table.shard_rows.items()
    before = Death(0.0, "seen dead", 1), Death(0.0, "seen dead", 2)
    world.table.shard_rows[shard] = replace(row, deaths=before)
    for number in range(12):
        world.stream.put(f"key {number}", b"exit" if number == 5 else b"fine %d" % number)
    await settled(made, world)
    [letter] = world.letters.letters
    assert letter.record.text() == "exit"
    assert letter.verdict.condition == "ProcessDied"
    assert letter.reason.startswith("it ended its process 2 times, alone: exit status 3")
    assert {str(item["id"]) for item in world.table.items["seen"]} == {f"fine {n}" for n in range(12) if n != 5}
    [total] = world.table.items["sums"]
    assert total["total"] == Decimal("1.1")
    [row] = world.table.shard_rows.values()
    assert (row.quarantine, row.deaths) == (None, ())


async def settled(made: Consumer, world: World) -> None:
    """Run a worker until all is settled."""
    worker = Worker(
        [made],
        world,
        clock=world.clock,
        chance=SystemChance(),
        report=world.report,
        options=Options(until_idle=timedelta(seconds=0.5), ward=wards([made], [PATH], None)),
    )
    async with asyncio.timeout(120):
        await worker.run()


@pytest.mark.usefixtures("here")
async def test_what_a_handler_left_behind_stands_in_nobodys_way() -> None:
    """Readings that nobody waits for end with their attempt, here and there."""
    tables = DifficultTables()
    async with opened() as (ward, deaths):
        for _ in range(2):
            assert await ward.collect(a_record(b"stray"), tables)
            await asyncio.sleep(0)
            assert (tables.most, tables.waiting) == (20, 0)
        assert await ward.collect(a_record(b"many"), tables)
        assert deaths == []


@pytest.mark.usefixtures("here")
async def test_a_death_in_the_middle_ends_what_others_read() -> None:
    """One record ends the process while another waits for an item: both are over, and neither wrote anything."""
    tables, asked = DifficultTables(), asyncio.Event()
    tables.asked = asked.set
    async with opened() as (ward, deaths):
        async with asyncio.TaskGroup() as group:
            attempts = [group.create_task(ward.collect(a_record(b"endless"), tables))]
            await asked.wait()
            attempts.append(group.create_task(ward.collect(a_record(b"exit"), tables)))
            await deaths.some.wait()
            assert deaths == ["exit status 3"]
            assert not any(attempt.done() for attempt in attempts)
            for attempt in attempts:
                attempt.cancel()
        await asyncio.sleep(0)
        assert tables.waiting == 0
