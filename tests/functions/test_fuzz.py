"""Any event of a mapping, any records in it, any time and trouble: no crash, no silent drop, no unknown identifier."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from hypothesis import given
from hypothesis import strategies as st

from streamkit import Change, Outage, Poison, Record, Retry
from streamkit.consumer import DynamoDBStream, Kinesis
from streamkit.errors import Throttled
from streamkit.testing import aggregate, run_virtual
from tests.functions.stage import SETTLED, Stage, changes, kinesis

Kind = Literal["fine", "poison", "bad", "flaky", "aggregate", "corrupt aggregate", "too large"]
ANYWHERE: Sequence[Kind] = ("fine", "fine", "fine", "poison", "bad", "flaky")
KINDS: Sequence[Kind] = (*ANYWHERE, "aggregate", "corrupt aggregate", "too large")
MOST_BYTES = 500
DELIVERIES = 40


@dataclass(frozen=True, slots=True)
class Sent:
    """One entry of an event: which shard it is of, its kind, its key."""

    shard: int
    kind: Kind
    key: int


sent = st.builds(Sent, st.integers(0, 2), st.sampled_from(KINDS), st.integers(0, 2))
troubles = st.sampled_from(("none", "short of time", "no time", "no table", "no queue"))


class Deliveries:
    """A function, the events that are delivered to it, and what became of every user record in them."""

    def __init__(self, entries: Sequence[Sent], *, factor: int | None, of_a_table: bool) -> None:
        source = DynamoDBStream("flights") if of_a_table else Kinesis("stream")
        retry = Retry(attempts=2, initial=timedelta(seconds=0.1), maximum=timedelta(seconds=0.1))
        self.stage = Stage(
            parallelization_factor=factor,
            source=source,
            max_record_bytes=MOST_BYTES,
            retry=retry,
            outage=Outage(limit=timedelta(minutes=2)),  # bad records alone look like one
        )
        self.stage.handler = self.handle
        self.entries = entries
        self.of_a_table = of_a_table
        self.effects = Counter[str]()
        self.attempts = Counter[str]()
        self.event = self._event()

    async def handle(self, record: Record) -> None:
        """Behave as the record's kind says."""
        kind = self.entries[self._index(record)].kind
        self.attempts[record.id] += 1
        if kind == "poison":
            raise Poison("never")
        if kind == "bad" or (kind == "flaky" and self.attempts[record.id] == 1):
            raise ValueError("no")
        self.effects[record.id] += 1

    def _index(self, record: Record) -> int:
        if isinstance(record, Change):
            return int(str((record.new or {})["n"]))
        return self.numbers.index(record.sequence_number)

    @property
    def numbers(self) -> list[str]:
        """How the entries of the event name themselves."""
        place = ("dynamodb", "SequenceNumber") if self.of_a_table else ("kinesis", "sequenceNumber")
        return [entry[place[0]][place[1]] for entry in self.event["Records"]]

    def _event(self) -> dict[str, Any]:
        if self.of_a_table:
            return changes(*range(len(self.entries)), keys=3)
        found: list[dict[str, Any]] = []
        for index, each in enumerate(self.entries):
            [entry] = kinesis(index, shard=f"shardId-00000000000{each.shard}", apart=20.0)["Records"]
            entry["kinesis"]["partitionKey"] = f"key-{each.key}"
            entry["kinesis"]["data"] = base64.b64encode(payload(each.kind)).decode()
            found.append(entry)
        return {"Records": found}

    async def deliver(self, seconds: float) -> bool:
        """Deliver all of it; hold the answer against what happened; return whether all is said to be settled."""
        answer = await self.stage.invoke(self.event, seconds=seconds)
        failures = [each["itemIdentifier"] for each in answer["batchItemFailures"]]
        assert len(failures) <= 1
        first = self.numbers.index(failures[0]) if failures else len(self.entries)
        dead = {letter.record.sequence_number for letter in self.stage.world.letters.letters}
        done = {identifier.split(":")[-2] for identifier in self.effects} if not self.of_a_table else set[str]()
        for index in range(first):
            settled = self.numbers[index] in dead | done or (self.of_a_table and self._took_effect(index))
            assert settled, f"{self.entries[index]} was called settled and is not"
        return not failures

    def _took_effect(self, index: int) -> bool:
        return any(identifier.endswith(f":{index:032x}") for identifier in self.effects)


def payload(kind: Kind) -> bytes:
    """Return what a record of this kind holds."""
    match kind:
        case "aggregate":
            return aggregate([(f"key-{n}", n) for n in range(3)])
        case "corrupt aggregate":
            return aggregate([("a", 1)])[:-1] + b"?"
        case "too large":
            return b"x" * (MOST_BYTES + 1)
        case _:
            return b"{}"


@given(
    entries=st.lists(sent, min_size=1, max_size=12),
    factor=st.sampled_from((1, None)),
    of_a_table=st.booleans(),
    trouble=troubles,
)
def test_whatever_is_delivered_is_settled_once_or_comes_again(
    entries: list[Sent], factor: int | None, trouble: str, *, of_a_table: bool
) -> None:
    """Each user record takes effect once or has one letter; no answer claims more, or names what is not there."""
    if of_a_table:
        entries = [Sent(0, each.kind if each.kind in ANYWHERE else "fine", each.key) for each in entries]

    async def main() -> None:
        subject = Deliveries(entries, factor=factor, of_a_table=of_a_table)
        world = subject.stage.world
        world.letters.outage = trouble == "no queue"
        world.deliveries.outage = Throttled("the table is down") if trouble == "no table" else None
        await subject.deliver({"short of time": 0.3, "no time": 0.0}.get(trouble, 30.0))
        world.letters.outage, world.deliveries.outage = False, None
        for _ in range(DELIVERIES):
            if await subject.deliver(60.0):
                break
        assert await subject.stage.invoke(subject.event) == SETTLED
        letters = Counter(letter.record.id for letter in world.letters.letters)
        expected = sum(3 if each.kind == "aggregate" else 1 for each in entries)
        assert len(subject.effects | letters) == expected
        assert set((subject.effects + letters).values()) == {1}

    run_virtual(main)
