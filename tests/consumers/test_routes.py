"""The view of routes and days: exact over every kind of change, repeats, gaps, and flights older than the stream."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import pytest
from boto3.dynamodb.types import TypeSerializer
from hypothesis import given
from hypothesis import strategies as st

from consumers.routes import TABLE, VIEW, Share, backfill, counters, dynamodb, routes, share_of
from streamkit import Change, Record
from streamkit.testing import change

Client = Any
"""Of aioboto3, which has no types."""
Item = dict[str, object]
Statistics = dict[str, dict[str, int]]


def flight(number: int = 1, **changes: object) -> Item:
    """An item of the flights table."""
    item: Item = {"id": f"UA{number}", "origin": "EWR", "dest": "IAH", "day": "2013-01-01", "dep_time": 517}
    return item | {"arr_delay": 11} | changes


def changed(old: Item | None, new: Item | None, *, turn: int) -> Change:
    """The change from one to the other."""
    key = {"id": (new or old or {})["id"]}
    return change(key, old=old, new=new, sequence=turn)


@pytest.fixture
async def client(embedded: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Client]:
    """Two empty tables in the embedded world, and a client to look into them."""
    for name, value in embedded.items():
        monkeypatch.setenv(name, value)
    async with dynamodb() as client:
        for table, key in ((TABLE, "id"), (VIEW, "pk")):
            await client.create_table(
                TableName=table,
                KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
                BillingMode="PAY_PER_REQUEST",
            )
        yield client
        for table in (TABLE, VIEW):
            await client.delete_table(TableName=table)


async def view(client: Client) -> Statistics:
    """Read the statistics, the parts of a day summed up, rows that count nothing left out."""
    found: dict[str, Counter[str]] = {}
    for item in (await client.scan(TableName=VIEW))["Items"]:
        row = item.pop("pk")["S"].partition("#")[0]
        if not row.startswith("flight "):
            found.setdefault(row, Counter()).update({name: int(value["N"]) for name, value in item.items()})
    counted = {row: {name: number for name, number in sums.items() if number} for row, sums in found.items()}
    return {row: numbers for row, numbers in counted.items() if numbers}


async def settled(*records: Record) -> list[str]:
    """Settle them; return the reasons of the letters."""
    result = await routes.settle(records)
    assert not result.unsettled
    return [letter.reason for letter in result.dead]


async def test_the_view_follows_a_flight(client: Client) -> None:
    """Inserted, delayed, rerouted, cancelled, deleted: at every step the view is what the table is."""
    first = flight()
    late = flight(arr_delay=20)
    moved = flight(arr_delay=20, dest="ORD", day="2013-01-02")
    cancelled = flight(dep_time=None, arr_delay=None, dest="ORD", day="2013-01-02")
    steps = [(None, first), (first, late), (late, moved), (moved, cancelled), (cancelled, None)]
    wanted: list[Statistics] = [
        twice("EWR-IAH", "2013-01-01", flights=1, delay_minutes=11),
        twice("EWR-IAH", "2013-01-01", flights=1, late=1, delay_minutes=20),
        twice("EWR-ORD", "2013-01-02", flights=1, late=1, delay_minutes=20),
        twice("EWR-ORD", "2013-01-02", flights=1, cancelled=1),
        {},
    ]
    for turn, ((old, new), statistics) in enumerate(zip(steps, wanted, strict=True), 1):
        assert await settled(changed(old, new, turn=turn)) == []
        assert await view(client) == statistics


def twice(route: str, day: str, **numbers: int) -> Statistics:
    """One route and one day with the same numbers."""
    return {f"route {route}": numbers, f"day {day}": numbers}


async def test_a_change_counts_once_however_often_it_comes(client: Client) -> None:
    """Also when later ones have been counted since, and after the flight is gone."""
    first, late = flight(), flight(arr_delay=20)
    changes = [changed(None, first, turn=9), changed(first, late, turn=10), changed(late, None, turn=11)]
    for count in (1, 2, 3, 2, 1):
        await settled(*changes[:count])
    assert await view(client) == {}
    await settled(changed(None, late, turn=12), *changes)
    assert await view(client) == twice("EWR-IAH", "2013-01-01", flights=1, late=1, delay_minutes=20)


async def test_what_no_stream_had_is_made_good_by_the_next_change(client: Client) -> None:
    """The old image is only what the view is thought to count: what it does count is what is taken back."""
    first, unseen, last = flight(), flight(dest="ORD"), flight(dest="SFO")
    await settled(changed(None, first, turn=1))
    await settled(changed(unseen, last, turn=3))
    assert await view(client) == twice("EWR-SFO", "2013-01-01", flights=1, delay_minutes=11)
    await settled(changed(flight(2, dest="ORD"), flight(2, dest="SFO"), turn=4))
    assert (await view(client))["route EWR-SFO"]["flights"] == 2
    assert "route EWR-ORD" not in await view(client)


async def test_flights_older_than_the_stream_are_counted_by_a_scan(client: Client) -> None:
    """Before or after their changes come, and as often as one likes: each flight counts once, as it is."""
    serialize = TypeSerializer().serialize
    for number in (1, 2, 3):
        item = {name: serialize(value) for name, value in flight(number).items()}
        await client.put_item(TableName=TABLE, Item=item)
    await settled(changed(None, flight(1), turn=1))
    assert await backfill(client) == 3
    assert await backfill(client) == 3
    await settled(changed(None, flight(2), turn=2), changed(flight(3), None, turn=3))
    assert await view(client) == twice("EWR-IAH", "2013-01-01", flights=2, delay_minutes=22)


async def test_an_item_that_is_no_flight_is_a_dead_letter(client: Client) -> None:
    """At once, by name; others go on."""
    reasons = await settled(changed(None, {"id": "UA1"}, turn=1), changed(None, flight(2), turn=2))
    assert reasons == ["expected an item of the flights table"]
    assert (await view(client))["route EWR-IAH"]["flights"] == 1


def test_a_share_is_what_a_flight_adds() -> None:
    """Late from 15 minutes on; cancelled if it never departed."""
    assert share_of(flight(arr_delay=15)) == Share("EWR-IAH", "2013-01-01", 1, 0, 15)
    assert share_of(flight(arr_delay=None, dep_time=None)) == Share("EWR-IAH", "2013-01-01", 0, 1, 0)
    assert share_of(None) is None


_shares = st.none() | st.builds(
    Share,
    route=st.sampled_from(["EWR-IAH", "EWR-ORD"]),
    day=st.sampled_from(["2013-01-01", "2013-01-02"]),
    late=st.integers(0, 1),
    cancelled=st.integers(0, 1),
    delay_minutes=st.integers(-20, 200),
)


@given(_shares, _shares)
def test_moving_a_share_there_and_back_adds_nothing(one: Share | None, other: Share | None) -> None:
    """The counters of a move are those of the way back, negated; one update a row, as a transaction demands."""
    sums: dict[tuple[str, str], int] = Counter()
    for was, now in ((one, other), (other, one)):
        updates = counters("key", was, now)
        rows = [update["Key"]["pk"]["S"] for update in updates]
        assert len(rows) == len(set(rows)) <= 4
        for row, update in zip(rows, updates, strict=True):
            for name, value in update["ExpressionAttributeValues"].items():
                sums[row, name] += int(value["N"])
    assert not any(sums.values())
