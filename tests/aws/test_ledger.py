"""The ledger's rows, beyond what the contract says."""

from datetime import timedelta

from streamkit.aws.call import Call
from streamkit.aws.ledger import TableLedger
from streamkit.aws.rows import claim_key
from streamkit.testing import ManualClock


async def test_a_claim_is_forgotten_in_time_and_holds_nothing_of_the_payload(dynamodb: Call, table: str) -> None:
    """Whole seconds, rounded up, in the attribute that DynamoDB expires; who claimed it; a digest of the key."""
    clock = ManualClock()
    ledger = TableLedger(dynamodb, table, clock=clock, keep=timedelta(hours=1))
    await ledger.claim("N14228/2013-01-01", claimant="flights:shard:1:0")
    item = (await dynamodb("GetItem", TableName=table, Key=claim_key("N14228/2013-01-01")))["Item"]
    assert item == {
        **claim_key("N14228/2013-01-01"),
        "v": {"N": "1"},
        "claimant": {"S": "flights:shard:1:0"},
        "expires": {"N": str(int(clock.now().timestamp()) + 3601)},
    }
