"""The contract of `streamkit.ports.Leases` (rules 1, 4, 5, 12)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from streamkit.core.leasing import ShardRow, Vitals
from streamkit.core.lineage import Shard
from streamkit.core.positions import Position, Progress, Since
from streamkit.core.quarantine import Death, Quarantine
from streamkit.errors import Refused
from streamkit.ports import Leases
from streamkit.testing.contracts.checks import fresh

NUMBER = "49590338271490256608559692538361571095921575989136588898"
"""A real sequence number: longer than DynamoDB's numbers."""


@pytest.mark.contract
@pytest.mark.asyncio
class LeasesContract:
    """Fixture `leases`: the port over a table."""

    async def test_a_row_comes_back_as_it_was_written(self, leases: Leases) -> None:
        """Every field survives, at its default and at anything else."""
        plain, full = a_row(), everything(fresh("shard"))
        await leases.add([plain, full])
        assert await the_row(leases, plain.id) == plain
        assert await the_row(leases, full.id) == full

    async def test_adding_a_row_that_is_there_changes_nothing(self, leases: Leases) -> None:
        """Making rows is idempotent: all workers may race, a second attempt spares what was written since."""
        row = a_row()
        await leases.add([row])
        held = await taken(leases, row, by="worker-a")
        await leases.add([row, a_row()])
        assert await the_row(leases, row.id) == held

    async def test_adding_some_makes_those_that_are_missing(self, leases: Leases) -> None:
        """One row that is there hinders no other; nor do more rows than fit into one request."""
        old, new = a_row(), [a_row() for _ in range(130)]
        await leases.add([old])
        await leases.add([*new[:3], old, *new[3:]])
        assert {row.id for row in new} <= {row.id for row in await leases.rows()}

    async def test_adding_nothing_is_allowed(self, leases: Leases) -> None:
        """No rows, no request, no error."""
        await leases.add([])

    async def test_rows_are_read_after_a_write_as_written(self, leases: Leases) -> None:
        """Reading is consistent: it never shows what was before a write that returned."""
        row = a_row()
        await leases.add([row])
        held = await taken(leases, row, by="worker-a")
        for revision in range(held.revision, held.revision + 10):
            wanted = replace(held, revision=revision + 1, token=f"t{revision}")
            await leases.write(held, wanted)
            assert await the_row(leases, row.id) == wanted
            held = wanted

    # -- take

    async def test_a_take_sets_owner_epoch_and_token(self, leases: Leases) -> None:
        """What the taker wants is what is stored from then on, and what is returned."""
        row = a_row()
        await leases.add([row])
        held = await leases.take(row, replace(row, owner="worker-a", epoch=1, token="t1"))
        assert (held.owner, held.epoch, held.token) == ("worker-a", 1, "t1")
        assert await the_row(leases, row.id) == held

    async def test_a_take_returns_what_was_written_since_the_row_was_seen(self, leases: Leases) -> None:
        """The successor goes on from the row as it is at the take, not as it was planned on (rule 4)."""
        row = everything(fresh("shard"))
        await leases.add([row])
        newer = replace(row, revision=row.revision + 1, token="t2", progress=Progress(Position(NUMBER, 7)))
        await leases.write(row, newer)
        held = await leases.take(row, replace(row, owner="worker-b", epoch=row.epoch + 1, token="t3"))
        written = replace(newer, owner="worker-b", epoch=row.epoch + 1, token="t3")
        assert replace(held, revision=written.revision) == written
        assert held.revision >= newer.revision

    async def test_a_take_adds_the_death_of_the_owner(self, leases: Leases) -> None:
        """A death is counted in the very write that takes over, and no death told meanwhile is lost by it (rule 22)."""
        seen = replace(a_row(), owner="worker-a", epoch=1)
        await leases.add([seen])
        first, second = (Death(float(n), f"worker-{n} was declared dead", n) for n in (1, 2))
        held = await leases.take(seen, replace(seen, owner="worker-b", epoch=2, token="t2", deaths=(first,)))
        assert held.deaths == (first,)
        stale = replace(held, deaths=())
        again = await leases.take(stale, replace(stale, owner="worker-c", epoch=3, token="t3", deaths=(second,)))
        assert again.deaths == (first, second)
        assert await the_row(leases, seen.id) == again

    async def test_a_row_is_taken_once_from_one_sight(self, leases: Leases) -> None:
        """Of two workers that saw the same row one gets it; the other learns who has it."""
        row = a_row()
        await leases.add([row])
        held = await taken(leases, row, by="worker-a")
        with pytest.raises(Refused) as refusal:
            await leases.take(row, replace(row, owner="worker-b", epoch=1, token="t2"))
        assert refusal.value.row == held
        assert await the_row(leases, row.id) == held

    async def test_a_take_is_refused_for_another_epoch_of_the_same_owner(self, leases: Leases) -> None:
        """The owner may have lost the shard and taken it back since: the epoch tells."""
        row = a_row()
        await leases.add([row])
        first = await taken(leases, row, by="worker-a")
        second = await taken(leases, first, by="worker-a")
        with pytest.raises(Refused) as refusal:
            await leases.take(first, replace(first, owner="worker-b", epoch=2, token="t3"))
        assert refusal.value.row == second

    async def test_a_take_is_refused_when_the_owner_released_in_between(self, leases: Leases) -> None:
        """The epoch is the same, the owner is not: what was seen is no longer so."""
        row = a_row()
        await leases.add([row])
        held = await taken(leases, row, by="worker-a")
        free = replace(held, owner=None, revision=held.revision + 1, token="t2")
        await leases.write(held, free)
        with pytest.raises(Refused) as refusal:
            await leases.take(held, replace(held, owner="worker-b", epoch=2, token="t3"))
        assert refusal.value.row == free

    async def test_an_owner_may_take_its_own_shard_again(self, leases: Leases) -> None:
        """After a take whose answer was lost it takes anew, one epoch on (rule 4)."""
        row = a_row()
        await leases.add([row])
        held = await taken(leases, row, by="worker-a")
        again = await taken(leases, held, by="worker-a")
        assert (again.owner, again.epoch) == ("worker-a", 2)

    async def test_a_take_of_a_row_that_is_not_there_is_refused_with_none(self, leases: Leases) -> None:
        """Taking makes no rows."""
        row = a_row()
        with pytest.raises(Refused) as refusal:
            await leases.take(row, replace(row, owner="worker-a", epoch=1, token="t1"))
        assert refusal.value.row is None
        assert row.id not in {found.id for found in await leases.rows()}

    # -- write

    async def test_a_write_replaces_the_whole_row(self, leases: Leases) -> None:
        """What is at its default again is gone from the table too."""
        row = everything(fresh("shard"))
        await leases.add([row])
        wanted = ShardRow(row.shard, row.start, owner=row.owner, epoch=row.epoch, revision=row.revision + 1, token="t9")
        await leases.write(row, wanted)
        assert await the_row(leases, row.id) == wanted

    async def test_a_take_seals_against_the_former_owner(self, leases: Leases) -> None:
        """A write that was still under way when the shard was taken changes nothing any more (rule 4)."""
        row = a_row()
        await leases.add([row])
        mine = await taken(leases, row, by="worker-a")
        theirs = await taken(leases, mine, by="worker-b")
        late = replace(mine, revision=mine.revision + 1, token="late", progress=Progress(Position(NUMBER)))
        with pytest.raises(Refused) as refusal:
            await leases.write(mine, late)
        assert refusal.value.row == theirs
        assert await the_row(leases, row.id) == theirs

    async def test_a_take_seals_against_the_same_owner(self, leases: Leases) -> None:
        """The epoch alone refuses: a worker's writes from before it took its own shard back are void."""
        row = a_row()
        await leases.add([row])
        before = await taken(leases, row, by="worker-a")
        after = await taken(leases, before, by="worker-a")
        held = replace(before, revision=after.revision)
        with pytest.raises(Refused) as refusal:
            await leases.write(held, replace(held, revision=held.revision + 1, token="late"))
        assert refusal.value.row == after

    async def test_a_write_is_refused_to_whoever_is_not_the_owner(self, leases: Leases) -> None:
        """The owner alone refuses: a released row is nobody's, though epoch and revision are known."""
        row = a_row()
        await leases.add([row])
        held = await taken(leases, row, by="worker-a")
        free = replace(held, owner=None, revision=held.revision + 1, token="t2")
        await leases.write(held, free)
        guess = replace(free, owner="worker-a")
        with pytest.raises(Refused) as refusal:
            await leases.write(guess, replace(guess, revision=guess.revision + 1, token="t3"))
        assert refusal.value.row == free

    async def test_a_write_is_refused_for_an_older_revision(self, leases: Leases) -> None:
        """The revision alone refuses: a write that lands late does not undo a newer one (rule 5)."""
        row = a_row()
        await leases.add([row])
        held = await taken(leases, row, by="worker-a")
        newer = replace(held, revision=held.revision + 1, token="t2")
        await leases.write(held, newer)
        with pytest.raises(Refused) as refusal:
            await leases.write(held, replace(held, revision=held.revision + 1, token="late"))
        assert refusal.value.row == newer

    async def test_a_repeated_write_is_refused_with_its_own_token(self, leases: Leases) -> None:
        """How a writer learns that its unanswered write had been applied (rule 5)."""
        row = a_row()
        await leases.add([row])
        held = await taken(leases, row, by="worker-a")
        wanted = replace(held, revision=held.revision + 1, token="mine")
        await leases.write(held, wanted)
        with pytest.raises(Refused) as refusal:
            await leases.write(held, wanted)
        assert refusal.value.row is not None
        assert refusal.value.row.token == "mine"

    async def test_a_write_to_a_row_that_is_not_there_is_refused_with_none(self, leases: Leases) -> None:
        """Writing makes no rows: a deleted one stays deleted."""
        row = replace(a_row(), owner="worker-a", epoch=1)
        with pytest.raises(Refused) as refusal:
            await leases.write(row, replace(row, revision=1, token="t1"))
        assert refusal.value.row is None
        assert row.id not in {found.id for found in await leases.rows()}

    # -- write with children

    async def test_a_shard_ends_together_with_the_making_of_its_children(self, leases: Leases) -> None:
        """One transaction: ended parent, rows of both children (rule 12)."""
        row = a_row()
        await leases.add([row])
        held = await taken(leases, row, by="worker-a")
        children = [a_row(parents=(row.id,)), a_row(parents=(row.id,))]
        await leases.write(held, ended(held), children=children)
        assert await the_row(leases, row.id) == ended(held)
        assert [await the_row(leases, child.id) for child in children] == children

    async def test_a_refused_end_makes_no_children(self, leases: Leases) -> None:
        """Nothing of the transaction happens; the row comes with the refusal."""
        row = a_row()
        await leases.add([row])
        mine = await taken(leases, row, by="worker-a")
        theirs = await taken(leases, mine, by="worker-b")
        child = a_row(parents=(row.id,))
        with pytest.raises(Refused) as refusal:
            await leases.write(mine, ended(mine), children=[child])
        assert refusal.value.row == theirs
        assert child.id not in {found.id for found in await leases.rows()}

    async def test_an_end_with_children_is_refused_for_an_older_revision(self, leases: Leases) -> None:
        """Its condition is that of every write: an end that lands late does not undo a newer write."""
        row = a_row()
        await leases.add([row])
        held = await taken(leases, row, by="worker-a")
        newer = replace(held, revision=held.revision + 1, token="t2")
        await leases.write(held, newer)
        with pytest.raises(Refused) as refusal:
            await leases.write(held, ended(held), children=[a_row(parents=(row.id,))])
        assert refusal.value.row == newer

    async def test_a_merge_is_ended_by_both_parents(self, leases: Leases) -> None:
        """The second parent finds the child's row made, even owned: it ends all the same (rule 12)."""
        left, right = a_row(), a_row()
        child = a_row(parents=(left.id, right.id))
        await leases.add([left, right])
        held = await taken(leases, left, by="worker-a")
        await leases.write(held, ended(held), children=[child])
        grown = await taken(leases, child, by="worker-b")
        held = await taken(leases, right, by="worker-a")
        await leases.write(held, ended(held), children=[child])
        assert await the_row(leases, right.id) == ended(held)
        assert await the_row(leases, child.id) == grown

    async def test_an_ended_row_is_forgotten_once(self, leases: Leases) -> None:
        """Twice is no error; a row that is not as it was seen stays."""
        row = a_row()
        await leases.add([row])
        held = await taken(leases, row, by="worker-a")
        end = ended(held)
        await leases.drop(replace(end, revision=end.revision))
        assert await the_row(leases, row.id) == held
        await leases.write(held, end)
        for _ in range(2):
            await leases.drop(end)
        assert row.id not in {each.id for each in await leases.rows()}


def a_row(*, parents: tuple[str, ...] = ()) -> ShardRow:
    """Return the row of a shard nobody has seen before."""
    return ShardRow(Shard(fresh("shardId"), parents), "TRIM_HORIZON")


def everything(shard: str) -> ShardRow:
    """Return a row with no field at its default."""
    return ShardRow(
        shard=Shard(shard, ("shardId-000000000001", "shardId-000000000002"), (0, 2**128 - 1)),
        start=Since(1_356_998_400.125),
        owner="worker-a",
        epoch=12,
        revision=345,
        token="0123456789abcdef0123456789abcdef",
        progress=Progress(
            frontier=Position(NUMBER, 3),
            first=Position(NUMBER, 5),
            done=bytes(range(256)) * 3,
            decoding=2,
        ),
        state="halted",
        halted="no dead-letter queue: \N{SKULL}",
        prefers="worker-b",
        parked=("3f2a", "9c01"),
        frontier_arrived=1_356_998_460.017,
        caught_up_at=1_356_998_461.5,
        marked=Position(NUMBER),
        generation=2,
        deaths=(
            Death(1_356_998_400.5, "worker worker-z was declared dead", 11),
            Death(0.25, "signal 9", 12, apart=True),
        ),
        quarantine=Quarantine(
            7, 2, Position(NUMBER, 9), Position(NUMBER), 1, 12, (Death(0.25, "signal 9", 12, apart=True),)
        ),
        vitals=Vitals(at=1_356_998_462.25, settled=7, dead=1, oldest=1_356_998_460.5, paused="OSError at shop.py:7"),
    )


def ended(held: ShardRow) -> ShardRow:
    """Return the row as its owner writes it at the end of the shard."""
    return replace(held, state="ended", owner=None, revision=held.revision + 1, token=f"end of {held.id}")


async def taken(leases: Leases, seen: ShardRow, *, by: str) -> ShardRow:
    """Take the row."""
    wanted = replace(seen, owner=by, epoch=seen.epoch + 1, token=f"take {seen.epoch + 1} of {seen.id}")
    return await leases.take(seen, wanted)


async def the_row(leases: Leases, shard: str) -> ShardRow:
    """Read one row; there must be exactly one."""
    [row] = [row for row in await leases.rows() if row.id == shard]
    return row
