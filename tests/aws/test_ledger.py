"""The ledger's rows, beyond what the contract says."""

from datetime import timedelta
from itertools import product
from typing import Any

import pytest

from streamkit import Checkpoint, Kinesis, Record, consumer
from streamkit.aws.call import Call
from streamkit.aws.ledger import TableLedger
from streamkit.aws.rows import claim_key
from streamkit.aws.world import AwsWorld
from streamkit.clock import SystemChance
from streamkit.core.ledger import Claim, Claimant, Tenure
from streamkit.core.lineage import Stream
from streamkit.core.positions import Since
from streamkit.errors import Throttled, Unanswered
from streamkit.ports import Registration
from streamkit.testing import ManualClock
from streamkit.testing.builders import ARN


async def test_a_claim_is_forgotten_in_time_and_holds_nothing_of_the_payload(dynamodb: Call, table: str) -> None:
    """Whole seconds, rounded up, in the attribute that DynamoDB expires; who claimed it; a digest of the key."""
    clock = ManualClock()
    ledger = TableLedger(dynamodb, table, clock=clock, chance=SystemChance(), keep=timedelta(hours=1))
    await ledger.claim("N14228/2013-01-01", Claimant("flights:shard:1:0", Tenure("", 7)))
    item = (await dynamodb("GetItem", TableName=table, Key=claim_key("N14228/2013-01-01")))["Item"]
    assert item == {
        **claim_key("N14228/2013-01-01"),
        "v": {"N": "1"},
        "claimant": {"S": "flights:shard:1:0"},
        "space": {"S": ""},
        "epoch": {"N": "7"},
        "expires": {"N": str(int(clock.now().timestamp()) + 3601)},
    }


async def test_the_conditions_are_those_of_a_claim(dynamodb: Call, table: str) -> None:
    """Every case there is: whose record, whose epochs, older or newer, released, expired."""
    clock = ManualClock()
    ledger = TableLedger(dynamodb, table, clock=clock, chance=SystemChance(), keep=timedelta(hours=1))
    old = Claimant("record", Tenure("", 7))
    for record, space, epoch, released, age in product(
        ("record", "other"), ("", "replay"), (6, 7, 8), (False, True), (0.0, 7200.0)
    ):
        by, name = Claimant(record, Tenure(space, epoch)), f"{record} {space} {epoch} {released} {age}"
        for key in (f"claim {name}", f"release {name}"):
            await ledger.claim(key, old)
            if released:
                await ledger.release(key, old)
        held = Claim(old, clock.now().timestamp() + 3600, released)
        clock.advance(timedelta(seconds=age))
        assert await ledger.claim(f"claim {name}", by) == held.holding(by, now=clock.now().timestamp()), name
        await ledger.release(f"release {name}", by)
        found = (await dynamodb("GetItem", TableName=table, Key=claim_key(f"release {name}")))["Item"]
        assert ("released" in found) == (released or held.yields(by)), name


@pytest.mark.parametrize("retention", [timedelta(hours=1), timedelta(days=365)])
async def test_a_claim_outlives_the_retention(dynamodb: Call, table: str, retention: timedelta) -> None:
    """A duplicate that is read as late as can be still meets its original's claim; a day at least."""
    clock = ManualClock()
    made = consumer("claims", source=Kinesis("stream"), checkpoint=Checkpoint(table=table))(nothing)
    stream = Stream(name="stream", arn=ARN, incarnation="1", retention=retention)
    world = AwsWorld(clock=clock, chance=SystemChance())
    async with world.rows(made, Registration(made.name, stream, Since(0.0))) as rows:
        assert rows.ledger is not None
        await rows.ledger.claim("event", Claimant("record"))
    item = (await dynamodb("GetItem", TableName=table, Key=claim_key("event")))["Item"]
    assert int(item["expires"]["N"]) >= clock.now().timestamp() + max(retention, timedelta(days=1)).total_seconds()


async def test_passing_trouble_pauses_nobody_and_lasting_trouble_is_said(dynamodb: Call, table: str) -> None:
    """A claim that was throttled, or not answered, is sent again: it does no harm twice."""
    troubles = [Throttled("busy"), Unanswered("lost"), Throttled("busy")]

    async def troubled(operation: str, /, **parameters: Any) -> dict[str, Any]:
        if troubles:
            raise troubles.pop()
        return await dynamodb(operation, **parameters)

    ledger = TableLedger(troubled, table, clock=ManualClock(), chance=SystemChance(), keep=timedelta(hours=1))
    assert await ledger.claim("event", Claimant("record")) == "mine"
    troubles += [Throttled("down")] * 100
    with pytest.raises(Throttled):
        await ledger.claim("event", Claimant("record"))


async def nothing(record: Record) -> None:
    """Succeed."""
