"""Claims of business keys in the checkpoint table: a `Ledger` (rule 26)."""

from __future__ import annotations

from datetime import timedelta

from streamkit.aws.attributes import VERSION
from streamkit.aws.call import Call
from streamkit.aws.errors import ConditionFailed
from streamkit.aws.rows import claim_key
from streamkit.ports import Clock


class TableLedger:
    """One row a key: a digest of the key, the record that claimed it, and when the claim is forgotten."""

    def __init__(self, call: Call, table: str, *, clock: Clock, keep: timedelta) -> None:
        """`keep` is at least the stream's retention: a duplicate must not outlive its original's claim."""
        self._call = call
        self._table = table
        self._clock = clock
        self._keep = keep

    async def claim(self, key: str, *, claimant: str) -> bool:
        """Return whether the key is this claimant's, durably: new, expired, or claimed by it before.

        One request, which may be sent again when its answer is lost.
        """
        now = self._clock.now().timestamp()
        try:
            await self._call(
                "PutItem",
                TableName=self._table,
                Item={
                    **claim_key(key),
                    "v": {"N": str(VERSION)},
                    "claimant": {"S": claimant},
                    "expires": {"N": str(int(now + self._keep.total_seconds()) + 1)},
                },
                ConditionExpression="attribute_not_exists(pk) OR #claimant = :me OR #expires < :now",
                ExpressionAttributeNames={"#claimant": "claimant", "#expires": "expires"},
                ExpressionAttributeValues={":me": {"S": claimant}, ":now": {"N": str(int(now))}},
            )
        except ConditionFailed:
            return False
        return True

    async def release(self, key: str, *, claimant: str) -> None:
        """Forget the claim, if it is this claimant's. One request."""
        try:
            await self._call(
                "DeleteItem",
                TableName=self._table,
                Key=claim_key(key),
                ConditionExpression="#claimant = :me",
                ExpressionAttributeNames={"#claimant": "claimant"},
                ExpressionAttributeValues={":me": {"S": claimant}},
            )
        except ConditionFailed:
            return
