"""The ledger's rows, beyond what the contract says."""

from datetime import timedelta
from itertools import product

from streamkit.aws.call import Call
from streamkit.aws.ledger import TableLedger
from streamkit.aws.rows import claim_key
from streamkit.core.ledger import Claim, Claimant, Tenure
from streamkit.testing import ManualClock


async def test_a_claim_is_forgotten_in_time_and_holds_nothing_of_the_payload(dynamodb: Call, table: str) -> None:
    """Whole seconds, rounded up, in the attribute that DynamoDB expires; who claimed it; a digest of the key."""
    clock = ManualClock()
    ledger = TableLedger(dynamodb, table, clock=clock, keep=timedelta(hours=1))
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
    ledger = TableLedger(dynamodb, table, clock=clock, keep=timedelta(hours=1))
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
