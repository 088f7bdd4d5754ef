"""Planning: every worker computes the same, nothing live is taken, children wait for parents (rules 2, 4, 6, 11)."""

from __future__ import annotations

import random
from typing import Literal

from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from streamkit.core.leasing import SUSPICION, Member, Plan, ShardRow, Sightings, heir, levels_of, outlived, plan
from streamkit.core.lineage import Shard
from streamkit.testing.strategies import lineages

WORKERS = [f"worker-{letter}" for letter in "abcde"]
LEASE = 10.0
STATES: list[Literal["alive", "left", "dead"] | None] = ["alive", "alive", "dead", "left", None]


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[ShardRow], list[Member]]:
    """Rows of a lineage in any state a crash may leave, and members alive, dead, left or without a row."""
    rows = [
        ShardRow(
            shard,
            "TRIM_HORIZON",
            owner=draw(st.none() | st.sampled_from(WORKERS)),
            state=draw(st.sampled_from(["open", "open", "open", "ended", "halted"])),
            prefers=draw(st.none() | st.sampled_from(WORKERS)),
        )
        for shard in draw(lineages())
        if draw(st.integers(0, 9))
    ]
    states = draw(st.lists(st.sampled_from(STATES), min_size=5, max_size=5))
    members = [Member(name, state=state) for name, state in zip(WORKERS, states, strict=True) if state]
    return rows, members


def held(rows: list[ShardRow], worker: str) -> frozenset[str]:
    """Return what the worker runs, if it runs what its rows say."""
    return frozenset(row.id for row in rows if row.owner == worker and row.state == "open")


def plans(rows: list[ShardRow], members: list[Member]) -> dict[str, Plan]:
    """Return everybody's plan, from the same rows."""
    listed = frozenset(row.id for row in rows)
    return {
        each.worker: plan(rows, members, me=each.worker, running=held(rows, each.worker), listed=listed)
        for each in members
        if each.state == "alive"
    }


def ready(rows: list[ShardRow]) -> list[ShardRow]:
    """Return the rows that may run: open, and every parent with a row ended."""
    state = {row.id: row.state for row in rows}
    return [
        row for row in rows if row.state == "open" and all(state.get(p, "ended") == "ended" for p in row.shard.parents)
    ]


@given(table=tables())
def test_all_plans_together_take_every_free_shard_once_and_nothing_else(
    table: tuple[list[ShardRow], list[Member]],
) -> None:
    """Disjoint and complete; never a live owner's, never a child before its parents, nothing halted or ended."""
    rows, members = table
    alive = {each.worker for each in members if each.state == "alive"}
    taken = [row.id for each in plans(rows, members).values() for row in each.take]
    free = [row.id for row in ready(rows) if row.owner not in alive]
    assert sorted(taken) == (sorted(free) if alive else [])


@given(table=tables(), order=st.randoms(use_true_random=False))
def test_a_plan_does_not_depend_on_the_order_of_rows(
    table: tuple[list[ShardRow], list[Member]], order: random.Random
) -> None:
    """Workers read the table in pieces, each in its own order."""
    rows, members = table
    shuffled, others = list(rows), list(members)
    order.shuffle(shuffled)
    order.shuffle(others)
    before, after = plans(rows, members), plans(shuffled, others)
    assert {w: (sorted(r.id for r in p.take), p.moves) for w, p in before.items()} == {
        w: (sorted(r.id for r in p.take), p.moves) for w, p in after.items()
    }


@given(table=tables())
def test_carrying_out_plans_reaches_balance_and_then_rests(table: tuple[list[ShardRow], list[Member]]) -> None:
    """Takes first, then all moves at once, no more than needed; where nothing was measured, counts become even."""
    rows, members = table
    alive = sorted(each.worker for each in members if each.state == "alive")
    if not alive:
        return
    rows = carried_out(rows, members)
    moves = {move.shard: move.to for each in plans(rows, members).values() for move in each.moves}
    assert len(moves) == excess(rows, alive)
    released = [replace(r, owner=None, prefers=moves[r.id]) if r.id in moves else r for r in rows]
    assert {p: [r.id for r in each.take] for p, each in plans(released, members).items()} == {
        worker: [row.id for row in rows if moves.get(row.id) == worker] for worker in alive
    }, "a shard on its way goes to whom it was released for, and sets nothing else in motion"
    rows = carried_out(released, members)
    loads = [sum(row.owner == worker for row in ready(rows)) for worker in alive]
    assert max(loads) - min(loads) <= 1
    assert all(each == Plan() for each in plans(rows, members).values())


def crowd(shards: int) -> tuple[list[ShardRow], list[Member]]:
    """All shards with the first of five workers."""
    rows = [ShardRow(Shard(f"shard-{number}"), "TRIM_HORIZON", owner=WORKERS[0]) for number in range(shards)]
    return rows, [Member(worker) for worker in WORKERS]


@given(table=tables(), gone=st.sets(st.integers(0, 30)))
@example(table=crowd(10), gone={0, 3, 5})
def test_moves_of_others_that_are_under_way_change_nobodys_mind(
    table: tuple[list[ShardRow], list[Member]], gone: set[int]
) -> None:
    """Some shards are released already, some not yet: whoever looks now offers the same as who looked before."""
    rows, members = table
    rows = carried_out(rows, members)
    wanted = {move.shard: move.to for each in plans(rows, members).values() for move in each.moves}
    first = {shard for index, shard in enumerate(sorted(wanted)) if index in gone}
    midway = [replace(r, owner=None, prefers=wanted[r.id]) if r.id in first else r for r in rows]
    then = [move for each in plans(midway, members).values() for move in each.moves]
    assert len(then) + len(first) == len(wanted)


def carried_out(rows: list[ShardRow], members: list[Member]) -> list[ShardRow]:
    """Let everybody take what falls to it."""
    owners = {row.id: worker for worker, each in plans(rows, members).items() for row in each.take}
    return [replace(row, owner=owners.get(row.id, row.owner)) for row in rows]


def excess(rows: list[ShardRow], alive: list[str]) -> int:
    """Return how many shards have to move at least."""
    loads = [sum(row.owner == worker for row in ready(rows)) for worker in alive]
    fair, more = divmod(sum(loads), len(alive))
    targets = sorted([fair + 1] * more + [fair] * (len(alive) - more), reverse=True)
    return sum(max(0, load - target) for load, target in zip(sorted(loads, reverse=True), targets, strict=True))


def test_who_is_not_a_member_plans_nothing() -> None:
    """A worker declared dead takes no shard."""
    rows = [ShardRow(Shard("s"), "TRIM_HORIZON")]
    for state in ("dead", "left"):
        members = [Member("me", state=state)]
        assert plan(rows, members, me="me", running=frozenset(), listed=frozenset({"s"})) == Plan()


def test_a_row_that_names_me_but_that_i_do_not_run_is_taken_anew() -> None:
    """A take whose answer was lost, or a life before (rule 4)."""
    (row,) = rows = [ShardRow(Shard("s"), "TRIM_HORIZON", owner="me", epoch=3)]
    members = [Member("me"), Member("other")]
    assert plan(rows, members, me="me", running=frozenset(), listed=frozenset({"s"})).take == (row,)
    assert plan(rows, members, me="me", running=frozenset({"s"}), listed=frozenset({"s"})).take == ()
    assert plan(rows, members, me="other", running=frozenset(), listed=frozenset({"s"})).take == ()


def test_a_parent_that_is_listed_and_has_no_row_keeps_its_children_waiting() -> None:
    """Its row is about to be made; only a parent that is in neither is finished (rule 11)."""
    rows = [ShardRow(Shard("child", ("parent",)), "TRIM_HORIZON")]
    members = [Member("me")]

    def taken(*listed: str) -> int:
        return len(plan(rows, members, me="me", running=frozenset(), listed=frozenset(listed)).take)

    assert taken("child", "parent") == 0
    assert taken("child") == 1


def test_a_released_shard_goes_to_whom_it_was_released_for() -> None:
    """As long as that one is there; else to whoever has least."""
    rows = [ShardRow(Shard(f"s{n}"), "TRIM_HORIZON", owner="a" if n else None, prefers="b") for n in range(3)]
    members = [Member("a"), Member("b"), Member("c")]
    assert [row.id for row in plans(rows, members)["b"].take] == ["s0"]
    members[1] = replace(members[1], state="left")
    assert [row.id for row in plans(rows, members)["c"].take] == ["s0"]


def test_a_shard_weighs_what_its_owner_tells_or_what_was_written_last() -> None:
    """Between two owners its row tells (rule 2); what a dead worker said counts no more than its row."""
    rows = [
        ShardRow(Shard("told"), "TRIM_HORIZON", owner="a", level=1),
        ShardRow(Shard("untold"), "TRIM_HORIZON", owner="a", level=2),
        ShardRow(Shard("free"), "TRIM_HORIZON", level=3),
        ShardRow(Shard("orphan"), "TRIM_HORIZON", owner="dead", level=4),
        ShardRow(Shard("new"), "TRIM_HORIZON"),
    ]
    members = [
        Member("a", holds=("told", "free"), levels=(9, 9)),
        Member("dead", state="dead", holds=("orphan",), levels=(9,)),
    ]
    assert levels_of(rows, members) == {"told": 9, "untold": 2, "free": 3, "orphan": 4, "new": None}


def test_a_heartbeat_tells_what_is_held_and_what_it_brings() -> None:
    """The counter one on; no levels where none is known."""
    member = Member("a", counter=4, holds=("x",), levels=(2,))
    assert member.beaten((("y", None), ("z", 3))) == Member("a", counter=5, holds=("y", "z"), levels=(None, 3))
    assert member.beaten((("y", None),)) == Member("a", counter=5, holds=("y",))


# Suspicion


def test_a_worker_is_suspect_once_its_counter_stood_still_for_1_05_leases() -> None:
    """By my own clock, from when I first saw it at this value."""
    sightings, still = Sightings(), Member("other", counter=7)
    sightings.note([still], 100.0)
    for seconds in (5.0, SUSPICION * LEASE - 0.01):
        sightings.note([still], 100.0 + seconds)
        assert sightings.suspects([still], now=100.0 + seconds, lease=LEASE) == []
    now = 100.0 + SUSPICION * LEASE
    assert sightings.suspects([still], now=now, lease=LEASE) == [still]
    moved = replace(still, counter=8)
    sightings.note([moved], now)
    assert sightings.suspects([moved], now=now, lease=LEASE) == []


def test_who_left_or_is_dead_is_no_suspect() -> None:
    """Nothing is left to declare."""
    members = [Member("left", state="left"), Member("dead", state="dead")]
    sightings = Sightings()
    sightings.note(members, 0.0)
    assert sightings.suspects(members, now=1000.0, lease=LEASE) == []


def test_rows_that_are_gone_are_forgotten() -> None:
    """What a worker remembers is bounded by the table; who comes back is seen for the first time."""
    sightings, member = Sightings(), Member("other", counter=7)
    sightings.note([member], 0.0)
    sightings.note([], 5.0)
    sightings.note([member], 20.0)
    assert sightings.suspects([member], now=20.0, lease=LEASE) == []


def test_who_is_gone_for_long_is_bygone() -> None:
    """Counted from when it was first seen dead, not from its last heartbeat; the living never are."""
    sightings, alive = Sightings(), Member("other", counter=7)
    sightings.note([alive], 0.0)
    assert sightings.bygone([alive], now=9_000.0, after=3600.0) == []
    dead = replace(alive, state="dead")
    sightings.note([dead], 9_000.0)
    sightings.note([dead], 12_599.0)
    assert sightings.bygone([dead], now=12_599.0, after=3600.0) == []
    assert sightings.bygone([dead], now=12_600.0, after=3600.0) == [dead]


def test_a_row_is_outlived_when_nobody_can_ask_for_it_again() -> None:
    """Ended, unlisted, old, and everything that goes on from it has ended too."""

    def row(name: str, state: Literal["open", "ended", "halted"], parent: str = "", arrived: float = 10.0) -> ShardRow:
        shard = Shard(name, (parent,) if parent else ())
        return ShardRow(shard, "TRIM_HORIZON", state=state, frontier_arrived=arrived)

    made = [
        row("old", "ended"),
        row("awaited", "ended", "old"),
        row("open", "open", "awaited"),
        row("young", "ended", arrived=30.0),
        row("listed", "ended"),
        row("halted", "halted"),
    ]
    rows = {each.id: each for each in made}
    assert outlived(rows.values(), listed={"listed"}, before=20.0) == [rows["old"]]
    assert outlived([replace(rows["old"], caught_up_at=20.0)], listed=(), before=20.0) == []


def test_who_goes_on_from_what_nobody_knows_is_not_taken_for_a_first_snapshot() -> None:
    """Else whatever was trimmed before a shard was found would go unreported, from its children on (rule 14)."""
    child = Shard("child", ("one", "two"))
    unknown, first = ShardRow(Shard("one"), "TRIM_HORIZON", caught_up_at=0.0), ShardRow(Shard("two"), "TRIM_HORIZON")
    read = replace(first, caught_up_at=20.0, frontier_arrived=30.0)
    assert heir(child, [unknown]).caught_up_at == 0.0
    assert heir(child, [unknown, read]).caught_up_at == 30.0
    assert heir(child, [first]).caught_up_at is None
