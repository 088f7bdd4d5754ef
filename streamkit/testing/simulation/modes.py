"""Consumers of the other modes in a simulation, and what is promised of them (rule 25).

transactional   every effect exactly once, in step with the row; none of a dead letter's under its epoch; at the end
                counters are exact. What had run ahead of a gap is handled again (rule 17)
at_most_once    no record is handed out twice; what may have been interrupted is a letter
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from streamkit.core.values import plain
from streamkit.testing.simulation.book import key_of, number_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamkit import Record, Transaction
    from streamkit.core.leasing import ShardRow
    from streamkit.core.transactions import Write
    from streamkit.testing.memory import Items
    from streamkit.testing.simulation.book import Entry
    from streamkit.testing.simulation.mix import Mix
    from streamkit.testing.simulation.process import Process
    from streamkit.testing.simulation.referee import Referee

FROM = 1_000_000
"""Seeds from here on draw one of these modes; those below keep their histories."""
READING = range(1_500_000, 2_000_000)
"""Seeds whose transactions read the sums too, in which records of different keys meet: what one read others write."""
_SOME = 0.3
"""Of the seeds that read something else than a polled stream."""
_SPREAD = 3
"""Sums over all keys: records of one group meet in them, and have to go apart."""


def moded(mix: Mix) -> Mix:
    """Return the mix with one of the modes, if its seed says so."""
    if mix.seed < FROM:
        return mix
    if mix.source != "polled" and random.Random(f"moded {mix.seed}").random() >= _SOME:
        return mix
    if mix.seed in READING or random.Random(f"mode {mix.seed}").random() < 0.6:  # noqa: PLR2004 - a little more of what has more to go wrong
        return replace(mix, kind="transactional")
    return replace(mix, kind="at_most_once", attempts=1)


async def collect(record: Record, tx: Transaction, *, reading: bool) -> None:
    """Count a record under its number, under its key by what was read, and in one of a few sums, some by that too."""
    number, one = number_of(record), {":one": 1}
    tx.update("effects", {"id": number}, "ADD times :one", values=one)
    await _count(tx, "keys", {"key": key_of(record)})
    if number % 2 == 0:
        return
    key = {"id": number % _SPREAD}
    if reading and number % 4 == 1:
        await _count(tx, "sums", key)
    else:
        tx.update("sums", key, "ADD total :one", values=one)


async def _count(tx: Transaction, table: str, key: Mapping[str, object]) -> None:
    """Add one to a total by what was read."""
    before = await tx.get(table, key) or {"total": 0}
    tx.update(table, key, "SET total = :total", values={":total": int(str(before["total"])) + 1})


class Exact:
    """Sees every transaction at the moment at which it takes effect."""

    def __init__(self, referee: Referee) -> None:
        self._referee = referee
        self._lettered: dict[int, int] = {}
        """Dead letters by number: under which epoch. A successor may not know of one that no checkpoint has passed."""
        self._effective: dict[int, int] = {}
        """Effects by number: under which epoch. A letter may be on its way while its sender's shard is taken."""

    def committed(self, process: Process, before: ShardRow, writes: Sequence[Write]) -> None:
        """A transaction is about to take effect, upon a shard whose row is like this."""
        book = self._referee.book
        for write in writes:
            if write.table == "effects":
                entry = book.entries[int(str(plain(write.key)["id"]))]
                self._took_effect(process, entry, again=book.forgotten(before, entry))

    def lettered(self, process: Process, entry: Entry) -> None:
        """A letter of a transactional consumer is durable."""
        epoch = self._lettered[entry.number] = _epoch(process, entry)
        if self._effective.get(entry.number) == epoch:
            self._referee.violated("what took effect is no dead letter", str(entry))

    def _took_effect(self, process: Process, entry: Entry, *, again: bool) -> None:
        epoch = self._effective[entry.number] = _epoch(process, entry)
        if entry.effects and not again:
            self._referee.violated("exactly once", f"{entry} again, by {process.name}")
        if self._lettered.get(entry.number) == epoch:
            self._referee.violated("a dead letter has no effect", f"{entry}, by {process.name}")
        self._referee.took_effect(process, entry)

    def final(self, items: Items) -> None:
        """Everything has drained: the counters are what the records say."""
        entries = self._referee.book.entries
        by_key = Counter(each.key for each in entries for _ in range(each.effects))
        sums = Counter(each.number % _SPREAD for each in entries if each.number % 2 for _ in range(each.effects))
        for table, name, expected in (("keys", "key", by_key), ("sums", "id", sums)):
            found = {item[name]: item["total"] for item in items[table]}
            if found != dict(expected):
                self._referee.violated("counters are exact", f"{table}: expected {dict(expected)}, got {found}")


def _epoch(process: Process, entry: Entry) -> int:
    """Return the epoch of the process's latest handler for a record; -1 if it never started one."""
    return max((run.epoch for run in entry.runs if run.process is process), default=-1)


def expect_first(referee: Referee, entry: Entry) -> None:
    """A handler of a consumer that handles at most once is about to start."""
    if entry.runs:
        referee.violated("no record is handed out twice", str(entry))
    if entry.letter is not None:
        referee.violated("a dead letter is not handed out", str(entry))
