"""The contract of `streamkit.ports.Members` (rule 2)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from streamkit.core.leasing import Member
from streamkit.errors import DeclaredDead
from streamkit.ports import Members
from streamkit.testing.contracts.checks import fresh


@pytest.mark.contract
@pytest.mark.asyncio
class MembersContract:
    """Fixture `members`: the port over a table."""

    async def test_a_member_that_joined_is_there(self, members: Members) -> None:
        """Returning means that the row is there, as given."""
        holds = ("shard-1", "shardId-000000000017", "17")
        member = replace(a_member(), counter=3, holds=holds, levels=(7, None, 0), started=1_356_998_400.5)
        await members.join(member)
        assert await the_row(members, member) == member

    async def test_joining_twice_is_joining_once(self, members: Members) -> None:
        """A join whose answer was lost may be sent again."""
        member = a_member()
        await members.join(member)
        await members.join(member)
        assert await the_row(members, member) == member

    async def test_joining_revives_nobody(self, members: Members) -> None:
        """A row that was declared dead stays dead, and the worker learns it: no upsert (rule 2)."""
        member = a_member()
        await members.join(member)
        assert await members.bury(member)
        with pytest.raises(DeclaredDead):
            await members.join(member)
        assert await the_row(members, member) == replace(member, state="dead")

    async def test_a_beat_replaces_the_row(self, members: Members) -> None:
        """Counter, holdings, levels and state are those of the latest beat, read consistently."""
        member = a_member()
        await members.join(member)
        for counter, holds in enumerate([("a",), ("a", "b"), ()], start=1):
            beat = replace(member, counter=counter, holds=holds, levels=(counter,) * len(holds))
            await members.beat(beat)
            assert await the_row(members, member) == beat

    async def test_a_beat_without_a_row_is_refused(self, members: Members) -> None:
        """A deleted row is not made again: others may own the shards already."""
        member = a_member()
        with pytest.raises(DeclaredDead):
            await members.beat(member)
        assert member.worker not in {found.worker for found in await members.members()}

    async def test_a_beat_of_the_dead_is_refused(self, members: Members) -> None:
        """Whoever was declared dead learns it at the next beat, and stays dead."""
        member = a_member()
        await members.join(member)
        assert await members.bury(member)
        with pytest.raises(DeclaredDead):
            await members.beat(replace(member, counter=1))
        assert (await the_row(members, member)).state == "dead"

    async def test_a_beat_after_leaving_is_refused(self, members: Members) -> None:
        """A beat that lands behind the tombstone does not undo it."""
        member = a_member()
        await members.join(member)
        left = replace(member, counter=1, state="left")
        await members.beat(left)
        with pytest.raises(DeclaredDead):
            await members.beat(replace(member, counter=2))
        assert await the_row(members, member) == left

    async def test_the_silent_are_buried(self, members: Members) -> None:
        """The counter is the one seen: dead from now on, everything else as it was."""
        member = replace(a_member(), holds=("shard-1",))
        await members.join(member)
        assert await members.bury(member) is True
        assert await the_row(members, member) == replace(member, state="dead")

    async def test_nobody_is_buried_who_has_beaten_since(self, members: Members) -> None:
        """The burial is conditional on the counter."""
        member = a_member()
        await members.join(member)
        alive = replace(member, counter=1)
        await members.beat(alive)
        assert await members.bury(member) is False
        assert await the_row(members, member) == alive
        await members.beat(replace(member, counter=2))

    async def test_the_dead_stay_buried(self, members: Members) -> None:
        """Of two workers that bury the same one, both learn that it is dead."""
        member = a_member()
        await members.join(member)
        assert await members.bury(member) is True
        assert await members.bury(member) is True
        assert await members.bury(replace(member, counter=9)) is True

    async def test_who_left_is_not_declared_dead(self, members: Members) -> None:
        """A tombstone is a clean end: only deaths count against a shard's records (rule 22)."""
        member = a_member()
        await members.join(member)
        left = replace(member, counter=1, state="left")
        await members.beat(left)
        assert await members.bury(member) is False
        assert await members.bury(left) is False
        assert await the_row(members, member) == left

    async def test_burying_makes_no_rows(self, members: Members) -> None:
        """The row may have been removed by hand meanwhile."""
        member = a_member()
        await members.bury(member)
        assert member.worker not in {found.worker for found in await members.members()}

    async def test_the_rows_of_the_gone_are_removed(self, members: Members) -> None:
        """Of the dead and of those who left; removing what is not there changes nothing."""
        dead, left = a_member(), a_member()
        for member in (dead, left):
            await members.join(member)
        await members.bury(dead)
        dead, left = replace(dead, state="dead"), replace(left, counter=1, state="left")
        await members.beat(left)
        for member in (dead, left, dead):
            await members.forget(member)
            assert member.worker not in {found.worker for found in await members.members()}

    async def test_nobody_is_forgotten_who_is_not_as_seen(self, members: Members) -> None:
        """The removal is conditional on state and counter: the living keep their rows, whoever asks."""
        member = replace(a_member(), counter=1)
        await members.join(member)
        for seen in (replace(member, state="dead"), replace(member, state="left")):
            await members.forget(seen)
        with pytest.raises(ValueError, match="expected a member that died or left"):
            await members.forget(member)
        assert await the_row(members, member) == member
        await members.bury(member)
        await members.forget(replace(member, state="left"))
        await members.forget(replace(member, counter=0, state="dead"))
        assert (await the_row(members, member)).state == "dead"

    async def test_who_was_forgotten_stays_dead(self, members: Members) -> None:
        """Its beats are refused, and a burial makes no row."""
        member = a_member()
        await members.join(member)
        await members.bury(member)
        await members.forget(replace(member, state="dead"))
        with pytest.raises(DeclaredDead):
            await members.beat(replace(member, counter=1))
        assert await members.bury(member) is False
        assert member.worker not in {found.worker for found in await members.members()}

    async def test_dead_and_left_members_are_listed(self, members: Members) -> None:
        """Nothing is hidden: who reads decides."""
        alive, dead, gone = a_member(), a_member(), a_member()
        for member in (alive, dead, gone):
            await members.join(member)
        await members.bury(dead)
        await members.beat(replace(gone, counter=1, state="left"))
        states = {member.worker: member.state for member in await members.members()}
        assert [states[member.worker] for member in (alive, dead, gone)] == ["alive", "dead", "left"]


def a_member() -> Member:
    """Return an incarnation that was never used before."""
    return Member(fresh("worker"))


async def the_row(members: Members, member: Member) -> Member:
    """Read one row; there must be exactly one."""
    [row] = [row for row in await members.members() if row.worker == member.worker]
    return row
