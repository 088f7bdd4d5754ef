"""Claims of business keys in the checkpoint table: a `Ledger` (rule 26).

The conditions are those of `core.ledger.Claim`, which a test compares them with.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from streamkit.aws.attributes import VERSION, Attributes
from streamkit.aws.backoff import Backoff, persist
from streamkit.aws.errors import ConditionFailed
from streamkit.aws.rows import claim_key
from streamkit.core.ledger import Anothers, Claimant, Holding

if TYPE_CHECKING:
    from streamkit.aws.attributes import Item
    from streamkit.aws.call import Call
    from streamkit.ports import Chance, Clock

_BACKOFF = Backoff(base_seconds=0.05, limit_seconds=1.0, tries=4)
_NAMES = {f"#{name}": name for name in ("claimant", "space", "epoch", "released", "expires")}
_FREE = "attribute_not_exists(pk) OR #expires <= :now OR (#claimant <> :me AND attribute_exists(#released))"
_MINE = "#space <> :space OR #epoch < :epoch OR (#epoch = :epoch AND attribute_not_exists(#released))"
_YIELDS = "#claimant = :me AND #space = :space AND #epoch <= :epoch"


class TableLedger:
    """One row a key: a digest of the key, the record that claimed it, under which tenure, and when it is forgotten."""

    def __init__(self, call: Call, table: str, *, clock: Clock, chance: Chance, keep: timedelta) -> None:
        """`keep` is at least the stream's retention: a duplicate must not outlive its original's claim."""
        self._chance = chance
        self._call = call
        self._table = table
        self._clock = clock
        self._keep = keep

    async def claim(self, key: str, by: Claimant) -> Holding:
        """Claim the key, if it is free or this record's. One request, sent again a few times in passing trouble."""
        now = self._clock.now().timestamp()
        expires = int(now + self._keep.total_seconds()) + 1
        try:
            await self._ask(
                "PutItem",
                TableName=self._table,
                Item=self._item(key, by, expires=expires),
                ConditionExpression=f"{_FREE} OR (#claimant = :me AND ({_MINE}))",
                ExpressionAttributeNames=_NAMES,
                ExpressionAttributeValues={**_values(by), ":now": {"N": repr(now)}},
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ConditionFailed as refused:
            owner = Attributes(self._table, refused.item).text("claimant") if refused.item else ""
            return "newer" if owner == by.record else Anothers(owner)
        return "mine"

    async def release(self, key: str, by: Claimant) -> None:
        """Let others have the key, if the claim is this claimant's. One request.

        The row stays, so that a claim of this tenure that is still under way comes to nothing.
        """
        names = {name: _NAMES[name] for name in ("#claimant", "#space", "#epoch", "#released")}
        try:
            await self._ask(
                "UpdateItem",
                TableName=self._table,
                Key=claim_key(key),
                UpdateExpression="SET #epoch = :epoch, #released = :yes",
                ConditionExpression=_YIELDS,
                ExpressionAttributeNames=names,
                ExpressionAttributeValues={**_values(by), ":yes": {"BOOL": True}},
            )
        except ConditionFailed:
            return

    async def _ask(self, operation: str, **parameters: object) -> None:
        """Send a request that does no harm twice: a whole shard would pause for the trouble of one."""
        await persist(lambda: self._call(operation, **parameters), backoff=_BACKOFF, chance=self._chance)

    def _item(self, key: str, by: Claimant, *, expires: int) -> Item:
        return {
            **claim_key(key),
            "v": {"N": str(VERSION)},
            "claimant": {"S": by.record},
            "space": {"S": by.tenure.space},
            "epoch": {"N": str(by.tenure.epoch)},
            "expires": {"N": str(expires)},
        }


def _values(by: Claimant) -> Item:
    return {
        ":me": {"S": by.record},
        ":space": {"S": by.tenure.space},
        ":epoch": {"N": str(by.tenure.epoch)},
    }


def claimant_of(item: Item) -> str | None:
    """Return the id of the record whose claim a row is, if it stands."""
    return None if "released" in item else str(item["claimant"]["S"])
