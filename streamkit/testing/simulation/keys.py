"""Business keys in a simulation: each event is put twice, under keys and often on shards of their own (rule 26).

promised   an event takes effect by one of its records; by the other only after the first one's claim was released,
           because it is condemned; who handled its record well, under this lease or a later one, keeps the claim;
           an event is lost by neither
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from streamkit.core.ledger import Anothers
from streamkit.testing.memory import MemoryLedger

if TYPE_CHECKING:
    from streamkit import Record
    from streamkit.core.ledger import Claim, Claimant, Holding
    from streamkit.ports import Clock
    from streamkit.testing.simulation.book import Entry
    from streamkit.testing.simulation.mix import Mix
    from streamkit.testing.simulation.process import Process
    from streamkit.testing.simulation.referee import Referee

FROM = 5_000_000
"""Seeds from here on have business keys; those below keep their histories."""


def keyed(mix: Mix) -> Mix:
    """Return the mix with business keys. Nothing is trimmed: what is reported as gone would excuse everything."""
    still = replace(mix.rates, blackouts=0, remakes=0)
    return replace(mix, keyed=True, retention=None, start="TRIM_HORIZON", rates=still)


def event_of(record: Record) -> str:
    """Return the business key: two records in a row are one event."""
    return f"event {int(record.data) // 2}"


class LedgerView(MemoryLedger):
    """The ledger, over the wire of one process. What is claimed and what is released is `MemoryLedger`'s own."""

    def __init__(self, claims: dict[str, Claim], clock: Clock, process: Process, events: Events) -> None:
        super().__init__(clock)
        self.claims = claims
        self._process = process
        self._events = events

    async def claim(self, key: str, by: Claimant) -> Holding:
        """Claim the key; the referee sees who is refused."""

        def effect() -> Holding:
            holding = self._claim(key, by)
            self._events.claimed(self._process, key, by, holding)
            return holding

        return await self._process.tell("claim", effect)

    async def release(self, key: str, by: Claimant) -> None:
        """Let others have the key; the referee sees who lets go."""

        def effect() -> None:
            there = self.claims.get(key)
            if there is not None and there.yields(by):
                self._events.released(self._process, by)
            self._release(key, by)

        await self._process.tell("release", effect)


class Events:
    """Sees every claim and every effect at the moment at which it takes place."""

    def __init__(self, referee: Referee) -> None:
        self._referee = referee
        self._claims: dict[str, Claim] = {}
        self._released: set[int] = set()
        """Numbers of the records whose claims were released."""

    def view(self, process: Process) -> LedgerView:
        """Return the ledger as one process sees it."""
        return LedgerView(self._claims, process.clock, process, self)

    def claimed(self, process: Process, key: str, by: Claimant, holding: Holding) -> None:
        """A claim was answered. Who is refused is settled: its event is the other record's.

        The second record of an event does not ask where the first one is in its batch.
        """
        refused = isinstance(holding, Anothers)
        process.history.saw("key is another's" if refused else f"key is {holding}")
        number = int(key.removeprefix("event ")) * 2
        first, *rest = self._referee.book.entries[number : number + 2]
        second = rest[0] if rest else first
        if refused:
            (first if str(first.sequence) == _sequence(by) else second).duplicate = True
        if self._referee.mix.kind == "batch" and first.shard == second.shard and second is not first:
            second.duplicate = True

    def released(self, process: Process, by: Claimant) -> None:
        """A claim is let go."""
        process.history.saw("key released")
        entry = next(each for each in self._referee.book.entries if str(each.sequence) == _sequence(by))
        self._released.add(entry.number)
        if any(run.fine and run.epoch >= by.tenure.epoch for run in entry.runs):
            self._referee.violated("what was handled keeps its claim", f"{entry}, released by {process.name}")

    def took_effect(self, entry: Entry) -> None:
        """A record is about to take effect."""
        twin = self._twin(entry)
        if twin is not None and twin.effects and twin.number not in self._released:
            self._referee.violated("an event takes effect by one record", f"{entry} after {twin}")

    def final(self) -> None:
        """Everything has drained: each event took effect, or one of its records is a letter."""
        for entry in self._referee.book.entries:
            twin = self._twin(entry)
            pair = [each for each in (entry, twin) if each is not None]
            if not any(each.effects or each.letter for each in pair):
                self._referee.violated("no event is lost", str(entry))

    def _twin(self, entry: Entry) -> Entry | None:
        entries, number = self._referee.book.entries, entry.number ^ 1
        return entries[number] if number < len(entries) else None


def _sequence(by: Claimant) -> str:
    """Return the sequence number in a record's id."""
    return by.record.split(":")[-2]
