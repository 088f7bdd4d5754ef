"""The flights consumer, on its own: what it counts, what it condemns, and that nothing counts twice."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from consumers.flights import TABLE, Flight, dynamodb, flights
from streamkit import Record
from streamkit.testing import record

Client = Any
"""Of aioboto3, which has no types."""

FLIGHT = Flight(
    year=2013,
    month=1,
    day=1,
    sched_dep_time=515,
    dep_time=517,
    arr_delay=11,
    carrier="UA",
    flight=1545,
    origin="EWR",
)


def departure(number: int = 1, *, key: str = "N14228", **changes: object) -> Record:
    """The `number`-th record of the shard: a flight of its own."""
    flight = msgspec.structs.replace(FLIGHT, **({"flight": number} | changes))
    return record(msgspec.json.encode(flight), key=key, sequence=number)


class ThrottledTable:
    """A table that has no capacity left."""

    class exceptions:  # noqa: N801 - the SDK's name
        """The SDK's classes of errors."""

        ConditionalCheckFailedException = type("ConditionalCheckFailedException", (Exception,), {})
        ProvisionedThroughputExceededException = type("ProvisionedThroughputExceededException", (Exception,), {})
        InternalServerError = type("InternalServerError", (Exception,), {})

    async def update_item(self, **_: object) -> None:
        """Refuse."""
        raise self.exceptions.ProvisionedThroughputExceededException


@asynccontextmanager
async def throttled() -> AsyncGenerator[ThrottledTable]:
    """Open it."""
    yield ThrottledTable()


@pytest.fixture
async def table(embedded: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Client]:
    """An empty table of statistics in the embedded world, and a client to look into it."""
    for name, value in embedded.items():
        monkeypatch.setenv(name, value)
    async with dynamodb() as client:
        keys = {"carrier": "HASH", "month_aircraft": "RANGE"}
        await client.create_table(
            TableName=TABLE,
            KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys.items()],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in keys],
            BillingMode="PAY_PER_REQUEST",
        )
        yield client
        await client.delete_table(TableName=TABLE)


async def row(client: Client, carrier: str = "UA", month_aircraft: str = "2013-01#N14228") -> dict[str, Any]:
    """What the table holds under a key, as plain values."""
    key = {"carrier": {"S": carrier}, "month_aircraft": {"S": month_aircraft}}
    item = (await client.get_item(TableName=TABLE, Key=key, ConsistentRead=True)).get("Item", {})
    numbers = {name: int(value["N"]) for name, value in item.items() if "N" in value}
    return numbers | {"records": [each["S"] for each in item.get("records", {"L": []})["L"]]}


async def test_flights_of_an_aircraft_add_up_in_one_row(table: Client) -> None:
    """Delays are summed, those of 15 minutes and more counted as late, cancelled flights counted apart."""
    put = [
        departure(1, arr_delay=-5),
        departure(2, arr_delay=14),
        departure(3, arr_delay=15),
        departure(4, dep_time=None, arr_delay=None),
    ]
    settled = await flights.settle(put)
    assert len(settled.handled) == 4
    assert await row(table) == {
        "delay_minutes": 24,
        "late": 1,
        "cancelled": 1,
        "records": [each.id for each in put],
    }


async def test_a_flight_that_landed_at_no_known_time_is_poison(table: Client) -> None:
    """It goes to the queue with that reason at once, and leaves no trace in the statistics."""
    settled = await flights.settle([departure(arr_delay=None)])
    assert [(letter.reason, letter.verdict.attempts) for letter in settled.dead] == [("no arrival delay", 1)]
    assert await row(table) == {"records": []}


@pytest.mark.parametrize("payload", [b'{"year":2013,', b"\xff\xfe{", b'{"year":"no number"}', b""])
async def test_a_damaged_payload_is_a_dead_letter_that_quotes_nothing(table: Client, payload: bytes) -> None:
    """Whatever a payload is, it neither stops the shard nor reaches the table."""
    settled = await flights.settle([record(payload), departure(2)])
    assert [letter.verdict.condition for letter in settled.dead] == ["Undecodable"]
    assert len(settled.handled) == 1
    assert "no number" not in settled.dead[0].reason


async def test_a_flight_put_twice_counts_once(table: Client) -> None:
    """The business key is the flight: a second record of it is a duplicate."""
    again = msgspec.structs.replace(departure(1), sequence_number="2")
    settled = await flights.settle([departure(1), again])
    assert (len(settled.handled), len(settled.duplicates)) == (1, 1)
    assert (await row(table))["records"] == [departure(1).id]


async def test_a_record_delivered_again_changes_nothing_but_the_count_of_repeats(table: Client) -> None:
    """After a crash the same record comes again: its effect is found in place."""
    await flights.settle([departure(1), departure(2)])
    before = await row(table)
    settled = await flights.settle([departure(1), departure(2)])
    assert len(settled.handled) == 2
    assert await row(table) == before | {"repeats": 2}


@pytest.mark.parametrize(
    ("one", "other"),
    [({"day": 1}, {"day": 2}), ({"carrier": "UA"}, {"carrier": "B6"}), ({"origin": "EWR"}, {"origin": "LGA"})],
)
async def test_different_flights_have_different_identities(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Day, carrier, number, origin and scheduled time each tell flights apart."""
    assert flights.dedupe_key is not None
    assert flights.dedupe_key(departure(**one)) != flights.dedupe_key(departure(**other))


async def test_a_table_in_trouble_pauses_and_condemns_nothing() -> None:
    """Throttling is no fault of the flight: it stays unsettled, for later."""
    settled = await flights.using(lifespan=throttled).settle([departure(1), departure(2)])
    assert (settled.dead, settled.handled) == ((), ())
    assert len(settled.unsettled) == 2
