"""The contract of `streamkit.ports.Memory` (rule 24)."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from streamkit.core.memory import Cell, Digests, Memo, ShardCell, SlotCell, Stretch, Stretches, Trouble
from streamkit.core.positions import Position, Progress
from streamkit.errors import Overtaken
from streamkit.ports import Memory
from streamkit.testing.builders import ARN, records
from streamkit.testing.contracts.checks import fresh

NOW = 1_356_998_400.0
UNTIL = NOW + 10
LATER = NOW + 60
TROUBLE = Trouble(
    failures={"7:0": 3},
    deaths=2,
    suspects=("7:0", "8:1"),
    sole={"7:0": 1},
    down_since=NOW - 5.5,
    halted="on_dead_letter is 'halt'",
    parked=("0123456789abcdef",),
)


@pytest.mark.contract
@pytest.mark.asyncio
class MemoryContract:
    """Fixture `memory`: the port over a table."""

    # -- one memo a shard

    async def test_the_first_claim_of_a_shard_stands(self, memory: Memory) -> None:
        """Nothing is known before it."""
        answer = await memory.claim(a_shard(), a_claim(), now=NOW)
        assert (answer.placed, answer.revision, list(answer.memos)) == (True, 1, [])

    async def test_a_live_claim_of_a_shard_stands_in_the_way(self, memory: Memory) -> None:
        """The twin is shown, and has lost nothing."""
        cell, first = a_shard(), a_claim()
        await memory.claim(cell, first, now=NOW)
        answer = await memory.claim(cell, a_claim(), now=NOW + 1)
        assert not answer.placed
        assert [memo.token for memo in answer.memos] == [first.token]
        await memory.write(cell, replace(first, revision=2))

    async def test_a_claim_that_ran_out_is_taken_over_and_shown(self, memory: Memory) -> None:
        """Its delivery ended without a word: what it left comes with the claim."""
        cell, first, second = a_shard(), a_claim(), a_claim(since=LATER)
        await memory.claim(cell, first, now=NOW)
        marked = replace(first, revision=2, mark=("7:0",), moved=True, trouble=TROUBLE, known=some_stretches())
        await memory.write(cell, marked)
        answer = await memory.claim(cell, second, now=LATER)
        assert (answer.placed, answer.revision, list(answer.memos)) == (True, 3, [marked])
        with pytest.raises(Overtaken):
            await memory.write(cell, replace(marked, revision=3))

    async def test_a_settled_shard_is_taken_at_once(self, memory: Memory) -> None:
        """What is known goes from one delivery to the next, also where the next one writes nothing."""
        cell, first = a_shard(), a_claim()
        await memory.claim(cell, first, now=NOW)
        settled = replace(first, revision=2, until=None, known=some_stretches())
        await memory.write(cell, settled)
        answer = await memory.claim(cell, a_claim(), now=NOW)
        assert (answer.placed, list(answer.memos)) == (True, [settled])
        third = await memory.claim(cell, a_claim(), now=LATER)
        assert [(memo.known, memo.mark, memo.moved) for memo in third.memos] == [(some_stretches(), (), False)]

    async def test_a_claim_of_a_shard_may_be_sent_again(self, memory: Memory) -> None:
        """After a lost answer: it stands, and does not take itself for a delivery that died."""
        cell, claim = a_shard(), a_claim()
        await memory.claim(cell, claim, now=NOW)
        answer = await memory.claim(cell, claim, now=NOW + 1)
        assert answer.placed
        assert all(memo.until is None for memo in answer.memos)
        await memory.write(cell, replace(claim, revision=answer.revision + 1))

    async def test_a_claim_of_a_shard_that_lands_twice_does_not_pass_for_a_write(self, memory: Memory) -> None:
        """The second landing changes nothing: what is written next is written."""
        cell, claim = a_shard(), a_claim()
        revisions = [(await memory.claim(cell, claim, now=NOW)).revision for _ in range(2)]
        settled = replace(claim, revision=revisions[0] + 1, until=None, known=some_stretches())
        await memory.write(cell, settled)
        assert revisions[0] == revisions[1]
        assert list(await memory.near(cell)) == [settled]

    async def test_a_claim_that_lands_after_its_own_settlement_takes_nothing(self, memory: Memory) -> None:
        """It was sent twice, and the first sending was late: the next delivery must not wait for it."""
        cell, claim = a_shard(), a_claim()
        await memory.claim(cell, claim, now=NOW)
        await memory.write(cell, replace(claim, revision=2, until=None))
        assert not (await memory.claim(cell, claim, now=NOW)).placed
        assert (await memory.claim(cell, a_claim(), now=NOW)).placed

    async def test_shards_are_independent(self, memory: Memory) -> None:
        """A claim of one says nothing about another, nor about one of another stream."""
        cell = a_shard()
        await memory.claim(cell, a_claim(), now=NOW)
        for other in (a_shard(), replace(cell, stream=f"{ARN}-2")):
            assert (await memory.claim(other, a_claim(), now=NOW)).placed

    # -- one memo a delivery

    async def test_claims_of_a_slot_stand_side_by_side(self, memory: Memory) -> None:
        """Each is told of those before it, and not of itself."""
        cell = a_slot()
        first, second = a_delivery(1, 3), a_delivery(2, 5)
        assert list((await memory.claim(cell, first, now=NOW)).memos) == []
        answer = await memory.claim(cell, second, now=NOW)
        assert (answer.placed, list(answer.memos)) == (True, [first])
        again = await memory.claim(cell, second, now=NOW)
        assert (again.revision, list(again.memos)) == (second.revision, [first])

    async def test_of_two_claims_at_once_one_sees_the_other(self, memory: Memory) -> None:
        """The look comes after the claim is durable: what no delivery may miss."""
        for _ in range(5):
            cell = a_slot()
            memos = [a_delivery(1, 3), a_delivery(1, 3)]
            async with asyncio.TaskGroup() as group:
                claims = [group.create_task(memory.claim(cell, memo, now=NOW)) for memo in memos]
            assert any(claim.result().memos for claim in claims)

    async def test_what_arrived_before_is_not_looked_at(self, memory: Memory) -> None:
        """A delivery whose last record arrived before the first of mine shares none with me."""
        late = a_slot()
        early = replace(late, earliest=late.earliest - 10, latest=late.latest - 10)
        await memory.claim(early, a_delivery(1, 3), now=NOW)
        assert list((await memory.claim(late, a_delivery(4, 6), now=NOW)).memos) == []
        assert len((await memory.claim(early, a_delivery(1, 3), now=NOW)).memos) == 2

    async def test_a_delivery_comes_back_as_it_was_written(self, memory: Memory) -> None:
        """Every field survives; a repeated write changes nothing."""
        cell, memo = a_slot(), a_delivery(1, 600)
        await memory.claim(cell, memo, now=NOW)
        flags = [number % 3 == 0 for number in range(600)]
        known = Digests.of(records(600), flags)
        written = replace(memo, revision=1, moved=True, mark=("7:0",), trouble=TROUBLE, known=known, until=None)
        await memory.write(cell, written)
        await memory.write(cell, written)
        assert list(await memory.near(cell)) == [written]

    async def test_slots_and_shards_are_independent(self, memory: Memory) -> None:
        """A delivery is looked for in its own slot, shard and stream."""
        cell = a_slot()
        await memory.claim(cell, a_delivery(1, 3), now=NOW)
        for other in (replace(cell, slot=cell.slot + 1), a_slot(), replace(cell, stream=f"{ARN}-2")):
            assert list((await memory.claim(other, a_delivery(1, 3), now=NOW)).memos) == []

    async def test_many_large_deliveries_of_a_slot_are_all_read(self, memory: Memory) -> None:
        """A look goes on to the last page."""
        cell = a_slot()
        memos = [a_delivery(1 + 9_000 * n, 9_000 * (n + 1)) for n in range(12)]
        for memo in memos:
            await memory.claim(cell, memo, now=NOW)
        assert {memo.token for memo in await memory.near(cell)} == {memo.token for memo in memos}

    # -- both

    @pytest.mark.parametrize("kind", ["shard", "slot"])
    async def test_a_write_is_for_the_revision_before_it(self, memory: Memory, kind: str) -> None:
        """What lands late does not undo what is newer."""
        cell, memo = a_cell(kind)
        revision = (await memory.claim(cell, memo, now=NOW)).revision
        memo = replace(memo, revision=revision)
        newer = [replace(memo, revision=revision + n, mark=(f"{n}:0",)) for n in (1, 2)]
        for each in newer:
            await memory.write(cell, each)
        with pytest.raises(Overtaken):
            await memory.write(cell, newer[0])
        [there] = await memory.near(cell)
        assert there.mark == ("2:0",)

    @pytest.mark.parametrize("kind", ["shard", "slot"])
    async def test_nothing_is_written_without_a_claim(self, memory: Memory, kind: str) -> None:
        """Writing makes no rows."""
        cell, memo = a_cell(kind)
        with pytest.raises(Overtaken):
            await memory.write(cell, replace(memo, revision=1))
        assert list(await memory.near(cell)) == []

    @pytest.mark.parametrize("kind", ["shard", "slot"])
    async def test_a_withdrawn_claim_is_gone(self, memory: Memory, kind: str) -> None:
        """It may be withdrawn twice."""
        cell, memo = a_cell(kind)
        memo = replace(memo, revision=(await memory.claim(cell, memo, now=NOW)).revision)
        await memory.forget(cell, [memo])
        await memory.forget(cell, [memo])
        assert list(await memory.near(cell)) == []

    @pytest.mark.parametrize("kind", ["shard", "slot"])
    async def test_what_was_written_since_is_not_forgotten(self, memory: Memory, kind: str) -> None:
        """Only what was seen is removed."""
        cell, memo = a_cell(kind)
        memo = replace(memo, revision=(await memory.claim(cell, memo, now=NOW)).revision)
        await memory.write(cell, replace(memo, revision=memo.revision + 1, moved=True))
        await memory.forget(cell, [memo, replace(memo, token=fresh("token"))])
        [there] = await memory.near(cell)
        assert there.moved


def a_shard() -> ShardCell:
    """Return a shard nobody has seen before."""
    return ShardCell(ARN, fresh("shardId"))


def a_slot() -> SlotCell:
    """Return a slot of a shard nobody has seen before."""
    return SlotCell(ARN, fresh("shardId"), 4_523_328, NOW, NOW + 3.5)


def a_claim(*, since: float = NOW) -> Memo:
    """Return a claim of a shard."""
    return Memo(token=fresh("token"), since=since, until=since + 10)


def a_delivery(first: int, last: int) -> Memo:
    """Return a claim of these records."""
    claimed = records(last - first + 1, first=first)
    return Memo(token=fresh("token"), since=NOW, until=UNTIL, known=Digests.of(claimed, [False] * len(claimed)))


def a_cell(kind: str) -> tuple[Cell, Memo]:
    """Return a cell of one kind and a claim for it."""
    return (a_shard(), a_claim()) if kind == "shard" else (a_slot(), a_delivery(1, 3))


def some_stretches() -> Stretches:
    """Return knowledge with no field at its default."""
    number = "49590338271490256608559692538361571095921575989136588898"
    progress = Progress(Position(number, 3), Position(number, 5), bytes(range(1, 200)), 2)
    return Stretches((Stretch(Position("7", 0), progress), Stretch(Position("1"), Progress(Position("3")))))
